"""Attention inside (shifted) windows of a feature map of any size."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from swin_train.kernels.relative_position import gather_bias, relative_position_index
from swin_train.kernels.window_attention import (
    Choice,
    attention_mask,
    choose,
    fused_window_attention,
    window_attention,
)
from swin_train.kernels.windows import fit_window
from swin_train.models.layers.computed import ComputedBuffers
from swin_train.models.layers.place import BlockOptions, Place


class ShiftedWindows(ComputedBuffers):
    """What all kinds of window attention share: the windows, the call of the kernel, the output.

    A kind of attention adds its parameters, "proj" among them, and says what q, k, v, the scale and the table
    of biases are.

    Args:
        place: of the block.
        options: what all blocks share.
    """

    relative_position_index: Tensor
    attn_mask: Tensor | None
    proj: nn.Linear

    cosine = False

    def __init__(self, place: Place, options: BlockOptions) -> None:
        super().__init__()
        self.place = place
        self.dim = place.dim
        self.num_heads = place.num_heads
        self.window, self.shift = place.window, place.shift
        self.padding = options.padding
        self.attention = options.attention
        self.attn_drop = options.attn_drop_rate
        self.proj_drop = nn.Dropout(options.drop_rate)

        self.register_computed("relative_position_index", partial(relative_position_index, self.window))
        mask = partial(attention_mask, *place.resolution, self.window, self.shift, self.padding)
        self.register_computed("attn_mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to [B, H, W, C]; H and W need not be those that the window was chosen for."""
        resolution = x.shape[1], x.shape[2]
        window, shift, index, mask = self.window, self.shift, self.relative_position_index, self.attn_mask
        if resolution != self.place.resolution:
            window, shift = fit_window(resolution, self.window, is_shifted=self.place.is_shifted)
            index = relative_position_index(window, self.window, x.device)
            mask = attention_mask(*resolution, window, shift, self.padding, x.device)
        qkv, pad_token = self.project(x)
        if resolution[0] % window == 0 and resolution[1] % window == 0:
            pad_token = None  # which spares its gradient
        how: dict[str, Any] = {
            "num_heads": self.num_heads,
            "window": window,
            "shift": shift,
            "scale": self.scale(),
            "cosine": self.cosine,
            "padding": self.padding,
            "pad_token": pad_token,
        }
        implementation = self.choose(qkv.device, qkv.dtype).name
        if implementation == "triton":
            out = fused_window_attention(qkv, self.kept_bias_table(), **how)
        else:
            dropout = self.attn_drop if self.training else 0.0
            use_sdpa = implementation == "sdpa"
            out = window_attention(
                qkv, self.bias(index), mask=mask, dropout=dropout, use_sdpa=use_sdpa, **how
            )
        return self.proj_drop(self.proj(out))

    def choose(self, device: torch.device, dtype: torch.dtype) -> Choice:
        """The implementation for q, k, v of ``dtype`` on ``device``, and why.

        Raises:
            UserError: the one that was asked for cannot run.
        """
        dropout = self.attn_drop if self.training else 0.0
        head_dim = self.dim // self.num_heads
        return choose(self.attention, device, dtype, head_dim=head_dim, dropout=dropout)

    def bias(self, index: Tensor) -> Tensor:
        """What the relative positions add to the logits: [num_heads, N, N] for the [N, N] of ``index``."""
        return gather_bias(self.bias_table(), index)

    def kept_bias_table(self) -> Tensor:
        """``bias_table``, computed only when it has to be."""
        return self.bias_table()

    def bias_table(self) -> Tensor:
        """The bias of every offset within a window: [(2 * window - 1) ** 2, num_heads]."""
        raise NotImplementedError

    def scale(self) -> float | Tensor:
        """The factor of the logits, one for all or [num_heads, 1, 1]."""
        raise NotImplementedError

    def project(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The map's q, k, v, [B, H, W, 3C], and those of a token of zeros, [3C] or None for zeros."""
        raise NotImplementedError

    def extra_repr(self) -> str:  # noqa: D102
        return f"num_heads={self.num_heads}, window={self.window}, shift={self.shift}"


class WindowAttention(ShiftedWindows):
    """Scaled dot-product attention in windows, with a learned table of relative position biases.

    Args:
        place: of the block.
        options: what all blocks share.
        qkv_bias: whether the projection to q, k, v has a bias.
        qk_scale: factor of the logits; None is the head dimension to the power of -1/2.
    """

    def __init__(
        self,
        place: Place,
        options: BlockOptions,
        *,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
    ) -> None:
        super().__init__(place, options)
        self.qk_scale = (self.dim // self.num_heads) ** -0.5 if qk_scale is None else qk_scale
        num_offsets = (2 * self.window - 1) ** 2
        self.relative_position_bias_table = nn.Parameter(torch.empty(num_offsets, self.num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(self.dim, 3 * self.dim, bias=qkv_bias)
        self.proj = nn.Linear(self.dim, self.dim)

    def bias_table(self) -> Tensor:  # noqa: D102
        return self.relative_position_bias_table

    def scale(self) -> float:  # noqa: D102
        return self.qk_scale

    def project(self, x: Tensor) -> tuple[Tensor, Tensor | None]:  # noqa: D102
        return self.qkv(x), self.qkv.bias
