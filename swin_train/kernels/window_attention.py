"""Multi-head attention inside (shifted) windows, straight from the feature map to the feature map.

Contract, for every implementation:

1. *pad and roll*: the map ``qkv`` [B, H, W, 3C] is padded at the bottom and on the right to whole windows,
   [B, H', W', 3C], and rolled by ``-shift`` along both sides (cyclic shift). ``padding`` says in which order,
   and what a padded token is (see ``Padding``);
2. *partition*: it is cut into ``(H' / window) * (W' / window)`` windows of ``N = window ** 2`` tokens, row by
   row, and the channels into (q, k, v) x heads x head dimension;
3. *attend*: ``softmax(scale * q @ k.T + bias + mask) @ v``, the softmax in float32. With ``cosine``, each row
   of q and k is brought to unit length first. ``mask`` [windows, N, N] adds -100 (not -inf) to pairs that are
   neighbours only because of the roll, and -inf to keys that are hidden: see ``attention_mask``;
4. *merge, roll back, cut off*: the result [B, H, W, C] stands where its queries stood.

Sources: Swin (Liu et al. 2021), section 3.2 and figure 4; Swin v2 (Liu et al. 2022), section 3.3 for the
cosine.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from swin_train.kernels.windows import whole_windows

Padding = Literal["reference", "timm", "masked"]
"""What stands beside the edge of a map that is no multiple of the window.

reference: ``pad_token``, before the roll; a key like any other. The authors' detection code and torchvision.
timm: ``pad_token``, after the roll, so inside the seam; a key like any other. timm.
masked: nothing that is ever attended to; before the roll.
"""

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
    scale: float | Tensor,
    cosine: bool = False,
    padding: Padding = "reference",
    pad_token: Tensor | None = None,
    mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attend within the windows of a feature map, by the fastest implementation for its device.

    Args:
        qkv: [B, H, W, 3C]; channels in the order (q, k, v) x heads x head dimension.
        bias: [num_heads, N, N], added to the logits of every window.
        num_heads: number of heads; divides C.
        window: side of a window, in tokens; N is its square.
        shift: cyclic shift of the windows, 0 <= shift < window.
        scale: factor of the logits, one for all or [num_heads, 1, 1].
        cosine: compare directions only; q and k are brought to unit length in float32.
        padding: what stands beside the edge where H or W is no multiple of ``window``.
        pad_token: [3C], q, k and v of a padded token, such as the projection's bias; None is zeros.
        mask: what ``attention_mask`` gives for these sizes.
        dropout: probability of dropping an attention weight; callers pass 0 in evaluation.

    Returns:
        [B, H, W, C] in the dtype of ``qkv``.

    Raises:
        ValueError: the shapes do not fit the contract of this module.
    """
    _check(qkv, bias, num_heads=num_heads, window=window, shift=shift, padding=padding, mask=mask)
    # On CPUs the spelled-out form is up to 1.9 times faster at Swin-T's shapes, with and without gradients.
    attend = fused_attention if qkv.is_cuda else reference_attention
    _, height, width, _ = qkv.shape
    whole = _pad_and_roll(qkv, window=window, shift=shift, padding=padding, pad_token=pad_token)
    q, k, v = _partition(whole, num_heads=num_heads, window=window)
    if cosine:
        # In float16 a padded key would be 0 / 0.
        q, k = (F.normalize(x.to(_at_least_float32(x)), dim=-1) for x in (q, k))
    if isinstance(scale, Tensor):
        q, scale = q * scale, 1.0
    out = attend(q.to(v.dtype), k.to(v.dtype), v, bias, scale=scale, mask=mask, dropout=dropout)
    merged = _merge(out, *whole.shape[1:3], window=window)
    return _roll_back_and_cut(merged, height, width, shift=shift, padding=padding)


def attention_mask(
    height: int,
    width: int,
    window: int,
    shift: int,
    padding: Padding = "reference",
    device: torch.device | None = None,
) -> Tensor | None:
    """What parts the tokens of a window, for a map of ``height`` x ``width`` tokens before padding.

    Returns:
        [windows, N, N]: 0, or -100 across the seams of the cyclic shift, or -inf towards hidden padding;
        None where nothing is parted.
    """
    hidden = padding == "masked" and bool(height % window or width % window)
    if not shift and not hidden:
        return None
    sides = whole_windows(height, window), whole_windows(width, window)
    rows, columns = (_region(side, window, shift, device) for side in sides)
    region = _windows(3 * rows[:, None] + columns[None, :], window)
    apart = region[:, :, None] != region[:, None, :]
    mask = torch.zeros(apart.shape, device=device).masked_fill(apart, _APART)
    if hidden:
        inside = [torch.arange(side, device=device).roll(-shift) for side in sides]
        is_map = (inside[0][:, None] < height) & (inside[1][None, :] < width)
        mask = mask.masked_fill(~_windows(is_map, window)[:, None, :], float("-inf"))
    return mask


def reference_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *, scale: float, mask: Tensor | None, dropout: float
) -> Tensor:
    """Step 3 of the contract, spelled out; ``q``, ``k``, ``v`` are [B, windows, heads, N, head dimension]."""
    logits = (q * scale) @ k.transpose(-2, -1) + bias
    if mask is not None:
        logits = logits + mask[:, None]
    weights = logits.softmax(dim=-1, dtype=_at_least_float32(logits)).to(v.dtype)
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


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _region(side: int, window: int, shift: int, device: torch.device | None) -> Tensor:
    """Along a side of the rolled map: 0 before the last window, in it 1 for what stayed, 2 for the rest."""
    position = torch.arange(side, device=device)
    return (position >= side - window).long() + (position >= side - shift).long()


def _windows(grid: Tensor, window: int) -> Tensor:
    """[H', W'] to [windows, N]."""
    height, width = grid.shape
    cut = grid.view(height // window, window, width // window, window)
    return cut.transpose(1, 2).flatten(2).flatten(0, 1)


def _pad_and_roll(
    qkv: Tensor, *, window: int, shift: int, padding: Padding, pad_token: Tensor | None
) -> Tensor:
    """Step 1: [B, H, W, 3C] to [B, H', W', 3C]."""
    if shift and padding == "timm":
        return _pad(qkv.roll((-shift, -shift), dims=(1, 2)), window, pad_token)
    whole = _pad(qkv, window, pad_token)
    return whole.roll((-shift, -shift), dims=(1, 2)) if shift else whole


def _pad(qkv: Tensor, window: int, pad_token: Tensor | None) -> Tensor:
    B, H, W, C3 = qkv.shape
    below, right = whole_windows(H, window) - H, whole_windows(W, window) - W
    token = qkv.new_zeros(C3) if pad_token is None else pad_token.to(qkv.dtype)
    if right:
        qkv = torch.cat([qkv, token.expand(B, H, right, C3)], dim=2)
    if below:
        qkv = torch.cat([qkv, token.expand(B, below, W + right, C3)], dim=1)
    return qkv


def _partition(qkv: Tensor, *, num_heads: int, window: int) -> tuple[Tensor, ...]:
    """q, k and v, each [B, windows, heads, N, head dimension]."""
    B, H, W, C3 = qkv.shape
    head_dim = C3 // (3 * num_heads)
    cut = qkv.reshape(B, H // window, window, W // window, window, 3, num_heads, head_dim)
    return cut.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(5, 6).flatten(2, 3).unbind(0)


def _merge(out: Tensor, height: int, width: int, *, window: int) -> Tensor:
    """Put [B, windows, heads, N, head dimension] back on the map: [B, H', W', C]."""
    B, _, num_heads, _, head_dim = out.shape
    grid = out.unflatten(3, (window, window)).unflatten(1, (height // window, width // window))
    return grid.permute(0, 1, 4, 2, 5, 3, 6).reshape(B, height, width, num_heads * head_dim)


def _roll_back_and_cut(merged: Tensor, height: int, width: int, *, shift: int, padding: Padding) -> Tensor:
    """The end of step 4: undo step 1, in its reverse order."""
    if padding == "timm":
        merged = merged[:, :height, :width]
    if shift:
        merged = merged.roll((shift, shift), dims=(1, 2))
    return merged[:, :height, :width]


def _check(
    qkv: Tensor,
    bias: Tensor,
    *,
    num_heads: int,
    window: int,
    shift: int,
    padding: Padding,
    mask: Tensor | None,
) -> None:
    _, height, width, channels = qkv.shape
    num_tokens = window**2
    if channels % (3 * num_heads):
        raise ValueError(f"window_attention: {channels} channels do not hold q, k, v of {num_heads} heads")
    if not 0 <= shift < window:
        raise ValueError(f"window_attention: shift {shift} is outside 0..{window - 1}")
    if bias.shape != (num_heads, num_tokens, num_tokens):
        raise ValueError(
            f"window_attention: bias has shape {tuple(bias.shape)}, "
            f"expected {(num_heads, num_tokens, num_tokens)}"
        )
    padded = whole_windows(height, window), whole_windows(width, window)
    is_parted = shift or (padding == "masked" and padded != (height, width))
    expected = (padded[0] * padded[1] // num_tokens, num_tokens, num_tokens) if is_parted else None
    found = None if mask is None else tuple(mask.shape)
    if found != expected:
        raise ValueError(
            f"window_attention: mask has shape {found}, expected {expected} for shift {shift} "
            f"and a map of {height} x {width}"
        )
