"""From image files to batches on the device: formats, decoding, augmentation, mixing, order and loading."""
