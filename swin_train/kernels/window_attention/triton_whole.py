"""Attention in windows of up to 64 tokens: a program holds a whole window of one head.

A program goes through windows of its head, so that it loads the biases once, and sums their gradient in registers:
no atomics, and so the same bits every time.
"""

# ruff: noqa: N803
# mypy: disallow-untyped-defs=False

import triton
import triton.language as tl

from swin_train.kernels.window_attention.triton_tokens import (
    is_attended,
    load_bias,
    load_keys,
    load_rows,
    load_scale,
    logits_of,
    store_rows,
    tokens_on_map,
    unit,
    unit_gradient,
)


@triton.jit
def forward(
    qkv,
    table,
    scales,
    pad_token,
    out,
    log_sums,
    scale,
    height,
    width,
    rows,
    columns,
    num_windows,
    num_heads,
    WINDOW: tl.constexpr,
    SHIFT: tl.constexpr,
    TABLE_WINDOW: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    TOKENS: tl.constexpr,
    COSINE: tl.constexpr,
    HAS_SCALES: tl.constexpr,
    ROLLS_FIRST: tl.constexpr,
    PADDING_IS_KEYS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The output and the logarithm of each query's sum of exponentials.

    The grid is [heads * programs per head]; neighbours work on neighbouring heads, which share lines of the cache.
    """
    head = tl.program_id(0) % num_heads
    first = tl.program_id(0) // num_heads
    stride = tl.num_programs(0) // num_heads
    channels = num_heads * HEAD_DIM
    q_rows = qkv + head * HEAD_DIM
    pad_k = pad_token + channels + head * HEAD_DIM
    token = tl.arange(0, TOKENS)
    bias = load_bias(table, head, token, token, num_heads, WINDOW, TABLE_WINDOW)
    factor = load_scale(scales, scale, head, HAS_SCALES)
    for number in range(tl.cdiv(num_windows - first, stride)):
        window = first + number * stride
        pixel, is_on_map, region = tokens_on_map(
            window, token, height, width, rows, columns, WINDOW, SHIFT, ROLLS_FIRST
        )
        q = load_rows(q_rows, pixel, is_on_map, 3 * channels, HEAD_DIM)
        k, v = load_keys(
            q_rows + channels, pad_k, token, pixel, is_on_map, channels, WINDOW, HEAD_DIM, PADDING_IS_KEYS
        )
        if COSINE:
            q, k = unit(q)[0].to(q.dtype), unit(k)[0].to(k.dtype)
        is_key = is_attended(token, is_on_map, WINDOW, PADDING_IS_KEYS)
        products = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        logits = logits_of(products, factor, bias, region, region, is_key, SHIFT)
        largest = tl.max(logits, axis=1)
        weights = tl.exp2(logits - largest[:, None])
        total = tl.sum(weights, axis=1)
        found = tl.dot(weights.to(v.dtype), v, input_precision=PRECISION) / total[:, None]
        store_rows(out + head * HEAD_DIM, pixel, is_on_map, channels, found, HEAD_DIM)
        place = (window.to(tl.int64) * num_heads + head) * WINDOW * WINDOW + token
        tl.store(log_sums + place, largest + tl.log2(total), mask=token < WINDOW * WINDOW)


@triton.jit
def backward(
    qkv,
    table,
    scales,
    pad_token,
    log_sums,
    out_gradient,
    qkv_gradient,
    bias_gradient,
    scale_gradient,
    pad_gradient,
    scale,
    height,
    width,
    rows,
    columns,
    num_windows,
    num_heads,
    WINDOW: tl.constexpr,
    SHIFT: tl.constexpr,
    TABLE_WINDOW: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    TOKENS: tl.constexpr,
    COSINE: tl.constexpr,
    HAS_SCALES: tl.constexpr,
    ROLLS_FIRST: tl.constexpr,
    PADDING_IS_KEYS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """All gradients; those of what the windows share, as a sum for each program.

    The grid is that of ``forward``. [programs per head, heads] come first in ``bias_gradient`` [.., N, N],
    ``scale_gradient`` [..] and ``pad_gradient`` [.., 2, HEAD_DIM], of k and v.
    """
    head = tl.program_id(0) % num_heads
    first = tl.program_id(0) // num_heads
    stride = tl.num_programs(0) // num_heads
    channels = num_heads * HEAD_DIM
    q_rows = qkv + head * HEAD_DIM
    q_gradient = qkv_gradient + head * HEAD_DIM
    pad_k = pad_token + channels + head * HEAD_DIM
    token = tl.arange(0, TOKENS)
    bias = load_bias(table, head, token, token, num_heads, WINDOW, TABLE_WINDOW)
    factor = load_scale(scales, scale, head, HAS_SCALES)
    bias_sum = tl.zeros((TOKENS, TOKENS), dtype=tl.float32)
    scale_sum = tl.zeros((TOKENS,), dtype=tl.float32)
    pad_k_sum = tl.zeros((HEAD_DIM,), dtype=tl.float32)
    pad_v_sum = tl.zeros((HEAD_DIM,), dtype=tl.float32)
    for number in range(tl.cdiv(num_windows - first, stride)):
        window = first + number * stride
        pixel, is_on_map, region = tokens_on_map(
            window, token, height, width, rows, columns, WINDOW, SHIFT, ROLLS_FIRST
        )
        q = load_rows(q_rows, pixel, is_on_map, 3 * channels, HEAD_DIM)
        k, v = load_keys(
            q_rows + channels, pad_k, token, pixel, is_on_map, channels, WINDOW, HEAD_DIM, PADDING_IS_KEYS
        )
        d_out = load_rows(out_gradient + head * HEAD_DIM, pixel, is_on_map, channels, HEAD_DIM)
        if COSINE:
            unit_q, length_q = unit(q)
            unit_k, length_k = unit(k)
            q, k = unit_q.to(q.dtype), unit_k.to(k.dtype)
        is_key = is_attended(token, is_on_map, WINDOW, PADDING_IS_KEYS)
        products = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        logits = logits_of(products, factor, bias, region, region, is_key, SHIFT)
        place = (window.to(tl.int64) * num_heads + head) * WINDOW * WINDOW + token
        log_sum = tl.load(log_sums + place, mask=token < WINDOW * WINDOW, other=0.0)
        weights = tl.exp2(logits - log_sum[:, None])  # beside the map of no consequence: d_out is 0 there
        d_v = tl.dot(tl.trans(weights.to(d_out.dtype)), d_out, input_precision=PRECISION)
        d_weights = tl.dot(d_out, tl.trans(v), input_precision=PRECISION)
        d_logits = weights * (d_weights - tl.sum(weights * d_weights, axis=1)[:, None])
        bias_sum += d_logits
        if HAS_SCALES:
            scale_sum += tl.sum(d_logits * products, axis=1)
        d_products = d_logits.to(q.dtype)  # but for the factor, which could overflow here
        d_q = tl.dot(d_products, k, input_precision=PRECISION) * factor
        d_k = tl.dot(tl.trans(d_products), q, input_precision=PRECISION) * factor
        if COSINE:
            d_q, d_k = unit_gradient(d_q, unit_q, length_q), unit_gradient(d_k, unit_k, length_k)
        store_rows(q_gradient, pixel, is_on_map, 3 * channels, d_q, HEAD_DIM)
        store_rows(q_gradient + channels, pixel, is_on_map, 3 * channels, d_k, HEAD_DIM)
        store_rows(q_gradient + 2 * channels, pixel, is_on_map, 3 * channels, d_v, HEAD_DIM)
        if PADDING_IS_KEYS:
            pad_k_sum += tl.sum(tl.where(is_on_map[:, None], 0.0, d_k), axis=0)
            pad_v_sum += tl.sum(tl.where(is_on_map[:, None], 0.0, d_v), axis=0)
    program = tl.program_id(0).to(tl.int64)  # first * num_heads + head
    pairs = token[:, None] * WINDOW * WINDOW + token[None, :]
    is_pair = (token[:, None] < WINDOW * WINDOW) & (token[None, :] < WINDOW * WINDOW)
    tl.store(bias_gradient + program * WINDOW * WINDOW * WINDOW * WINDOW + pairs, bias_sum, mask=is_pair)
    if HAS_SCALES:
        tl.store(scale_gradient + program, tl.sum(scale_sum, axis=0))
    if PADDING_IS_KEYS:
        channel = tl.arange(0, HEAD_DIM)
        tl.store(pad_gradient + program * 2 * HEAD_DIM + channel, pad_k_sum)
        tl.store(pad_gradient + (program * 2 + 1) * HEAD_DIM + channel, pad_v_sum)
