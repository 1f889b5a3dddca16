"""Step 1 of the contract in Triton: three launches a layer, none of which waits for the host."""

# ruff: noqa: N803
# mypy: disallow-untyped-defs=False

import torch
import triton
import triton.language as tl
from torch import Tensor

from swin_train.kernels.augment.launch_triton import launch, whereabouts
from swin_train.kernels.augment.operate_tensors import extended_box
from swin_train.kernels.augment.plans import OpCode, Operations

_COUNTED = {OpCode.AUTO_CONTRAST, OpCode.EQUALIZE, OpCode.CONTRAST}  # depend on the whole image

_AUTO_CONTRAST = tl.constexpr(int(OpCode.AUTO_CONTRAST))
_EQUALIZE = tl.constexpr(int(OpCode.EQUALIZE))
_INVERT = tl.constexpr(int(OpCode.INVERT))
_POSTERIZE = tl.constexpr(int(OpCode.POSTERIZE))
_SOLARIZE = tl.constexpr(int(OpCode.SOLARIZE))
_SOLARIZE_ADD = tl.constexpr(int(OpCode.SOLARIZE_ADD))
_BRIGHTNESS = tl.constexpr(int(OpCode.BRIGHTNESS))
_CONTRAST = tl.constexpr(int(OpCode.CONTRAST))
_COLOR = tl.constexpr(int(OpCode.COLOR))
_SHARPNESS = tl.constexpr(int(OpCode.SHARPNESS))
_AFFINE = tl.constexpr(int(OpCode.AFFINE))
_GREY = tl.constexpr(int(OpCode.GREY))
_BLUR = tl.constexpr(int(OpCode.BLUR))


def operate(images: Tensor, operations: Operations) -> Tensor:
    """Step 1 of the contract; the arguments are those of ``augment.operate``."""
    occurring = operations.occurring or frozenset()
    layers, (batch, channels) = len(operations.codes), images.shape[:2]
    flips, bicubic = operations.flips.view(torch.uint8), operations.bicubic.view(torch.uint8)
    if not layers:
        return torch.where(operations.flips[:, None, None, None], images.flip(-1), images)
    fill = sum(value << 8 * channel for channel, value in enumerate(operations.fill))
    counts = torch.zeros(layers, batch, channels, 256, dtype=torch.int32, device=images.device)
    tables = torch.empty_like(counts[0], dtype=torch.uint8)
    with torch.cuda.device_of(images):
        for layer in range(layers):
            codes, values = operations.codes[layer], operations.values[layer]
            if occurring & _COUNTED:
                launch(_count, images, counts[layer], codes, block=4096)
            _make_tables[batch * channels,](
                counts[layer], tables, codes, values, CHANNELS=channels, enable_fp_fusion=False
            )
            plan = codes, values, operations.matrices[layer], bicubic[layer], tables
            result = torch.empty_like(images)
            launch(_operate, images, result, flips, *plan, fill, IS_FIRST=layer == 0)
            if OpCode.BLUR in occurring:
                _blur(result, codes, values)
            images = result
    return images


def _blur(images: Tensor, codes: Tensor, values: Tensor) -> None:
    """Blur in place the images that ask for it: three boxes along x, then three along y."""
    box = extended_box(values)
    spare = torch.empty_like(images)
    for along_x in (True, True, True, False, False, False):
        launch(_box_blur, images, spare, codes, *box, ALONG_X=along_x)
        images, spare = spare, images


@triton.jit
def _to_byte(value):
    return tl.minimum(tl.maximum(value, 0.0), 255.0).to(tl.int32).to(tl.uint8)


@triton.jit
def _blend(start, end, factor):
    """``Image.blend``: float32, and cut off, not rounded."""
    return _to_byte(start + factor * (end - start))


@triton.jit
def _grey(source, pixels, exists, CHANNELS: tl.constexpr):
    """Luma as Pillow rounds it, int32; ``source`` points into the first channel."""
    grey = tl.load(source, mask=exists, other=0).to(tl.int32)
    if CHANNELS == 3:
        green = tl.load(source + pixels, mask=exists, other=0).to(tl.int32)
        blue = tl.load(source + 2 * pixels, mask=exists, other=0).to(tl.int32)
        grey = (grey * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return grey


@triton.jit
def _count(source, counts, codes, height, width, blocks, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """How often each value occurs in each channel; for CONTRAST each luma, as the first channel's."""
    image, row, column = whereabouts(blocks, width, BLOCK)
    code = tl.load(codes + image)
    exists, pixels = row < height, height * width
    source += image * CHANNELS * pixels + row * width + column
    bins = counts + image * CHANNELS * 256 + tl.arange(0, 256)
    if code == _CONTRAST:
        grey = _grey(source, pixels, exists, CHANNELS)
        tl.atomic_add(bins, tl.histogram(grey, 256, mask=exists), sem="relaxed")
    elif (code == _AUTO_CONTRAST) | (code == _EQUALIZE):
        for channel in tl.static_range(CHANNELS):
            values = tl.load(source + channel * pixels, mask=exists, other=0).to(tl.int32)
            tl.atomic_add(bins + channel * 256, tl.histogram(values, 256, mask=exists), sem="relaxed")


@triton.jit
def _make_tables(counts, tables, codes, values, CHANNELS: tl.constexpr):
    """What becomes of each value, where that depends on the value alone; a program makes one channel's table."""
    program = tl.program_id(0)
    image = program // CHANNELS
    code, value = tl.load(codes + image), tl.load(values + image)
    ramp = tl.arange(0, 256)
    table = ramp.to(tl.uint8)
    if (code == _AUTO_CONTRAST) | (code == _EQUALIZE):
        count = tl.load(counts + program * 256 + ramp)
        darkest = tl.min(tl.where(count > 0, ramp, 255))
        brightest = tl.max(tl.where(count > 0, ramp, 0))
        if code == _AUTO_CONTRAST:
            scale = 255.0 / tl.maximum(brightest - darkest, 1).to(tl.float64)
            stretched = _to_byte(ramp.to(tl.float64) * scale - darkest.to(tl.float64) * scale)
            table = tl.where(brightest > darkest, stretched, table)
        else:
            step = (tl.sum(count) - tl.sum(tl.where(ramp == brightest, count, 0))) // 255
            spread = (step // 2 + tl.cumsum(count) - count) // tl.maximum(step, 1)
            table = tl.where(step > 0, tl.minimum(spread, 255), ramp).to(tl.uint8)
    elif code == _INVERT:
        table = (255 - ramp).to(tl.uint8)
    elif code == _POSTERIZE:
        dropped = 8 - tl.minimum(tl.maximum(value.to(tl.int32), 0), 8)
        table = ((ramp >> dropped) << dropped).to(tl.uint8)
    elif code == _SOLARIZE:
        table = tl.where(ramp.to(tl.float64) < value, ramp, 255 - ramp).to(tl.uint8)
    elif code == _SOLARIZE_ADD:
        sums = tl.minimum(tl.maximum(ramp + value.to(tl.int32), 0), 255)
        table = tl.where(ramp < 128, sums, ramp).to(tl.uint8)
    elif code == _BRIGHTNESS:
        table = _blend(0.0, ramp.to(tl.float32), value.to(tl.float32))
    elif code == _CONTRAST:
        count = tl.load(counts + image * CHANNELS * 256 + ramp).to(tl.int64)
        total = tl.sum(count)
        mean = (2 * tl.sum(count * ramp) + total) // (2 * total)  # to the nearest, .5 up
        table = _blend(mean.to(tl.float32), ramp.to(tl.float32), value.to(tl.float32))
    tl.store(tables + program * 256 + ramp, table)


@triton.jit(do_not_specialize=["fill"])  # or 1 would be no tensor
def _operate(
    source, target, flips, codes, values, matrices, bicubic, tables, fill,
    height, width, blocks, IS_FIRST: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One operation of each image, but BLUR, which is done afterwards. The first reads a mirror image."""
    image, row, column = whereabouts(blocks, width, BLOCK)
    exists, pixels = row < height, height * width
    code, factor = tl.load(codes + image), tl.load(values + image).to(tl.float32)
    source += image * CHANNELS * pixels
    target += image * CHANNELS * pixels + row * width + column
    mirrored = False
    if IS_FIRST:
        mirrored = tl.load(flips + image) != 0
    own = source + row * width + tl.where(mirrored, width - 1 - column, column)
    if code == _AFFINE:
        matrices += image * 6
        cubic = tl.load(bicubic + image) != 0
        _transform(
            source, target, matrices, cubic, fill, mirrored, row, column, height, width, exists, CHANNELS
        )
    elif code == _SHARPNESS:
        inner = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
        for channel in tl.static_range(CHANNELS):
            value, smooth = _smooth(own + channel * pixels, width, exists, inner)
            tl.store(target + channel * pixels, _blend(smooth, value, factor), mask=exists)
    elif ((code == _COLOR) | (code == _GREY)) & (CHANNELS == 3):
        grey = _grey(own, pixels, exists, CHANNELS).to(tl.float32)
        factor = tl.where(code == _GREY, 0.0, factor)
        for channel in tl.static_range(CHANNELS):
            value = tl.load(own + channel * pixels, mask=exists, other=0).to(tl.float32)
            tl.store(target + channel * pixels, _blend(grey, value, factor), mask=exists)
    else:
        is_table = (code >= _AUTO_CONTRAST) & (code <= _CONTRAST)
        for channel in tl.static_range(CHANNELS):
            byte = tl.load(own + channel * pixels, mask=exists, other=0)
            if is_table:
                byte = tl.load(tables + (image * CHANNELS + channel) * 256 + byte.to(tl.int32))
            tl.store(target + channel * pixels, byte, mask=exists)


@triton.jit
def _smooth(own, width, exists, inner):
    """Each value and the average that ``ImageFilter.SMOOTH`` makes of it, float32; the border is left alone."""
    value = tl.load(own, mask=exists, other=0).to(tl.int32)
    total = value * 4
    for down in tl.static_range(-1, 2):
        for right in tl.static_range(-1, 2):
            total += tl.load(own + down * width + right, mask=inner, other=0).to(tl.int32)
    return value.to(tl.float32), tl.where(inner, (2 * total + 13) // 26, value).to(tl.float32)


@triton.jit
def _transform(
    source, target, matrix, cubic, fill, mirrored, row, column, height, width, exists, CHANNELS: tl.constexpr
):
    """``Image.transform`` by an affine map, in Pillow's order of operations."""
    x, y = column.to(tl.float64) + 0.5, row.to(tl.float64) + 0.5
    from_x = tl.load(matrix) * x + tl.load(matrix + 1) * y + tl.load(matrix + 2)
    from_y = tl.load(matrix + 3) * x + tl.load(matrix + 4) * y + tl.load(matrix + 5)
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    from_x, from_y = tl.where(inside, from_x, 0.5) - 0.5, tl.where(inside, from_y, 0.5) - 0.5
    left, top = tl.floor(from_x), tl.floor(from_y)
    dx, dy = from_x - left, from_y - top
    left, top = left.to(tl.int32), top.to(tl.int32)
    inside &= exists
    for channel in tl.static_range(CHANNELS):
        plane = source + channel * height * width
        at = plane, left, dx, height, width, mirrored, inside
        if cubic:
            value = _cubic(
                _cubic_row(top - 1, *at), _cubic_row(top, *at),
                _cubic_row(top + 1, *at), _cubic_row(top + 2, *at), dy,
            )  # fmt: skip
        else:
            value = _linear(_linear_row(top, *at), _linear_row(top + 1, *at), dy)
        outside = ((fill >> (8 * channel)) & 255).to(tl.uint8)
        tl.store(target + channel * height * width, tl.where(inside, _to_byte(value), outside), mask=exists)


@triton.jit
def _cubic_row(row, plane, left, dx, height, width, mirrored, inside):
    at = plane, height, width, mirrored, inside
    return _cubic(
        _tap(row, left - 1, *at), _tap(row, left, *at), _tap(row, left + 1, *at), _tap(row, left + 2, *at), dx
    )


@triton.jit
def _linear_row(row, plane, left, dx, height, width, mirrored, inside):
    at = plane, height, width, mirrored, inside
    return _linear(_tap(row, left, *at), _tap(row, left + 1, *at), dx)


@triton.jit
def _tap(row, column, plane, height, width, mirrored, inside):
    """A value of the image, whose border is repeated, as float64."""
    row = tl.minimum(tl.maximum(row, 0), height - 1)
    column = tl.minimum(tl.maximum(column, 0), width - 1)
    column = tl.where(mirrored, width - 1 - column, column)
    return tl.load(plane + row * width + column, mask=inside, other=0).to(tl.float64)


@triton.jit
def _cubic(a, b, c, d, part):
    return b + part * ((c - a) + part * ((2 * (a - b) + c - d) + part * (b - a - c + d)))


@triton.jit
def _linear(a, b, part):
    return a + (b - a) * part


@triton.jit
def _box_blur(
    source, target, codes, reaches, weights, far_weights,
    height, width, blocks, ALONG_X: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """``augment_tensors._box_blur`` of the images whose operation is BLUR."""
    image, row, column = whereabouts(blocks, width, BLOCK)
    exists, pixels = row < height, height * width
    source += image * CHANNELS * pixels
    target += image * CHANNELS * pixels + row * width + column
    if tl.load(codes + image) == _BLUR:
        reach = tl.load(reaches + image).to(tl.int32)
        for channel in tl.static_range(CHANNELS):
            at = source + channel * pixels, row, column, height, width, exists
            near = _value_along(-reach, *at, ALONG_X)
            step = 1 - reach
            while step <= reach:
                near += _value_along(step, *at, ALONG_X)
                step += 1
            far = _value_along(-reach - 1, *at, ALONG_X) + _value_along(reach + 1, *at, ALONG_X)
            total = near * tl.load(weights + image) + far * tl.load(far_weights + image)
            tl.store(target + channel * pixels, ((total + (1 << 23)) >> 24).to(tl.uint8), mask=exists)


@triton.jit
def _value_along(step, plane, row, column, height, width, exists, ALONG_X: tl.constexpr):
    if ALONG_X:
        column = tl.minimum(tl.maximum(column + step, 0), width - 1)
    else:
        row = tl.minimum(tl.maximum(row + step, 0), height - 1)
    return tl.load(plane + row * width + column, mask=exists, other=0).to(tl.int64)
