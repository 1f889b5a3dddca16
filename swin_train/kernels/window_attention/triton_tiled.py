"""Attention in windows of any size, a tile of queries and keys at a time.

Softmax is computed online in the forward pass. The backward pass has a kernel for the gradients of the queries, one
for those of keys and values, and one for the biases': each sums what it gives in registers, so that there are no
atomics, and the bits are the same every time.
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
def _whereabouts(num_heads, TOKENS: tl.constexpr, TILE: tl.constexpr):
    """Head, tile within the window, and window of a program; neighbours work on neighbouring heads."""
    program = tl.program_id(0)
    tiles = tl.cdiv(TOKENS, TILE)
    return program % num_heads, program // num_heads % tiles, program // (num_heads * tiles)


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
    num_heads,
    WINDOW: tl.constexpr,
    SHIFT: tl.constexpr,
    TABLE_WINDOW: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    COSINE: tl.constexpr,
    HAS_SCALES: tl.constexpr,
    ROLLS_FIRST: tl.constexpr,
    PADDING_IS_KEYS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The output and the logarithm of each query's sum of exponentials; the grid is [heads * tiles * windows]."""
    TOKENS: tl.constexpr = WINDOW * WINDOW
    head, tile, window = _whereabouts(num_heads, TOKENS, QUERIES)
    channels = num_heads * HEAD_DIM
    q_rows = qkv + head * HEAD_DIM
    pad_k = pad_token + channels + head * HEAD_DIM
    query = tile * QUERIES + tl.arange(0, QUERIES)
    pixel, is_on_map, region = tokens_on_map(
        window, query, height, width, rows, columns, WINDOW, SHIFT, ROLLS_FIRST
    )
    q = load_rows(q_rows, pixel, is_on_map, 3 * channels, HEAD_DIM)
    if COSINE:
        q = unit(q)[0].to(q.dtype)
    factor = load_scale(scales, scale, head, HAS_SCALES)
    largest = tl.full((QUERIES,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((QUERIES,), dtype=tl.float32)
    found = tl.zeros((QUERIES, HEAD_DIM), dtype=tl.float32)
    for start in range(0, TOKENS, KEYS):
        key = start + tl.arange(0, KEYS)
        key_pixel, is_key_on_map, key_region = tokens_on_map(
            window, key, height, width, rows, columns, WINDOW, SHIFT, ROLLS_FIRST
        )
        k, v = load_keys(
            q_rows + channels,
            pad_k,
            key,
            key_pixel,
            is_key_on_map,
            channels,
            WINDOW,
            HEAD_DIM,
            PADDING_IS_KEYS,
        )
        if COSINE:
            k = unit(k)[0].to(k.dtype)
        bias = load_bias(table, head, query, key, num_heads, WINDOW, TABLE_WINDOW)
        is_key = is_attended(key, is_key_on_map, WINDOW, PADDING_IS_KEYS)
        products = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        logits = logits_of(products, factor, bias, region, key_region, is_key, SHIFT)
        now = tl.maximum(largest, tl.max(logits, axis=1))
        anchor = tl.where(now == float("-inf"), 0.0, now)  # a tile may hold nothing but hidden padding
        rescale = tl.exp2(largest - anchor)
        weights = tl.exp2(logits - anchor[:, None])
        total = total * rescale + tl.sum(weights, axis=1)
        found = found * rescale[:, None] + tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
        largest = now
    store_rows(out + head * HEAD_DIM, pixel, is_on_map, channels, found / total[:, None], HEAD_DIM)
    place = (window.to(tl.int64) * num_heads + head) * TOKENS + query
    tl.store(log_sums + place, largest + tl.log2(total), mask=query < TOKENS)


@triton.jit
def _recomputed(
    q,
    k,
    v,
    d_out,
    bias,
    factor,
    query_region,
    key_region,
    is_key,
    log_sum,
    delta,
    SHIFT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """q @ k.T, the attention weights and the gradient of the logits, of a tile."""
    products = tl.dot(q, tl.trans(k), input_precision=PRECISION)
    logits = logits_of(products, factor, bias, query_region, key_region, is_key, SHIFT)
    weights = tl.exp2(logits - log_sum[:, None])  # beside the map of no consequence: d_out is 0 there
    d_weights = tl.dot(d_out, tl.trans(v), input_precision=PRECISION)
    return products, weights, weights * (d_weights - delta[:, None])


@triton.jit
def query_gradients(
    qkv,
    table,
    scales,
    pad_token,
    out,
    log_sums,
    out_gradient,
    qkv_gradient,
    deltas,
    scale_gradient,
    scale,
    height,
    width,
    rows,
    columns,
    num_heads,
    WINDOW: tl.constexpr,
    SHIFT: tl.constexpr,
    TABLE_WINDOW: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    COSINE: tl.constexpr,
    HAS_SCALES: tl.constexpr,
    ROLLS_FIRST: tl.constexpr,
    PADDING_IS_KEYS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The gradient of q, and what the other two kernels need: each query's sum of out * out_gradient, ``deltas``.

    The grid is that of ``forward``; ``scale_gradient`` is [windows, tiles, heads].
    """
    TOKENS: tl.constexpr = WINDOW * WINDOW
    head, tile, window = _whereabouts(num_heads, TOKENS, QUERIES)
    channels = num_heads * HEAD_DIM
    q_rows = qkv + head * HEAD_DIM
    pad_k = pad_token + channels + head * HEAD_DIM
    query = tile * QUERIES + tl.arange(0, QUERIES)
    pixel, is_on_map, region = tokens_on_map(
        window, query, height, width, rows, columns, WINDOW, SHIFT, ROLLS_FIRST
    )
    q = load_rows(q_rows, pixel, is_on_map, 3 * channels, HEAD_DIM)
    if COSINE:
        unit_q, length_q = unit(q)
        q = unit_q.to(q.dtype)
    d_out = load_rows(out_gradient + head * HEAD_DIM, pixel, is_on_map, channels, HEAD_DIM)
    value = load_rows(out + head * HEAD_DIM, pixel, is_on_map, channels, HEAD_DIM)
    delta = tl.sum(d_out.to(tl.float32) * value.to(tl.float32), axis=1)
    place = (window.to(tl.int64) * num_heads + head) * TOKENS + query
    tl.store(deltas + place, delta, mask=query < TOKENS)
    log_sum = tl.load(log_sums + place, mask=query < TOKENS, other=0.0)
    factor = load_scale(scales, scale, head, HAS_SCALES)
    d_q = tl.zeros((QUERIES, HEAD_DIM), dtype=tl.float32)
    scale_sum = tl.zeros((QUERIES,), dtype=tl.float32)
    for start in range(0, TOKENS, KEYS):
        key = start + tl.arange(0, KEYS)
        key_pixel, is_key_on_map, key_region = tokens_on_map(
            window, key, height, width, rows, columns, WINDOW, SHIFT, ROLLS_FIRST
        )
        k, v = load_keys(
            q_rows + channels,
            pad_k,
            key,
            key_pixel,
            is_key_on_map,
            channels,
            WINDOW,
            HEAD_DIM,
            PADDING_IS_KEYS,
        )
        if COSINE:
            k = unit(k)[0].to(k.dtype)
        bias = load_bias(table, head, query, key, num_heads, WINDOW, TABLE_WINDOW)
        is_key = is_attended(key, is_key_on_map, WINDOW, PADDING_IS_KEYS)
        products, _, d_logits = _recomputed(
            q,
            k,
            v,
            d_out,
            bias,
            factor,
            region,
            key_region,
            is_key,
            log_sum,
            delta,
            SHIFT,
            PRECISION,
        )
        if HAS_SCALES:
            scale_sum += tl.sum(d_logits * products, axis=1)
        d_q += tl.dot(d_logits.to(k.dtype), k, input_precision=PRECISION)
    d_q *= factor
    if COSINE:
        d_q = unit_gradient(d_q, unit_q, length_q)
    store_rows(qkv_gradient + head * HEAD_DIM, pixel, is_on_map, 3 * channels, d_q, HEAD_DIM)
    if HAS_SCALES:
        tl.store(scale_gradient + tl.program_id(0), tl.sum(scale_sum, axis=0))


@triton.jit
def key_gradients(
    qkv,
    table,
    scales,
    pad_token,
    log_sums,
    out_gradient,
    deltas,
    qkv_gradient,
    pad_gradient,
    scale,
    height,
    width,
    rows,
    columns,
    num_heads,
    WINDOW: tl.constexpr,
    SHIFT: tl.constexpr,
    TABLE_WINDOW: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    COSINE: tl.constexpr,
    HAS_SCALES: tl.constexpr,
    ROLLS_FIRST: tl.constexpr,
    PADDING_IS_KEYS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The gradients of k and v; the grid is [heads * tiles of keys * windows].

    ``pad_gradient`` is [windows, tiles, heads, 2, HEAD_DIM], of k and v.
    """
    TOKENS: tl.constexpr = WINDOW * WINDOW
    head, tile, window = _whereabouts(num_heads, TOKENS, KEYS)
    channels = num_heads * HEAD_DIM
    q_rows = qkv + head * HEAD_DIM
    pad_k = pad_token + channels + head * HEAD_DIM
    key = tile * KEYS + tl.arange(0, KEYS)
    key_pixel, is_key_on_map, key_region = tokens_on_map(
        window, key, height, width, rows, columns, WINDOW, SHIFT, ROLLS_FIRST
    )
    k, v = load_keys(
        q_rows + channels, pad_k, key, key_pixel, is_key_on_map, channels, WINDOW, HEAD_DIM, PADDING_IS_KEYS
    )
    if COSINE:
        unit_k, length_k = unit(k)
        k = unit_k.to(k.dtype)
    is_key = is_attended(key, is_key_on_map, WINDOW, PADDING_IS_KEYS)
    factor = load_scale(scales, scale, head, HAS_SCALES)
    d_k = tl.zeros((KEYS, HEAD_DIM), dtype=tl.float32)
    d_v = tl.zeros((KEYS, HEAD_DIM), dtype=tl.float32)
    for start in range(0, TOKENS, QUERIES):
        query = start + tl.arange(0, QUERIES)
        pixel, is_on_map, region = tokens_on_map(
            window, query, height, width, rows, columns, WINDOW, SHIFT, ROLLS_FIRST
        )
        q = load_rows(q_rows, pixel, is_on_map, 3 * channels, HEAD_DIM)
        if COSINE:
            q = unit(q)[0].to(q.dtype)
        d_out = load_rows(out_gradient + head * HEAD_DIM, pixel, is_on_map, channels, HEAD_DIM)
        place = (window.to(tl.int64) * num_heads + head) * TOKENS + query
        log_sum = tl.load(log_sums + place, mask=query < TOKENS, other=0.0)
        delta = tl.load(deltas + place, mask=query < TOKENS, other=0.0)
        bias = load_bias(table, head, query, key, num_heads, WINDOW, TABLE_WINDOW)
        _, weights, d_logits = _recomputed(
            q,
            k,
            v,
            d_out,
            bias,
            factor,
            region,
            key_region,
            is_key,
            log_sum,
            delta,
            SHIFT,
            PRECISION,
        )
        d_v += tl.dot(tl.trans(weights.to(d_out.dtype)), d_out, input_precision=PRECISION)
        d_k += tl.dot(tl.trans(d_logits.to(q.dtype)), q, input_precision=PRECISION)
    d_k *= factor
    if COSINE:
        d_k = unit_gradient(d_k, unit_k, length_k)
    k_gradient = qkv_gradient + channels + head * HEAD_DIM
    store_rows(k_gradient, key_pixel, is_key_on_map, 3 * channels, d_k, HEAD_DIM)
    store_rows(k_gradient + channels, key_pixel, is_key_on_map, 3 * channels, d_v, HEAD_DIM)
    if PADDING_IS_KEYS:
        channel = tl.program_id(0).to(tl.int64) * 2 * HEAD_DIM + tl.arange(0, HEAD_DIM)
        tl.store(pad_gradient + channel, tl.sum(tl.where(is_key_on_map[:, None], 0.0, d_k), axis=0))
        tl.store(
            pad_gradient + channel + HEAD_DIM, tl.sum(tl.where(is_key_on_map[:, None], 0.0, d_v), axis=0)
        )


@triton.jit
def bias_gradients(
    qkv,
    table,
    scales,
    pad_token,
    log_sums,
    out_gradient,
    deltas,
    bias_gradient,
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
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    COSINE: tl.constexpr,
    HAS_SCALES: tl.constexpr,
    ROLLS_FIRST: tl.constexpr,
    PADDING_IS_KEYS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The gradient of the biases of all pairs, [programs per tile, heads, N, N]: a sum for each program.

    The grid is [heads * pairs of tiles, programs per tile].
    """
    TOKENS: tl.constexpr = WINDOW * WINDOW
    head = tl.program_id(0) % num_heads
    tile = tl.program_id(0) // num_heads
    channels = num_heads * HEAD_DIM
    q_rows = qkv + head * HEAD_DIM
    pad_k = pad_token + channels + head * HEAD_DIM
    query = tile // tl.cdiv(TOKENS, KEYS) * QUERIES + tl.arange(0, QUERIES)
    key = tile % tl.cdiv(TOKENS, KEYS) * KEYS + tl.arange(0, KEYS)
    bias = load_bias(table, head, query, key, num_heads, WINDOW, TABLE_WINDOW)
    factor = load_scale(scales, scale, head, HAS_SCALES)
    bias_sum = tl.zeros((QUERIES, KEYS), dtype=tl.float32)
    first = tl.program_id(1)
    stride = tl.num_programs(1)
    for number in range(tl.cdiv(num_windows - first, stride)):
        window = first + number * stride
        pixel, is_on_map, region = tokens_on_map(
            window, query, height, width, rows, columns, WINDOW, SHIFT, ROLLS_FIRST
        )
        key_pixel, is_key_on_map, key_region = tokens_on_map(
            window, key, height, width, rows, columns, WINDOW, SHIFT, ROLLS_FIRST
        )
        q = load_rows(q_rows, pixel, is_on_map, 3 * channels, HEAD_DIM)
        k, v = load_keys(
            q_rows + channels,
            pad_k,
            key,
            key_pixel,
            is_key_on_map,
            channels,
            WINDOW,
            HEAD_DIM,
            PADDING_IS_KEYS,
        )
        if COSINE:
            q, k = unit(q)[0].to(q.dtype), unit(k)[0].to(k.dtype)
        d_out = load_rows(out_gradient + head * HEAD_DIM, pixel, is_on_map, channels, HEAD_DIM)
        place = (window.to(tl.int64) * num_heads + head) * TOKENS + query
        log_sum = tl.load(log_sums + place, mask=query < TOKENS, other=0.0)
        delta = tl.load(deltas + place, mask=query < TOKENS, other=0.0)
        is_key = is_attended(key, is_key_on_map, WINDOW, PADDING_IS_KEYS)
        bias_sum += _recomputed(
            q,
            k,
            v,
            d_out,
            bias,
            factor,
            region,
            key_region,
            is_key,
            log_sum,
            delta,
            SHIFT,
            PRECISION,
        )[2]
    pairs = query[:, None] * TOKENS + key[None, :]
    is_pair = (query[:, None] < TOKENS) & (key[None, :] < TOKENS)
    of_head = (first * num_heads + head).to(tl.int64) * TOKENS * TOKENS
    tl.store(bias_gradient + of_head + pairs, bias_sum, mask=is_pair)
