"""Window attention by PyTorch's operations, on windows that are cut out of the map first."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from swin_train.kernels.window_attention.maps import (
    Padding,
    merge,
    pad_and_roll,
    partition,
    roll_back_and_cut,
)
from swin_train.kernels.windows import whole_windows

# CUDA's attention kernels put batch and heads into grid dimensions of at most this size.
_MAX_PER_CALL = 65_535

_TINY = torch.finfo(torch.float32).tiny

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
    use_sdpa: bool = False,
) -> Tensor:
    """Attend within the windows of a feature map; the contract is that of the package.

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
        use_sdpa: take step 3 from ``scaled_dot_product_attention`` instead of spelling it out.

    Returns:
        [B, H, W, C] in the dtype of ``qkv``.

    Raises:
        ValueError: the shapes do not fit the contract of the package.
    """
    _check(qkv, bias, num_heads=num_heads, window=window, shift=shift, padding=padding, mask=mask)
    attend = sdpa_attention if use_sdpa else reference_attention
    _, height, width, _ = qkv.shape
    whole = pad_and_roll(qkv, window=window, shift=shift, padding=padding, pad_token=pad_token)
    q, k, v = partition(whole, num_heads=num_heads, window=window)
    if cosine:
        # In float16 a padded key would be 0 / 0.
        q, k = (F.normalize(x.to(_at_least_float32(x)), dim=-1) for x in (q, k))
    if isinstance(scale, Tensor):
        q, scale = q * scale, 1.0
    out = attend(q.to(v.dtype), k.to(v.dtype), v, bias, scale=scale, mask=mask, dropout=dropout)
    merged = merge(out, *whole.shape[1:3], window=window)
    return roll_back_and_cut(merged, height, width, shift=shift, padding=padding)


def reference_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *, scale: float, mask: Tensor | None, dropout: float
) -> Tensor:
    """Step 3 of the contract, spelled out; ``q``, ``k``, ``v`` are [B, windows, heads, N, head dimension]."""
    added = bias if mask is None else bias + mask[:, None]
    logits = (q * scale) @ k.transpose(-2, -1) + added
    logits = logits.to(_at_least_float32(logits))
    is_flushed = mask is not None and logits.device.type == "cpu" and logits.dtype == torch.float32
    weights = _flushed_softmax(logits) if is_flushed else logits.softmax(dim=-1)
    return F.dropout(weights.to(v.dtype), dropout) @ v


def sdpa_attention(
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


def _flushed_softmax(logits: Tensor) -> Tensor:
    """Softmax over the last dimension, with 0 for what is below the smallest normal number of float32.

    A mask of -100 leaves exp(-100) there, which x86 processors multiply many times slower than other numbers.
    """
    if torch.is_grad_enabled() and logits.requires_grad and not torch.jit.is_tracing():
        return cast(Tensor, _FlushedSoftmax.apply(logits))
    return F.threshold(logits.softmax(dim=-1), _TINY, 0.0)


class _FlushedSoftmax(torch.autograd.Function):
    """Also the backward pass reads the flushed weights."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor) -> Tensor:
        return F.threshold(logits.softmax(dim=-1), _TINY, 0.0, inplace=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (weights,) = ctx.saved_tensors
        return torch._softmax_backward_data(gradient, weights, -1, weights.dtype)


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


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
