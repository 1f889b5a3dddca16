"""The layers that the models are made of. Feature maps are channels-last: [B, H, W, C]."""
