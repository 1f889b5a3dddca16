"""Which LayerNorm the models use."""

import logging
from collections.abc import Callable

from torch import nn

from swin_train.kernels.apex import apex_class

logger = logging.getLogger(__name__)

NormLayer = Callable[[int], nn.Module]  # number of channels -> a normalisation over the last dimension


def layer_norm(*, fused: bool) -> NormLayer:
    """torch's LayerNorm, or apex's where ``fused`` asks for it and NVIDIA's apex is installed."""
    if not fused:
        return nn.LayerNorm
    fused_layer_norm = apex_class("apex.normalization", "FusedLayerNorm")
    if fused_layer_norm is None:
        logger.warning("FUSED_LAYERNORM: NVIDIA's apex is not installed; torch's LayerNorm is used instead")
        return nn.LayerNorm
    return fused_layer_norm
