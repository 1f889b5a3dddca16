"""Multi-head attention inside (shifted) windows, straight from the feature map to the feature map.

Contract, for every implementation:

1. *roll*: the map ``qkv`` [B, H, W, 3C] is rolled by ``-shift`` along both sides (cyclic shift);
2. *partition*: it is cut into ``(H / window) * (W / window)`` windows of ``N = window ** 2`` tokens, row by
   row, and the channels into (q, k, v) x heads x head dimension;
3. *attend*: ``softmax(scale * q @ k.T + bias + mask) @ v``, the softmax in float32. ``mask`` [windows, N, N]
   adds -100 (not -inf) to pairs that are neighbours only because of the roll: see ``attention_mask``;
4. *merge and roll back*: the result [B, H, W, C] stands where its queries stood.

Source: Swin (Liu et al. 2021), section 3.2 and figure 4.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

_APART = -100.0  # the paper's code adds this to the logits of pairs from different regions

# CUDA's attention kernels put batch and heads into grid dimensions of at most this size.
_MAX_PER_CALL = 65_535

# Never cuDNN: with a mask and 64 or 576 tokens (windows 8 and 24) its backward pass gives NaN.
_SDPA_BACKENDS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def window_attention(
    qkv: Tensor,
    bias: Tensor,
    *,
    num_heads: int,
    window: int,
    shift: int,
    scale: float,
    mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attend within the windows of a feature map, by the fastest implementation for its device.

    Args:
        qkv: [B, H, W, 3C], H and W multiples of ``window``; channels in the order (q, k, v) x heads x head
            dimension.
        bias: [num_heads, N, N], added to the logits of every window.
        num_heads: number of heads; divides C.
        window: side of a window, in tokens; N is its square.
        shift: cyclic shift of the windows, 0 <= shift < window.
        scale: factor of the logits.
        mask: [windows, N, N], added to the logits of every head; needed exactly when ``shift`` is not 0.
        dropout: probability of dropping an attention weight; callers pass 0 in evaluation.

    Returns:
        [B, H, W, C] in the dtype of ``qkv``.

    Raises:
        ValueError: the shapes do not fit the contract of this module.
    """
    _check(qkv, bias, num_heads=num_heads, window=window, shift=shift, mask=mask)
    # On CPUs the spelled-out form is up to 1.9 times faster at Swin-T's shapes, with and without gradients.
    attend = fused_attention if qkv.is_cuda else reference_attention
    q, k, v = _partition(qkv, num_heads=num_heads, window=window, shift=shift)
    out = attend(q, k, v, bias, scale=scale, mask=mask, dropout=dropout)
    return _merge(out, qkv.shape[1], qkv.shape[2], window=window, shift=shift)


def attention_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """The mask that keeps shifted windows from attending across the seams of the cyclic shift.

    Returns:
        [windows, N, N] of 0 and -100, for a rolled map of ``height`` x ``width`` tokens.
    """
    rows, columns = (_region(side, window, shift) for side in (height, width))
    region = 3 * rows[:, None] + columns[None, :]
    windows = (
        region.view(height // window, window, width // window, window)
        .transpose(1, 2)
        .flatten(2)
        .flatten(0, 1)
    )
    apart = windows[:, :, None] != windows[:, None, :]
    return torch.zeros(apart.shape, device=apart.device).masked_fill(apart, _APART)


def reference_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *, scale: float, mask: Tensor | None, dropout: float
) -> Tensor:
    """Step 3 of the contract, spelled out; ``q``, ``k``, ``v`` are [B, windows, heads, N, head dimension]."""
    logits = (q * scale) @ k.transpose(-2, -1) + bias
    if mask is not None:
        logits = logits + mask[:, None]
    weights = logits.softmax(dim=-1, dtype=torch.float32).to(v.dtype)
    return F.dropout(weights, dropout) @ v


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *, scale: float, mask: Tensor | None, dropout: float
) -> Tensor:
    """Step 3 of the contract by ``scaled_dot_product_attention``.

    Windows and heads share one dimension, so that bias and mask are held once, not once per image.
    """
    num_windows, num_heads, num_tokens = q.shape[1:4]
    added = bias if mask is None else bias + mask[:, None]
    added = added.to(q.dtype).expand(num_windows, num_heads, num_tokens, num_tokens).flatten(0, 1)[None]
    q, k, v = (x.flatten(1, 2) for x in (q, k, v))

    slices = zip(*(x.split(_MAX_PER_CALL, dim=1) for x in (q, k, v, added)), strict=True)
    with sdpa_kernel(_SDPA_BACKENDS):
        parts = [
            F.scaled_dot_product_attention(q, k, v, attn_mask=added, dropout_p=dropout, scale=scale)
            for q, k, v, added in slices
        ]
    out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return out.unflatten(1, (num_windows, num_heads))


def _region(side: int, window: int, shift: int) -> Tensor:
    """Along a side of the rolled map: 0 before the last window, in it 1 for what stayed, 2 for the rest."""
    position = torch.arange(side)
    return (position >= side - window).long() + (position >= side - shift).long()


def _partition(qkv: Tensor, *, num_heads: int, window: int, shift: int) -> tuple[Tensor, ...]:
    """q, k and v, each [B, windows, heads, N, head dimension]."""
    if shift:
        qkv = qkv.roll((-shift, -shift), dims=(1, 2))
    B, H, W, _ = qkv.shape
    cut = qkv.reshape(B, H // window, window, W // window, window, 3, num_heads, -1)
    return cut.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(5, 6).flatten(2, 3).unbind(0)


def _merge(out: Tensor, height: int, width: int, *, window: int, shift: int) -> Tensor:
    """Put [B, windows, heads, N, head dimension] back on the map: [B, H, W, C]."""
    grid = out.unflatten(3, (window, window)).unflatten(1, (height // window, width // window))
    merged = grid.permute(0, 1, 4, 2, 5, 3, 6).reshape(len(out), height, width, -1)
    return merged.roll((shift, shift), dims=(1, 2)) if shift else merged


def _check(
    qkv: Tensor, bias: Tensor, *, num_heads: int, window: int, shift: int, mask: Tensor | None
) -> None:
    _, height, width, channels = qkv.shape
    num_tokens = window**2
    if height % window or width % window:
        raise ValueError(f"window_attention: a {height} x {width} map is no multiple of the window {window}")
    if channels % (3 * num_heads):
        raise ValueError(f"window_attention: {channels} channels do not hold q, k, v of {num_heads} heads")
    if not 0 <= shift < window:
        raise ValueError(f"window_attention: shift {shift} is outside 0..{window - 1}")
    if bias.shape != (num_heads, num_tokens, num_tokens):
        raise ValueError(
            f"window_attention: bias has shape {tuple(bias.shape)}, "
            f"expected {(num_heads, num_tokens, num_tokens)}"
        )
    expected = (height * width // num_tokens, num_tokens, num_tokens) if shift else None
    found = None if mask is None else tuple(mask.shape)
    if found != expected:
        raise ValueError(f"window_attention: mask has shape {found}, expected {expected} for shift {shift}")
