"""Swin Transformer, version 1 (Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer")."""

from typing import Unpack, cast

from swin_train.models.hierarchical import Common, HierarchicalModel
from swin_train.models.layers.block import Block
from swin_train.models.layers.place import BlockOptions, Place
from swin_train.models.layers.window import WindowAttention


class SwinTransformer(HierarchicalModel):
    """Blocks of window attention with a table of relative position biases, normalised before each branch.

    Args:
        img_size: side of the square images, or their height and width, in pixels.
        patch_size: side of a patch, in pixels.
        window_size: side of a window, in patches.
        qkv_bias: whether the projections to q, k, v have a bias.
        qk_scale: factor of the attention logits; None is the head dimension to the power of -1/2.
        common: ``num_classes`` and the other arguments of ``HierarchicalModel``.

    Raises:
        ValueError: the sizes do not fit each other; the message names both.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 4,
        *,
        window_size: int = 7,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        **common: Unpack[Common],
    ) -> None:
        def make_block(place: Place, options: BlockOptions) -> Block:
            return Block(
                place, options, WindowAttention(place, options, qkv_bias=qkv_bias, qk_scale=qk_scale)
            )

        super().__init__(img_size, patch_size, window_size, make_block, **common)

    @property
    def qk_scales(self) -> tuple[float, ...]:
        """The factor of each stage's attention logits."""
        return tuple(cast(WindowAttention, stage.blocks[0].mixer).qk_scale for stage in self.layers)
