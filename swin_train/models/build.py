"""The table of models, and how a configuration becomes one of them."""

from collections.abc import Callable

from torch import nn

from swin_train.config import Config
from swin_train.errors import UserError
from swin_train.models.layers.norm import layer_norm
from swin_train.models.swin import SwinTransformer


def build_model(cfg: Config, num_classes: int | None = None) -> nn.Module:
    """The model that ``cfg`` describes, with initial weights, on the default device.

    Args:
        cfg: the configuration.
        num_classes: outputs of the head, such as the data has; None takes MODEL.NUM_CLASSES.

    Raises:
        UserError: MODEL.TYPE is not in the table.
    """
    build = MODELS.get(cfg.MODEL.TYPE)
    if build is None:
        raise UserError(
            f"MODEL.TYPE is {cfg.MODEL.TYPE!r}, which is configured but not built by this version yet; it builds "
            f"{', '.join(MODELS)}"
        )
    return build(cfg, cfg.MODEL.NUM_CLASSES if num_classes is None else num_classes)


def _build_swin(cfg: Config, num_classes: int) -> SwinTransformer:
    swin = cfg.MODEL.SWIN
    return SwinTransformer(
        cfg.DATA.IMG_SIZE,
        swin.PATCH_SIZE,
        swin.IN_CHANS,
        num_classes,
        embed_dim=swin.EMBED_DIM,
        depths=swin.DEPTHS,
        num_heads=swin.NUM_HEADS,
        window_size=swin.WINDOW_SIZE,
        mlp_ratio=swin.MLP_RATIO,
        qkv_bias=swin.QKV_BIAS,
        qk_scale=swin.QK_SCALE,
        drop_rate=cfg.MODEL.DROP_RATE,
        drop_path_rate=cfg.MODEL.DROP_PATH_RATE,
        norm_layer=layer_norm(fused=cfg.FUSED_LAYERNORM),
        ape=swin.APE,
        patch_norm=swin.PATCH_NORM,
        use_checkpoint=cfg.TRAIN.USE_CHECKPOINT,
    )


MODELS: dict[str, Callable[[Config, int], nn.Module]] = {"swin": _build_swin}
