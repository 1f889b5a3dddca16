"""Attention inside (shifted) windows, with a table of relative position biases."""

import torch
from torch import Tensor, nn

from swin_train.kernels.window_attention import attention_mask, window_attention
from swin_train.models.layers.relative_position import relative_position_index


class WindowAttention(nn.Module):
    """Multi-head self-attention of a feature map, window by window.

    Args:
        dim: channels.
        resolution: height and width of the map, in tokens; multiples of ``window``.
        num_heads: divides ``dim``.
        window: side of a window, in tokens.
        shift: cyclic shift of the windows, 0 <= shift < window.
        qkv_bias: whether the projection to q, k, v has a bias.
        qk_scale: factor of the logits; None is the head dimension to the power of -1/2.
        attn_drop: dropout of the attention weights.
        proj_drop: dropout of the output.
    """

    relative_position_index: Tensor
    attn_mask: Tensor | None

    def __init__(
        self,
        dim: int,
        resolution: tuple[int, int],
        *,
        num_heads: int,
        window: int,
        shift: int = 0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.shift = shift
        self.scale = (dim // num_heads) ** -0.5 if qk_scale is None else qk_scale
        self.attn_drop = attn_drop

        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

        # Computed from the sizes alone, so kept out of checkpoints: weights then fit any resolution.
        self.register_buffer("relative_position_index", relative_position_index(window), persistent=False)
        mask = attention_mask(*resolution, window, shift) if shift else None
        self.register_buffer("attn_mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to [B, H, W, C]."""
        out = window_attention(
            self.qkv(x),
            self.bias(),
            num_heads=self.num_heads,
            window=self.window,
            shift=self.shift,
            scale=self.scale,
            mask=self.attn_mask,
            dropout=self.attn_drop if self.training else 0.0,
        )
        return self.proj_drop(self.proj(out))

    def bias(self) -> Tensor:
        """What the relative positions add to the logits: [num_heads, N, N]."""
        num_tokens = self.window**2
        pairs = self.relative_position_bias_table[self.relative_position_index.flatten()]
        return pairs.view(num_tokens, num_tokens, self.num_heads).permute(2, 0, 1).contiguous()

    def extra_repr(self) -> str:  # noqa: D102
        return f"num_heads={self.num_heads}, window={self.window}, shift={self.shift}"
