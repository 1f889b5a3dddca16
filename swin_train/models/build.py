"""The table of models, and how a configuration becomes one of them."""

import logging
from collections.abc import Callable
from typing import Any

from swin_train.config import Config
from swin_train.kernels.windows import whole_windows
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.layers.norm import layer_norm
from swin_train.models.outline import check_is_built
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_mlp import SwinMlp
from swin_train.models.swin_v2 import SwinTransformerV2

logger = logging.getLogger(__name__)


def build_model(cfg: Config, num_classes: int | None = None) -> HierarchicalModel:
    """The model that ``cfg`` describes, with initial weights, on the default device.

    Args:
        cfg: the configuration.
        num_classes: outputs of the head, such as the data has; None takes ``cfg.num_classes``.

    Raises:
        UserError: MODEL.TYPE is not in the table.
    """
    check_is_built(cfg.MODEL.TYPE)
    model = MODELS[cfg.MODEL.TYPE](cfg, cfg.num_classes if num_classes is None else num_classes)
    _say_what_is_padded(model, cfg.MODEL.PADDING)
    return model


def _build_swin(cfg: Config, num_classes: int) -> SwinTransformer:
    swin = cfg.MODEL.SWIN
    return SwinTransformer(**_sizes(cfg, num_classes), qkv_bias=swin.QKV_BIAS, qk_scale=swin.QK_SCALE)


def _build_swin_v2(cfg: Config, num_classes: int) -> SwinTransformerV2:
    swin = cfg.MODEL.SWINV2
    return SwinTransformerV2(
        **_sizes(cfg, num_classes),
        qkv_bias=swin.QKV_BIAS,
        pretrained_window_sizes=swin.PRETRAINED_WINDOW_SIZES if any(swin.PRETRAINED_WINDOW_SIZES) else (),
    )


def _build_swin_mlp(cfg: Config, num_classes: int) -> SwinMlp:
    return SwinMlp(**_sizes(cfg, num_classes))


MODELS: dict[str, Callable[[Config, int], HierarchicalModel]] = {
    "swin": _build_swin,
    "swinv2": _build_swin_v2,
    "swin_mlp": _build_swin_mlp,
}


def _sizes(cfg: Config, num_classes: int) -> dict[str, Any]:
    """The arguments that all families share."""
    section = cfg.MODEL.selected
    return {
        "img_size": cfg.DATA.img_size,
        "patch_size": section.PATCH_SIZE,
        "in_chans": section.IN_CHANS,
        "num_classes": num_classes,
        "embed_dim": section.EMBED_DIM,
        "depths": section.DEPTHS,
        "num_heads": section.NUM_HEADS,
        "window_size": section.WINDOW_SIZE,
        "padding": cfg.MODEL.PADDING,
        "attention": cfg.MODEL.ATTENTION,
        "mlp_ratio": section.MLP_RATIO,
        "drop_rate": cfg.MODEL.DROP_RATE,
        "drop_path_rate": cfg.MODEL.DROP_PATH_RATE,
        "drop_path_mode": cfg.MODEL.DROP_PATH_MODE,
        "narrow_residual": cfg.AMP_NARROW_RESIDUAL,
        "norm_layer": layer_norm(fused=cfg.FUSED_LAYERNORM),
        "ape": section.APE,
        "patch_norm": section.PATCH_NORM,
        "checkpoint_stages": cfg.checkpoint_stages,
    }


def padded_maps(model: HierarchicalModel) -> list[str]:
    """The maps that are no multiple of their window, as "14x14 to 16x16"."""
    return [
        f"{height}x{width} to {whole_windows(height, stage.window)}x{whole_windows(width, stage.window)}"
        for stage in model.layers
        for height, width in [stage.resolution]
        if height % stage.window or width % stage.window
    ]


def _say_what_is_padded(model: HierarchicalModel, padding: str) -> None:
    padded = padded_maps(model)
    if padded:
        logger.info(
            "maps that are no multiple of their window are padded (MODEL.PADDING %s): %s",
            padding,
            ", ".join(padded),
        )
