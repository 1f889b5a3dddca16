"""The op of window attention by PyTorch's operations: forward, and the backward pass written out.

It serves where Triton's kernels cannot run. The kernel of an op runs below autograd, so that its gradient has to be
spelled out too.
"""

import math

import torch
from torch import Tensor

from swin_train.kernels.relative_position import gather_bias, relative_position_index, sum_by_offset
from swin_train.kernels.window_attention.arguments import Arguments, Gradients
from swin_train.kernels.window_attention.maps import (
    attention_mask,
    merge,
    pad_and_roll,
    partition,
    roll_back_and_cut,
    tokens_on_map,
)

_EPS = 1e-12  # the shortest length that a row is divided by, as in torch.nn.functional.normalize


def forward(given: Arguments) -> tuple[Tensor, Tensor]:
    """The output [B, H, W, C], and log2 of each query's sum of exponentials [windows, heads, N]."""
    with torch.autocast(given.qkv.device.type, enabled=False):  # which reaches into an op
        q, k, v = _windows_of(given, given.qkv)
        if given.cosine:
            q, k = _unit(q)[0], _unit(k)[0]
        logits = _logits(given, q @ k.mT)
        log_sums = logits.logsumexp(-1, keepdim=True)
        weights = (logits - log_sums).exp()
        return _to_map(given, weights @ v), (log_sums / math.log(2.0)).flatten(0, 1).squeeze(-1)


def backward(given: Arguments, out: Tensor, log_sums: Tensor, out_gradient: Tensor) -> Gradients:
    """The gradients of the four tensors of ``given``, from ``forward``'s results and the gradient of the output."""
    q, k, v = _windows_of(given, given.qkv)
    if given.cosine:
        (q, length_q), (k, length_k) = _unit(q), _unit(k)
    d_out, out = (_windows_of(given, x)[0] for x in (out_gradient, out))
    products = q @ k.mT
    weights = (_logits(given, products) - log_sums.view(*products.shape[:-1], 1) * math.log(2.0)).exp()
    d_logits = weights * (d_out @ v.mT - (d_out * out).sum(-1, keepdim=True))
    factor = given.scale if given.scales is None else given.scales.view(-1, 1, 1)
    d_q, d_k, d_v = d_logits @ k * factor, d_logits.mT @ q * factor, weights.mT @ d_out
    if given.cosine:
        d_q, d_k = _unit_gradient(d_q, q, length_q), _unit_gradient(d_k, k, length_k)

    table = sum_by_offset(d_logits.sum((0, 1)), given.window, given.table_window)
    scales, pad_token = table.new_zeros(given.num_heads), table.new_zeros(3, given.channels)
    if given.scales is not None:
        scales = (d_logits * products).sum((0, 1, 3, 4))
    if given.padding_is_keys:
        is_on_map = _on_map(given)[:, None, :, None]
        pad_token[1:] = torch.stack(
            [x.masked_fill(is_on_map, 0.0).sum((0, 1, 3)).flatten() for x in (d_k, d_v)]
        )
    qkv = torch.cat([_to_map(given, x) for x in (d_q, d_k, d_v)], dim=-1)
    return Gradients(qkv, table, scales, pad_token.flatten())


def _windows_of(given: Arguments, on_map: Tensor) -> tuple[Tensor, ...]:
    """What the channels of a map hold beside each other, each [B, windows, heads, N, head dimension], in float32."""
    parts = on_map.shape[-1] // given.channels
    token = given.pad_token if parts == 3 else None
    whole = pad_and_roll(
        on_map, window=given.window, shift=given.shift, padding=given.padding, pad_token=token
    )
    found = partition(whole, num_heads=given.num_heads, window=given.window, parts=parts)
    return tuple(x.to(torch.promote_types(x.dtype, torch.float32)) for x in found)


def _to_map(given: Arguments, windows: Tensor) -> Tensor:
    """[B, windows, heads, N, head dimension] to [B, H, W, C], in the dtype of qkv."""
    _, height, width, _ = given.qkv.shape
    padded = (side * given.window for side in given.grid)
    merged = merge(windows.to(given.qkv.dtype), *padded, window=given.window)
    return roll_back_and_cut(merged, height, width, shift=given.shift, padding=given.padding).contiguous()


def _logits(given: Arguments, products: Tensor) -> Tensor:
    _, height, width, _ = given.qkv.shape
    index = relative_position_index(given.window, given.table_window, given.qkv.device)
    factor = given.scale if given.scales is None else given.scales.view(-1, 1, 1)
    logits = products * factor + gather_bias(given.table, index)
    mask = attention_mask(height, width, given.window, given.shift, given.padding, given.qkv.device)
    return logits if mask is None else logits + mask[:, None]


def _on_map(given: Arguments) -> Tensor:
    _, height, width, _ = given.qkv.shape
    return tokens_on_map(height, width, given.window, given.shift, given.padding, given.qkv.device)


def _unit(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of length 1, and the lengths they had."""
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(_EPS)
    return rows / length, length


def _unit_gradient(gradient: Tensor, unit_rows: Tensor, length: Tensor) -> Tensor:
    return (gradient - unit_rows * (gradient * unit_rows).sum(-1, keepdim=True)) / length
