"""Steps 2 and 3 of the contract in plain tensor operations: normalise, erase, mix; image by image.

On a GPU the plans are read on the host: right, but slow.
"""

import math

import torch
from torch import Tensor

from swin_train.kernels.augment.plans import Erasures, MixPlan, Normalisation


def finish(
    images: Tensor,
    normalisation: Normalisation,
    erasures: Erasures | None,
    mix: MixPlan | None,
    dtype: torch.dtype,
) -> Tensor:
    """Step 2 of the contract; the arguments are those of ``augment.finish``."""
    out = torch.empty(images.shape, dtype=torch.float32, device=images.device)
    finish_into(out, images, normalisation, erasures)
    if mix is not None:
        out = mix_images(out, mix)
    return out.to(dtype)


def finish_into(
    out: Tensor, images: Tensor, normalisation: Normalisation, erasures: Erasures | None = None
) -> Tensor:
    """Step 2 of the contract; fills and returns ``out``, float32 of the shape of the images."""
    mean, std = normalisation.mean[:, None, None], normalisation.std[:, None, None]
    for pixels, image in zip(out, images, strict=True):
        pixels.copy_(image).div_(255).sub_(mean).div_(std)
    if erasures is not None:
        _erase(out, erasures)
    return out


def mix_images(images: Tensor, mix: MixPlan) -> Tensor:
    """Step 3 of the contract; the arguments are those of ``augment.mix_images``."""
    out = torch.empty_like(images)
    plans = zip(mix.partners.tolist(), mix.weights.tolist(), mix.boxes.tolist(), strict=True)
    for mixed, image, (partner, weight, (top, bottom, left, right)) in zip(out, images, plans, strict=True):
        other = images[partner]
        if top < bottom and left < right:
            mixed.copy_(image)
            mixed[:, top:bottom, left:right] = other[:, top:bottom, left:right]
        else:
            torch.mul(image, weight, out=mixed).add_(other * (1.0 - weight))
    return out


def _erase(images: Tensor, erasures: Erasures) -> None:
    for boxes, keys in zip(erasures.boxes.tolist(), erasures.keys.tolist(), strict=True):
        for image, (left, top, right, bottom), key in zip(images, boxes, keys, strict=True):
            patch = image[:, top:bottom, left:right]
            if erasures.mode == "const":
                patch.zero_()
            elif right > left and bottom > top:
                shape = patch.shape if erasures.mode == "pixel" else (len(patch), 1, 1)
                patch.copy_(normal_noise(key, math.prod(shape), patch.device).view(shape))


def normal_noise(key: int, count: int, device: torch.device) -> Tensor:
    """``draws.normal_noise`` with torch: [count] float32."""
    bits = mix64(torch.arange((count + 1) // 2, device=device) ^ key)
    u = (bits >> 40 & 0xFFFFFF).float() * 2**-24
    v = (bits & 0xFFFFFF).float() * 2**-24
    radius = (-2 * (1 - u).log()).sqrt()
    angle = v * (2 * math.pi)
    return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count]


def mix64(z: Tensor) -> Tensor:
    """``draws.mix64_array`` with torch, which has no unsigned arithmetic: the same bits in int64."""
    z = z + _signed(0x9E3779B97F4A7C15)
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shifted(z, 31)


def _signed(word: int) -> int:
    return word - (1 << 64)  # of words from 2**63 on


def _shifted(z: Tensor, count: int) -> Tensor:
    return z >> count & (1 << 64 - count) - 1  # zeros come in, not the sign
