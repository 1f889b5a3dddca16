"""Swin Transformer, version 1 (Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer")."""

from typing import Unpack

from torch import nn

from swin_train.kernels.window_attention import Padding
from swin_train.models.hierarchical import HierarchicalModel, Shape
from swin_train.models.layers.block import Block
from swin_train.models.layers.norm import NormLayer
from swin_train.models.layers.place import BlockOptions, Place
from swin_train.models.layers.window import WindowAttention


class SwinTransformer(HierarchicalModel):
    """Blocks of window attention with a table of relative position biases, normalised before each branch.

    Args:
        img_size: side of the square images, or their height and width, in pixels.
        patch_size: side of a patch, in pixels.
        in_chans: channels of the images.
        num_classes: outputs of the head; 0 leaves the head out and gives the features.
        window_size: side of a window, in patches.
        padding: what stands beside the edge of a map that is no multiple of the window.
        mlp_ratio: hidden channels of a block's perceptron, as a multiple of its channels.
        qkv_bias: whether the projections to q, k, v have a bias.
        qk_scale: factor of the attention logits; None is the head dimension to the power of -1/2.
        drop_rate: dropout after the patch embedding, in the perceptrons and after the attention.
        attn_drop_rate: dropout of the attention weights.
        norm_layer: makes a normalisation from a number of channels.
        shape: embed_dim, depths, num_heads and the other arguments of ``HierarchicalModel``.

    Raises:
        ValueError: the sizes do not fit each other; the message names both.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 4,
        in_chans: int = 3,
        num_classes: int = 1000,
        *,
        window_size: int = 7,
        padding: Padding = "reference",
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        norm_layer: NormLayer = nn.LayerNorm,
        **shape: Unpack[Shape],
    ) -> None:
        options = BlockOptions(window_size, padding, mlp_ratio, drop_rate, attn_drop_rate, norm_layer)

        def make_block(place: Place) -> Block:
            return Block(
                place, options, WindowAttention(place, options, qkv_bias=qkv_bias, qk_scale=qk_scale)
            )

        super().__init__(
            img_size,
            patch_size,
            in_chans,
            num_classes,
            make_block=make_block,
            norm_layer=norm_layer,
            drop_rate=drop_rate,
            **shape,
        )
