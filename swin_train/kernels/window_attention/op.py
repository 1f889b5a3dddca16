"""Window attention as one op of torch: what compilers, exporters, checkpointing and FLOP counters see.

Autocast has no rule for it, on purpose: q, k and v come in the dtype of the projection, the biases in their own.
"""

from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from swin_train.kernels.window_attention import explicit
from swin_train.kernels.window_attention.arguments import Arguments, Gradients
from swin_train.kernels.window_attention.maps import Padding
from swin_train.kernels.windows import whole_windows


def fused_window_attention(
    qkv: Tensor,
    table: Tensor,
    *,
    num_heads: int,
    window: int,
    shift: int,
    scale: float | Tensor,
    cosine: bool = False,
    padding: Padding = "reference",
    pad_token: Tensor | None = None,
) -> Tensor:
    """Attend within the windows of a feature map by one kernel, or on CPUs by the same steps written out.

    Nothing but ``qkv``, the output and a number for each query and head is kept for the backward pass, whose
    gradients have the same bits every time.

    Args:
        qkv: [B, H, W, 3C]; channels in the order (q, k, v) x heads x head dimension.
        table: [(2 * table_window - 1) ** 2, num_heads], the bias of every offset in a window of side
            ``table_window`` >= ``window``.
        num_heads, window, shift, scale, cosine, padding, pad_token: as of ``window_attention``.

    Returns:
        [B, H, W, C] in the dtype of ``qkv``.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    _check(qkv, table, num_heads, window, shift)
    scales, factor = (scale.flatten(), 1.0) if isinstance(scale, Tensor) else (None, scale)
    out, _ = torch.ops.swin_train.window_attention(
        qkv, table, scales, pad_token, num_heads, window, shift, factor, cosine, padding
    )
    return cast(Tensor, out)


def _check(qkv: Tensor, table: Tensor, num_heads: int, window: int, shift: int) -> None:
    channels = qkv.shape[3]
    if channels % (3 * num_heads):
        raise ValueError(f"window_attention: {channels} channels do not hold q, k, v of {num_heads} heads")
    if not 0 <= shift < window:
        raise ValueError(f"window_attention: shift {shift} is outside 0..{window - 1}")
    offsets, heads = table.shape
    side = round(offsets**0.5)
    if side**2 != offsets or side % 2 == 0 or side < 2 * window - 1 or heads != num_heads:
        raise ValueError(
            f"window_attention: table has shape {tuple(table.shape)}, expected [(2 x side - 1) ** 2, {num_heads}] of a "
            f"window with a side of {window} or more"
        )


def _kernels(qkv: Tensor) -> ModuleType:
    if not qkv.is_cuda:
        return explicit
    from swin_train.kernels.window_attention import triton_launch  # here, as Triton is not everywhere

    return triton_launch


@torch.library.custom_op("swin_train::window_attention", mutates_args=())
def _forward(
    qkv: Tensor,
    table: Tensor,
    scales: Tensor | None,
    pad_token: Tensor | None,
    num_heads: int,
    window: int,
    shift: int,
    scale: float,
    cosine: bool,
    padding: str,
) -> tuple[Tensor, Tensor]:
    settings = num_heads, window, shift, scale, cosine, cast(Padding, padding)
    given = Arguments(qkv.contiguous(), table, scales, pad_token, *settings)
    out, log_sums = _kernels(qkv).forward(given)
    return out, log_sums


@torch.library.custom_op("swin_train::window_attention_backward", mutates_args=())
def _backward(
    out_gradient: Tensor,
    qkv: Tensor,
    table: Tensor,
    scales: Tensor | None,
    pad_token: Tensor | None,
    out: Tensor,
    log_sums: Tensor,
    num_heads: int,
    window: int,
    shift: int,
    scale: float,
    cosine: bool,
    padding: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    settings = num_heads, window, shift, scale, cosine, cast(Padding, padding)
    given = Arguments(qkv.contiguous(), table, scales, pad_token, *settings)
    gradients: Gradients = _kernels(qkv).backward(given, out, log_sums, out_gradient.contiguous())
    return gradients.qkv, gradients.table, gradients.scales, gradients.pad_token


@_forward.register_fake
def _(
    qkv: Tensor, table: Tensor, scales: object, pad_token: object, num_heads: int, window: int, *_: object
) -> Any:
    B, H, W, C3 = qkv.shape
    windows = B * (whole_windows(H, window) // window) * (whole_windows(W, window) // window)
    log_sums = qkv.new_empty((windows, num_heads, window**2), dtype=_sum_dtype(qkv))
    return qkv.new_empty((B, H, W, C3 // 3)), log_sums


@_backward.register_fake
def _(out_gradient: Tensor, qkv: Tensor, table: Tensor, scales: object, pad_token: object, *_: object) -> Any:
    dtype = _sum_dtype(qkv)
    return (
        torch.empty_like(qkv, memory_format=torch.contiguous_format),
        torch.empty_like(table, dtype=dtype, memory_format=torch.contiguous_format),
        table.new_empty(table.shape[1], dtype=dtype),
        table.new_empty(qkv.shape[3], dtype=dtype),
    )


def _sum_dtype(qkv: Tensor) -> torch.dtype:
    return torch.promote_types(qkv.dtype, torch.float32)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:4], *output)
    ctx.settings = inputs[4:]


def _differentiate(ctx: Any, out_gradient: Tensor, _: object) -> tuple[Tensor | None, ...]:
    *given, out, log_sums = ctx.saved_tensors
    found = torch.ops.swin_train.window_attention_backward(out_gradient, *given, out, log_sums, *ctx.settings)
    gradients = [
        None if x is None else gradient.to(x.dtype) for x, gradient in zip(given, found, strict=True)
    ]
    return *gradients, *[None] * len(ctx.settings)


_forward.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.swin_train.window_attention)
def _forward_flops(
    qkv: Any, table: Any, scales: Any, pad_token: Any, num_heads: int, window: int, *_: Any, **__: Any
) -> int:
    return 2 * _product_flops(qkv, window)  # q @ k.T and weights @ v


@register_flop_formula(torch.ops.swin_train.window_attention_backward)
def _backward_flops(
    gradient: Any,
    qkv: Any,
    table: Any,
    scales: Any,
    pad: Any,
    out: Any,
    sums: Any,
    heads: int,
    window: int,
    *_: Any,
    **__: Any,
) -> int:
    return 5 * _product_flops(qkv, window)  # the weights again, and the gradients of weights, q, k and v


def _product_flops(qkv: tuple[int, int, int, int], window: int) -> int:
    """Of one product with the tokens of each window, all heads together."""
    B, H, W, C3 = qkv
    return 2 * B * whole_windows(H, window) * whole_windows(W, window) * window**2 * (C3 // 3)
