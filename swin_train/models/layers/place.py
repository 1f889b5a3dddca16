"""What a block is told about itself: its place in the model, and what all blocks share."""

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
