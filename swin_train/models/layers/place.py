"""What a block is told about itself: its place in the model, and what all blocks share."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

from swin_train.kernels.window_attention import Padding
from swin_train.models.layers.norm import NormLayer


@dataclass(frozen=True)
class Place:
    """Where a block stands.

    Attributes:
        dim: channels.
        resolution: height and width of the map that its window is chosen for, in tokens.
        num_heads: divides ``dim``.
        stage: number of its stage, from 0.
        index: number of the block in the model, from 0; it numbers the block's two drop-path layers.
        is_shifted: whether its windows are shifted by half their side, where one does not cover the map.
        drop_path: probability of dropping a branch.
    """

    dim: int
    resolution: tuple[int, int]
    num_heads: int
    stage: int
    index: int
    is_shifted: bool
    drop_path: float


@dataclass(frozen=True)
class BlockOptions:
    """What all blocks of a model share; see ``HierarchicalModel`` and the families for the meanings."""

    window_size: int
    padding: Padding
    mlp_ratio: float
    drop_rate: float
    attn_drop_rate: float
    norm_layer: NormLayer


def block_places(
    embed_dim: int,
    resolutions: Sequence[tuple[int, int]],
    depths: Sequence[int],
    num_heads: Sequence[int],
    drop_path_rate: float,
) -> list[list[Place]]:
    """The places of all blocks, stage by stage; every second block of a stage is shifted.

    Args:
        embed_dim: channels of the first stage; each next stage has twice as many.
        resolutions: height and width of each stage's map, in tokens.
        depths: blocks of each stage.
        num_heads: heads of each stage.
        drop_path_rate: probability of dropping a branch in the last block; it rises from 0, linearly.
    """
    drop_paths = _rising(drop_path_rate, sum(depths))
    places = []
    for stage, depth in enumerate(depths):
        first = sum(depths[:stage])
        places.append(
            [
                Place(
                    dim=embed_dim * 2**stage,
                    resolution=resolutions[stage],
                    num_heads=num_heads[stage],
                    stage=stage,
                    index=first + i,
                    is_shifted=i % 2 == 1,
                    drop_path=drop_paths[first + i],
                )
                for i in range(depth)
            ]
        )
    return places


def _rising(last: float, count: int) -> list[float]:
    """The float32 values of ``torch.linspace(0, last, count)``, without a tensor: a fake one could not be read.

    They are part of a run's randomness, so they are the same to the bit.
    """
    if count == 1:
        return [0.0]
    last = _float32(last)
    step = _float32(last / (count - 1))
    from_both_ends = [step * i if i < count // 2 else last - step * (count - 1 - i) for i in range(count)]
    return [_float32(x) for x in from_both_ends]


def _float32(x: float) -> float:
    return ctypes.c_float(x).value
