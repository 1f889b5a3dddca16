"""The preprocessor_config.json from which transformers prepares images as they are prepared here."""

import json
from collections.abc import Mapping
from typing import Any

from swin_train.data.augment import FILTERS, is_small

# Of all its image processors the one that resizes and crops by sizes of their own.
_PROCESSOR = "BitImageProcessor"


def huggingface_processor(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """Describe the evaluation transform to transformers.

    Args:
        metadata: what travels with weights, as JSON.

    Returns:
        None where something about the images is not known, or transformers has no processor for them: it knows
        squares of three channels.
    """
    try:
        names = ("img_size", "interpolation", "crop", "mean", "std")
        size, interpolation, is_cropped, mean, std = (json.loads(metadata[name]) for name in names)
    except (KeyError, ValueError):
        return None
    side = size[0] if isinstance(size, list) and len(set(size)) == 1 else size
    if type(side) is not int or interpolation not in FILTERS or not (_is_triple(mean) and _is_triple(std)):
        return None
    square = {"height": side, "width": side}
    is_cropped = is_cropped and not is_small((side, side))
    return {
        "image_processor_type": _PROCESSOR,
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": side * 256 // 224} if is_cropped else square,  # as ``EvalTransform`` does
        "resample": int(FILTERS[interpolation][0]),
        "do_center_crop": is_cropped,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
    }


def _is_triple(value: object) -> bool:
    """Whether a value is one number for each of three channels."""
    return isinstance(value, list) and len(value) == 3 and all(isinstance(n, int | float) for n in value)
