"""What a block is told about itself: its place in the model, and what all blocks share."""

from collections.abc import Sequence
from dataclasses import dataclass

from swin_train.kernels.window_attention import Attention, Padding
from swin_train.kernels.windows import fit_window
from swin_train.models.layers.norm import NormLayer


@dataclass(frozen=True)
class Place:
    """Where a block stands.

    Attributes:
        dim: channels.
        resolution: height and width of the map that its window is chosen for, in tokens.
        num_heads: divides ``dim``.
        window: side of its windows, in tokens.
        shift: by how much its windows are shifted, in tokens; 0 where their side is the smaller one of the map.
        stage: number of its stage, from 0.
        index: number of the block in the model, from 0; it numbers the block's two drop-path layers.
        is_shifted: whether its windows are shifted by half their side, on a map that has room for it.
        drop_path: probability of dropping a branch.
    """

    dim: int
    resolution: tuple[int, int]
    num_heads: int
    window: int
    shift: int
    stage: int
    index: int
    is_shifted: bool
    drop_path: float


@dataclass(frozen=True)
class BlockOptions:
    """What all blocks of a model share; see ``HierarchicalModel`` and the families for the meanings."""

    padding: Padding
    attention: Attention
    mlp_ratio: float
    drop_rate: float
    attn_drop_rate: float
    norm_layer: NormLayer


def block_places(
    embed_dim: int,
    resolutions: Sequence[tuple[int, int]],
    depths: Sequence[int],
    num_heads: Sequence[int],
    window_size: int,
    drop_path_rate: float,
) -> list[list[Place]]:
    """The places of all blocks, stage by stage; every second block of a stage is shifted.

    Args:
        embed_dim: channels of the first stage; each next stage has twice as many.
        resolutions: height and width of each stage's map, in tokens.
        depths: blocks of each stage.
        num_heads: heads of each stage.
        window_size: side of a window, in tokens; the smaller side of a map bounds it.
        drop_path_rate: probability of dropping a branch in the last block; it rises from 0, linearly.
    """
    last = max(sum(depths) - 1, 1)

    def place(stage: int, i: int) -> Place:
        is_shifted, index = i % 2 == 1, sum(depths[:stage]) + i
        window, shift = fit_window(resolutions[stage], window_size, is_shifted=is_shifted)
        return Place(
            dim=embed_dim * 2**stage,
            resolution=resolutions[stage],
            num_heads=num_heads[stage],
            window=window,
            shift=shift,
            stage=stage,
            index=index,
            is_shifted=is_shifted,
            drop_path=drop_path_rate * (index / last),
        )

    return [[place(stage, i) for i in range(depth)] for stage, depth in enumerate(depths)]
