"""Steps 2 and 3 of the contract in Triton, in one launch."""

# ruff: noqa: N803
# mypy: disallow-untyped-defs=False

import torch
import triton
import triton.language as tl
from torch import Tensor

from swin_train.kernels.augment.launch_triton import launch, whereabouts
from swin_train.kernels.augment.plans import Erasures, MixPlan, Normalisation

_MODES = {"const": 0, "rand": 1, "pixel": 2}


def finish(
    images: Tensor,
    normalisation: Normalisation,
    erasures: Erasures | None,
    mix: MixPlan | None,
    dtype: torch.dtype,
) -> Tensor:
    """Steps 2 and 3 of the contract; the arguments are those of ``augment.finish``."""
    result = torch.empty_like(images, dtype=dtype)
    erasing = (erasures.boxes, erasures.keys) if erasures else (None, None)
    mixing = (mix.partners, mix.weights, mix.boxes) if mix else (None, None, None)
    how = {
        "batch": len(images),
        "ERASURES": len(erasures.keys) if erasures else 0,
        "MODE": _MODES[erasures.mode] if erasures else 0,
        "IS_MIXED": mix is not None,
    }
    with torch.cuda.device_of(images):
        plan = normalisation.mean, normalisation.std, *erasing, *mixing
        launch(_finish, images, result, *plan, **how)
    return result


def mix_images(images: Tensor, mix: MixPlan) -> Tensor:
    """Step 3 of the contract; the arguments are those of ``augment.mix_images``."""
    result = torch.empty_like(images)
    with torch.cuda.device_of(images):
        launch(_mix, images, result, mix.partners, mix.weights, mix.boxes)
    return result


@triton.jit
def _finish(
    source, target, mean, std, boxes, keys, partners, weights, cuts,
    height, width, blocks, batch,
    ERASURES: tl.constexpr, MODE: tl.constexpr, IS_MIXED: tl.constexpr,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Steps 2 and 3; the partner is finished a second time, so that no program waits for another."""
    image, row, column = whereabouts(blocks, width, BLOCK)
    for channel in range(CHANNELS):
        how = source, mean, std, boxes, keys, batch, height, width
        value = _finished(image, channel, row, column, *how, ERASURES, MODE, CHANNELS)
        if IS_MIXED:
            partner = tl.load(partners + image)
            other = _finished(partner, channel, row, column, *how, ERASURES, MODE, CHANNELS)
            value = _mixed(value, other, image, row, column, weights, cuts)
        places = ((image * CHANNELS + channel) * height + row) * width + column
        tl.store(target + places, value.to(target.dtype.element_ty), mask=row < height)


@triton.jit
def _mix(
    source, target, partners, weights, cuts,
    height, width, blocks, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image, row, column = whereabouts(blocks, width, BLOCK)
    partner = tl.load(partners + image)
    for channel in range(CHANNELS):
        place = (channel * height + row) * width + column
        size = CHANNELS * height * width
        own = tl.load(source + image * size + place, mask=row < height, other=0).to(tl.float32)
        other = tl.load(source + partner * size + place, mask=row < height, other=0).to(tl.float32)
        value = _mixed(own, other, image, row, column, weights, cuts)
        tl.store(target + image * size + place, value.to(target.dtype.element_ty), mask=row < height)


@triton.jit
def _mixed(own, other, image, row, column, weights, cuts):
    weight, cuts = tl.load(weights + image), cuts + image * 4
    top, bottom, left, right = tl.load(cuts), tl.load(cuts + 1), tl.load(cuts + 2), tl.load(cuts + 3)
    average = own * weight.to(tl.float32) + other * (1.0 - weight).to(tl.float32)
    inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    return tl.where((top < bottom) & (left < right), tl.where(inside, other, own), average)


@triton.jit
def _finished(
    image, channel, row, column, source, mean, std, boxes, keys, batch, height, width,
    ERASURES: tl.constexpr, MODE: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Step 2 for one channel, float32."""
    place = ((image * CHANNELS + channel) * height + row) * width + column
    value = tl.load(source + place, mask=row < height, other=0).to(tl.float32)
    value = tl.div_rn(tl.div_rn(value, 255.0) - tl.load(mean + channel), tl.load(std + channel))
    for erasure in tl.static_range(ERASURES):
        box = boxes + (erasure * batch + image) * 4
        left, top, right, bottom = tl.load(box), tl.load(box + 1), tl.load(box + 2), tl.load(box + 3)
        if (left < right) & (top < bottom):
            noise = value * 0
            if MODE == 1:
                noise += _normal_noise(tl.load(keys + erasure * batch + image), channel + row * 0, CHANNELS)
            if MODE == 2:
                w, h = right - left, bottom - top
                number = (channel * h + row - top) * w + column - left
                noise += _normal_noise(tl.load(keys + erasure * batch + image), number, CHANNELS * h * w)
            inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
            value = tl.where(inside, noise, value)
    return value


@triton.jit
def _normal_noise(key, number, count):
    """Deviate ``number`` of ``draws.normal_noise(key, count)``."""
    half = (count + 1) // 2
    counter = tl.where(number < half, number, number - half)
    bits = _mix64(counter.to(tl.int64).to(tl.uint64, bitcast=True) ^ key.to(tl.uint64, bitcast=True))
    u = (bits >> 40).to(tl.float32) * 5.9604644775390625e-08  # 2**-24
    v = (bits & 0xFFFFFF).to(tl.float32) * 5.9604644775390625e-08
    radius = tl.sqrt_rn(-2.0 * tl.log(1.0 - u))
    angle = 6.283185307179586 * v
    return radius * tl.where(number < half, tl.cos(angle), tl.sin(angle))


@triton.jit
def _mix64(z):
    """``draws.mix64_array``."""
    z += 0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return z ^ (z >> 31)
