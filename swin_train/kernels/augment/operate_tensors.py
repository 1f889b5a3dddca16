"""Step 1 of the contract in plain tensor operations; image by image, so that each stays in the cache.

On a GPU the plans are read on the host: right, but slow.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from swin_train.kernels.augment.plans import OpCode, Operations


def operate(images: Tensor, operations: Operations) -> Tensor:
    """Step 1 of the contract; the arguments are those of ``augment.operate``."""
    out = images.clone()
    flips, codes, values = (x.tolist() for x in (operations.flips, operations.codes, operations.values))
    for row, pixels in enumerate(out):
        image = pixels.flip(-1) if flips[row] else pixels
        for layer in range(len(codes)):
            code, value = codes[layer][row], values[layer][row]
            if code == OpCode.AFFINE:
                matrix = operations.matrices[layer, row].tolist()
                image = affine(image, matrix, bool(operations.bicubic[layer, row]), operations.fill)
            elif code in _PIXELWISE:
                image = _PIXELWISE[code](image, value)
            elif code != OpCode.IDENTITY:
                image = _look_up(image, _TABLES[code](image, value))
        if image is not pixels:
            pixels.copy_(image)
    return out


def histogram(image: Tensor) -> Tensor:
    """How often each value occurs in each channel: [C, 256] int64."""
    return torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in image])


def grey(image: Tensor) -> Tensor:
    """Luma as Pillow rounds it, [height, width] int32."""
    if len(image) == 1:
        return image[0].int()
    red, green, blue = image.int()
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def _look_up(image: Tensor, table: Tensor) -> Tensor:
    """Replace each value by that of its channel's table, [C, 256]."""
    offsets = torch.arange(0, 256 * len(image), 256, dtype=torch.int32, device=image.device)
    places = image.flatten(1).int() + offsets[:, None]
    return table.to(torch.uint8).flatten().index_select(0, places.flatten()).view_as(image)


def _ramp(image: Tensor) -> Tensor:
    return torch.arange(256, device=image.device).expand(len(image), 256)


def _auto_contrast(image: Tensor, _: float) -> Tensor:
    darkest, brightest = (values[:, None] for values in image.flatten(1).aminmax(dim=1))
    # tensor / tensor: torch divides a number by a tensor as number * (1 / tensor)
    scale = torch.full_like(brightest, 255.0, dtype=torch.float64) / (brightest - darkest)
    stretched = _ramp(image) * scale - darkest * scale
    return torch.where(brightest > darkest, stretched.clamp(0, 255).to(torch.uint8), _ramp(image))


def _equalize(image: Tensor, _: float) -> Tensor:
    counts = histogram(image)
    total = counts.sum(1, keepdim=True)
    of_brightest = counts.gather(1, image.flatten(1).amax(dim=1, keepdim=True).long())
    step = (total - of_brightest) // 255
    below = counts.cumsum(1) - counts
    spread = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, spread, _ramp(image))


def _invert(image: Tensor, _: float) -> Tensor:
    return 255 - _ramp(image)


def _posterize(image: Tensor, bits: float) -> Tensor:
    return _ramp(image) & (0xFF00 >> min(max(int(bits), 0), 8))


def _solarize(image: Tensor, threshold: float) -> Tensor:
    ramp = _ramp(image)
    return torch.where(ramp < threshold, ramp, 255 - ramp)


def _solarize_add(image: Tensor, addend: float) -> Tensor:
    ramp = _ramp(image)
    return torch.where(ramp < 128, (ramp + int(addend)).clamp(0, 255), ramp)


def _brightness(image: Tensor, factor: float) -> Tensor:
    return _blend(0, _ramp(image).float(), factor)


def _contrast(image: Tensor, factor: float) -> Tensor:
    lightness, count = grey(image), image[0].numel()
    mean = (2 * lightness.sum() + count) // (2 * count)  # to the nearest, .5 up
    return _blend(mean.float(), _ramp(image).float(), factor)


def _color(image: Tensor, factor: float) -> Tensor:
    return _blend(grey(image).float(), image.float(), factor)


def _grey(image: Tensor, _: float) -> Tensor:
    return grey(image).to(torch.uint8).expand_as(image)


def _sharpness(image: Tensor, factor: float) -> Tensor:
    if min(image.shape[1:]) < 3:
        return image
    smooth, values = image.float(), image.short()
    sums = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    sums = sums[:, :, :-2] + sums[:, :, 1:-1] + sums[:, :, 2:] + 4 * values[:, 1:-1, 1:-1]
    # No thirteenth part is near .5: float32 rounds them all as Pillow does. The border is not smoothed.
    smooth[:, 1:-1, 1:-1] = (sums.float() / 13 + 0.5).floor_()
    return _blend(smooth, image.float(), factor)


def _blend(start: Tensor | float, end: Tensor, factor: float) -> Tensor:
    """``Image.blend``: float32, and cut off, not rounded."""
    return (end - start).mul_(factor).add_(start).clamp_(0, 255).to(torch.uint8)


def _blur(image: Tensor, radius: float) -> Tensor:
    reach, weight, far_weight = extended_box(torch.tensor(radius))
    blurred = image
    for dim in (2, 1):
        for _ in range(3):
            blurred = _box_blur(blurred, dim, int(reach), int(weight), int(far_weight))
    return blurred


def _box_blur(image: Tensor, dim: int, reach: int, weight: int, far_weight: int) -> Tensor:
    """Average of 2 ``reach`` + 1 values and, with a smaller weight, the two beyond; in 24-bit fixed point."""
    length = image.shape[dim]
    places = torch.arange(-reach - 1, length + reach + 1, device=image.device).clamp_(0, length - 1)
    line = image.index_select(dim, places).long()
    near = sum(line.narrow(dim, start, length) for start in range(1, 2 * reach + 2))
    far = line.narrow(dim, 0, length) + line.narrow(dim, 2 * reach + 2, length)
    return ((near * weight + far * far_weight + (1 << 23)) >> 24).to(torch.uint8)


def extended_box(radii: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reach and weights of the box that blurs like a Gaussian when applied three times.

    Args:
        radii: standard deviations, in pixels.

    Returns:
        Whole reach, weight of a value within it and of the two beyond, as parts of 2**24; each int64.

    Source: Gwosdek et al. 2011, with the roundings of Pillow's float32.
    """
    variance = (radii.float() * radii.float()) / 3
    length = (12.0 * variance.double() + 1.0).sqrt().float()
    whole = ((length.double() - 1.0) / 2.0).floor().float()
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    radius = whole + part / (6 * (variance - (whole + 1) * (whole + 1)))
    reach = radius.long()
    weight = (torch.full_like(radius, 1 << 24) / (radius * 2 + 1)).long()
    return reach, weight, ((1 << 24) - (reach * 2 + 1) * weight) // 2


def affine(image: Tensor, matrix: list[float], bicubic: bool, fill: tuple[int, ...]) -> Tensor:
    """``Image.transform`` by an affine map.

    Args:
        image: [C, height, width] uint8.
        matrix: (a, b, c, d, e, f): the result's (x, y) is taken from (a x + b y + c, d x + e y + f).
        bicubic: filter (Keys 1981 with a = -1); otherwise bilinear.
        fill: what comes in from outside, by channel.
    """
    height, width = image.shape[1:]
    x, y = _sources(height, width, matrix, image.device)
    (left, dx), (top, dy) = _parted(x, width), _parted(y, height)
    bordered = _with_border(image)
    stride = bordered.shape[2]
    first = (top * stride + left).flatten()  # of the 4 x 4 values that the wider filter reads
    interpolate, taps = (_cubic, range(4)) if bicubic else (_linear, range(1, 3))

    def transformed(plane: Tensor) -> Tensor:
        def tap(row: int, column: int) -> Tensor:
            return plane[row * stride + column :].index_select(0, first).view(height, width).short()

        # Where a side stays what it is, its filter has a weight for the value at the place alone.
        if matrix[3:] == [0, 1, 0]:
            return interpolate([tap(1, column) for column in taps], dx)
        if matrix[:3] == [1, 0, 0]:
            return interpolate([tap(row, 1) for row in taps], dy)
        return interpolate([interpolate([tap(row, column) for column in taps], dx) for row in taps], dy)

    # plane by plane, which fits into the cache
    planes = [transformed(plane).clamp_(0, 255).to(torch.uint8) for plane in bordered.flatten(1)]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    outside = torch.tensor(fill, dtype=torch.uint8, device=image.device)[:, None, None]
    return torch.where(inside, torch.stack(planes), outside)


def _sources(height: int, width: int, matrix: list[float], device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each pixel is taken from: float64 x and y, [height, width] or of one row or column alone."""
    a, b, c, d, e, f = matrix
    x = torch.arange(width, dtype=torch.float64, device=device) + 0.5
    y = torch.arange(height, dtype=torch.float64, device=device)[:, None] + 0.5
    # Pillow's order of operations; a product with 0 changes no sum.
    return (a * x + b * y if b else a * x) + c, (d * x + e * y if d else e * y) + f


def _parted(places: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Along one side: where the values around a place begin in ``_with_border`` (int32), and the fraction."""
    whole = (places - 0.5).floor()
    return whole.clamp(-1, length - 1).int() + 1, places - 0.5 - whole


def _with_border(image: Tensor) -> Tensor:
    """The image with its outermost values repeated, two on each side."""
    for dim in (1, 2):
        length = image.shape[dim]
        places = torch.arange(-2, length + 2, device=image.device).clamp_(0, length - 1)
        image = image.index_select(dim, places)
    return image


def _linear(taps: list[Tensor], d: Tensor) -> Tensor:
    a, b = taps
    return ((b - a) * d).add_(a)


def _cubic(taps: list[Tensor], d: Tensor) -> Tensor:
    """Pillow's order of operations; those of whole numbers are exact in any type."""
    a, b, c, e = taps
    difference = a - b
    p3 = 2 * difference + c - e
    p4 = b - a - c + e
    return (p4 * d).add_(p3).mul_(d).add_(c - a).mul_(d).add_(b)


_Function = Callable[[Tensor, float], Tensor]
_TABLES: dict[int, _Function] = {
    OpCode.AUTO_CONTRAST: _auto_contrast,
    OpCode.EQUALIZE: _equalize,
    OpCode.INVERT: _invert,
    OpCode.POSTERIZE: _posterize,
    OpCode.SOLARIZE: _solarize,
    OpCode.SOLARIZE_ADD: _solarize_add,
    OpCode.BRIGHTNESS: _brightness,
    OpCode.CONTRAST: _contrast,
}
_PIXELWISE: dict[int, _Function] = {
    OpCode.COLOR: _color,
    OpCode.SHARPNESS: _sharpness,
    OpCode.GREY: _grey,
    OpCode.BLUR: _blur,
}
