"""What all kernels of window attention share: where the tokens of a window stand, what is loaded, their logits.

Logits and their sums are kept to base 2, for the hardware's exponential.
"""

# ruff: noqa: N803
# mypy: disallow-untyped-defs=False

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
_APART = tl.constexpr(-100.0 * 1.4426950408889634)  # as attention_mask, to base 2


@triton.jit
def tokens_on_map(
    window,
    token,
    height,
    width,
    rows,
    columns,
    WINDOW: tl.constexpr,
    SHIFT: tl.constexpr,
    ROLLS_FIRST: tl.constexpr,
):
    """Where tokens of a window stand, before it was padded and rolled.

    Args:
        window: number of the window in the batch, row by row, image by image.
        token: numbers within the window; those from WINDOW ** 2 on are none.
        height, width: of the map.
        rows, columns: of windows.
        WINDOW, SHIFT: side and shift of the windows.
        ROLLS_FIRST: the map was rolled before it was padded.

    Returns:
        Number of the pixel in the batch, in int64; whether it is on the map; number of the token's region, which
        parts those that are neighbours only because of the shift.
    """
    y = window % (rows * columns) // columns * WINDOW + token // WINDOW
    x = window % columns * WINDOW + token % WINDOW
    region = _region(y, rows * WINDOW, WINDOW, SHIFT) * 3 + _region(x, columns * WINDOW, WINDOW, SHIFT)
    if ROLLS_FIRST:
        y, x = _before_roll(y, height, SHIFT), _before_roll(x, width, SHIFT)
    else:
        y, x = _before_roll(y, rows * WINDOW, SHIFT), _before_roll(x, columns * WINDOW, SHIFT)
    is_on_map = (token < WINDOW * WINDOW) & (y < height) & (x < width)
    image = (window // (rows * columns)).to(tl.int64)
    return (image * height + y) * width + x, is_on_map, region


@triton.jit
def _before_roll(place, side, SHIFT: tl.constexpr):
    """Where the place of a rolled side comes from; what lies beyond the side was not rolled."""
    moved = place + SHIFT
    return tl.where(place >= side, place, tl.where(moved >= side, moved - side, moved))


@triton.jit
def _region(place, side, WINDOW: tl.constexpr, SHIFT: tl.constexpr):
    """0 before the last window of the rolled side, in it 1 for what stayed, 2 for the rest."""
    return (place >= side - WINDOW).to(tl.int32) + (place >= side - SHIFT).to(tl.int32)


@triton.jit
def load_rows(rows, pixel, is_on_map, stride, HEAD_DIM: tl.constexpr):
    """[tokens, HEAD_DIM]; zeros beside the map. ``stride`` is that from pixel to pixel."""
    places = (pixel * stride)[:, None] + tl.arange(0, HEAD_DIM)[None, :]
    return tl.load(rows + places, mask=is_on_map[:, None], other=0.0)


@triton.jit
def store_rows(rows, pixel, is_on_map, stride, values, HEAD_DIM: tl.constexpr):
    """The inverse of ``load_rows``."""
    places = (pixel * stride)[:, None] + tl.arange(0, HEAD_DIM)[None, :]
    tl.store(rows + places, values.to(rows.dtype.element_ty), mask=is_on_map[:, None])


@triton.jit
def load_keys(
    k_rows,
    pad_k,
    token,
    pixel,
    is_on_map,
    channels,
    WINDOW: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PADDING_IS_KEYS: tl.constexpr,
):
    """Keys and values, each as ``load_rows``; where padding takes part, it is the pad token's."""
    k = load_rows(k_rows, pixel, is_on_map, 3 * channels, HEAD_DIM)
    v = load_rows(k_rows + channels, pixel, is_on_map, 3 * channels, HEAD_DIM)
    if PADDING_IS_KEYS:
        is_padding = (token < WINDOW * WINDOW) & (is_on_map == 0)
        place = pad_k + tl.arange(0, HEAD_DIM)
        k = tl.where(is_padding[:, None], tl.load(place).to(k.dtype)[None, :], k)
        v = tl.where(is_padding[:, None], tl.load(place + channels).to(v.dtype)[None, :], v)
    return k, v


@triton.jit
def is_attended(token, is_on_map, WINDOW: tl.constexpr, PADDING_IS_KEYS: tl.constexpr):
    """Which tokens are keys."""
    if PADDING_IS_KEYS:
        return token < WINDOW * WINDOW
    else:  # noqa: RET505
        return is_on_map


@triton.jit
def unit(rows):
    """Rows of length 1 in float32, and the lengths they had: torch.nn.functional.normalize."""
    exact = rows.to(tl.float32)
    length = tl.maximum(tl.sqrt(tl.sum(exact * exact, axis=1)), 1e-12)
    return exact / length[:, None], length


@triton.jit
def unit_gradient(gradient, unit_rows, length):
    """The gradient of rows from that of ``unit``'s."""
    along = tl.sum(gradient * unit_rows, axis=1)
    return (gradient - unit_rows * along[:, None]) / length[:, None]


@triton.jit
def load_bias(table, head, query, key, num_heads, WINDOW: tl.constexpr, TABLE_WINDOW: tl.constexpr):
    """[queries, keys] of a head, to base 2, out of the table of offsets [(2 TABLE_WINDOW - 1) ** 2, heads]."""
    is_pair = (query[:, None] < WINDOW * WINDOW) & (key[None, :] < WINDOW * WINDOW)
    down = query[:, None] // WINDOW - key[None, :] // WINDOW + TABLE_WINDOW - 1
    right = query[:, None] % WINDOW - key[None, :] % WINDOW + TABLE_WINDOW - 1
    offset = down * (2 * TABLE_WINDOW - 1) + right
    bias = tl.load(table + offset * num_heads + head, mask=is_pair, other=0.0)
    return bias.to(tl.float32) * LOG2_E


@triton.jit
def load_scale(scales, scale, head, HAS_SCALES: tl.constexpr):
    """The factor of a head's logits: its own, or that of all."""
    if HAS_SCALES:
        return tl.load(scales + head).to(tl.float32)
    else:  # noqa: RET505
        return scale


@triton.jit
def logits_of(products, scale, bias, query_region, key_region, is_key, SHIFT: tl.constexpr):
    """Logits to base 2 from q @ k.T: scaled, with bias and mask."""
    logits = products * (scale * LOG2_E) + bias
    if SHIFT > 0:
        logits += tl.where(query_region[:, None] != key_region[None, :], _APART, 0.0)
    return tl.where(is_key[None, :], logits, float("-inf"))
