"""The sizes of a model, read off its configuration alone; nothing is built and torch is not imported.

They are the building code's in arithmetic; tests hold the two together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from swin_train.config import Config
from swin_train.errors import UserError
from swin_train.kernels.windows import fit_window, stage_maps, whole_windows

FAMILIES = ("swin", "swinv2", "swin_mlp")
POSITION_HIDDEN = 512  # channels of Swin v2's position network


@dataclass(frozen=True)
class StageOutline:
    """The blocks of one resolution.

    Attributes:
        map: height and width, in tokens.
        channels: of each token.
        heads: of the attention or, in Swin-MLP, of the spatial perceptron.
        depth: number of blocks; every second one is shifted.
        window: side of a window, in tokens, bounded by the map.
        shift: of the shifted blocks, in tokens; 0 where one window covers the smaller side.
        padded: height and width of the whole windows of a block that is not shifted.
        padded_shifted: those of a shifted one; Swin-MLP shifts by padding.
        merged: height and width after the merging; None in the last stage.
    """

    map: tuple[int, int]
    channels: int
    heads: int
    depth: int
    window: int
    shift: int
    padded: tuple[int, int]
    padded_shifted: tuple[int, int]
    merged: tuple[int, int] | None

    @property
    def tokens(self) -> int:
        """Of the map."""
        return prod(self.map)

    @property
    def shifts(self) -> list[int]:
        """The shift of each block."""
        return [self.shift if i % 2 else 0 for i in range(self.depth)]

    def padded_tokens(self, shift: int) -> int:
        """Tokens of the whole windows of a block with that shift."""
        return prod(self.padded_shifted if shift else self.padded)


@dataclass(frozen=True)
class Outline:
    """A model as far as its costs depend on it.

    Attributes:
        family: one of ``FAMILIES``, as MODEL.TYPE.
        img_size: height and width, in pixels.
        patch_size: side of a patch, in pixels.
        in_chans: channels of the images.
        num_classes: outputs of the head; 0 is no head.
        mlp_ratio: hidden channels of a perceptron, as a multiple of the channels.
        qkv_bias: whether q, k, v (q and v in Swin v2) have a bias.
        ape: whether a learned absolute position is added to each patch.
        patch_norm: whether the patch embedding is normalised.
        stages: at least one.
    """

    family: str
    img_size: tuple[int, int]
    patch_size: int
    in_chans: int
    num_classes: int
    mlp_ratio: float
    qkv_bias: bool
    ape: bool
    patch_norm: bool
    stages: tuple[StageOutline, ...]

    @property
    def num_features(self) -> int:
        """Channels of the last stage."""
        return self.stages[-1].channels

    @property
    def patch_values(self) -> int:
        """Values of one patch of an image."""
        return self.in_chans * self.patch_size**2

    def hidden(self, stage: StageOutline) -> int:
        """Channels within the perceptron of a block."""
        return int(stage.channels * self.mlp_ratio)


def outline(cfg: Config, num_classes: int) -> Outline:
    """The outline of the model that ``build_model`` makes of ``cfg``.

    Raises:
        UserError: MODEL.TYPE is none of ``FAMILIES``; the message is that of ``build_model``.
    """
    family, section = cfg.MODEL.TYPE, cfg.MODEL.selected
    check_is_built(family)
    maps = stage_maps(cfg.DATA.img_size, section.PATCH_SIZE, len(section.DEPTHS))
    return Outline(
        family=family,
        img_size=cfg.DATA.img_size,
        patch_size=section.PATCH_SIZE,
        in_chans=section.IN_CHANS,
        num_classes=num_classes,
        mlp_ratio=section.MLP_RATIO,
        qkv_bias=section.get("QKV_BIAS", False),  # Swin-MLP has no q, k, v
        ape=section.APE,
        patch_norm=section.PATCH_NORM,
        stages=tuple(_stage(cfg, maps, stage) for stage in range(len(maps))),
    )


def check_is_trained(cfg: Config) -> None:
    """Raise UserError for what can be configured only: a MODEL.TYPE, or pre-training."""
    check_is_built(cfg.MODEL.TYPE)
    if cfg.is_pretraining:
        raise UserError(
            "DATA.MASK_RATIO or DATA.MASK_PATCH_SIZE is set: SimMIM pre-training is configured but not trained by this "
            "version yet; it fine-tunes what was pre-trained, with configs/simmim/simmim_finetune*"
        )


def check_is_built(family: str) -> None:
    """Raise UserError for a MODEL.TYPE that can be configured only."""
    if family not in FAMILIES:
        raise UserError(
            f"MODEL.TYPE is {family!r}, which is configured but not built by this version yet; it builds "
            f"{', '.join(FAMILIES)}"
        )


def _stage(cfg: Config, maps: Sequence[tuple[int, int]], stage: int) -> StageOutline:
    section = cfg.MODEL.selected
    height, width = maps[stage]
    window, shift = fit_window((height, width), section.WINDOW_SIZE, is_shifted=True)
    before = window - shift if shift and cfg.MODEL.TYPE == "swin_mlp" else 0
    return StageOutline(
        map=(height, width),
        channels=section.EMBED_DIM << stage,
        heads=section.NUM_HEADS[stage],
        depth=section.DEPTHS[stage],
        window=window,
        shift=shift,
        padded=(whole_windows(height, window), whole_windows(width, window)),
        padded_shifted=(whole_windows(height + before, window), whole_windows(width + before, window)),
        merged=maps[stage + 1] if stage + 1 < len(maps) else None,
    )
