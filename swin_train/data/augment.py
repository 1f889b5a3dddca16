"""From a decoded picture to a normalised tensor: the training recipe and the evaluation transform.

The recipe is the reference's (timm's ``create_transform`` with the reference's settings); each random step
takes its draws from the generator it is given. ``TrainTransform.__call__`` reads top to bottom.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from swin_train.data import draws
from swin_train.data.decode import MAX_PIXELS

Size = tuple[int, int]  # height and width of the model's input, in pixels
RandomStep = Callable[[Image.Image, random.Random], Image.Image]

FILTERS: dict[str, tuple[Image.Resampling, ...]] = {
    "bilinear": (Image.Resampling.BILINEAR,),
    "bicubic": (Image.Resampling.BICUBIC,),
    "random": (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC),
}
_ATTEMPTS = 10  # torchvision's and timm's: after so many misfits a crop is central, an erasure is left out
_SHIFT = 4  # pixels of black border in which a small picture is moved
_ELONGATED = 16  # times as long as wide: taken at any size of the input
_CROPPED, _RESIZED = 224, 256  # evaluation shows the model this much of what the picture is resized to


class TooElongated(ValueError):
    """The picture cannot be resized without unpacking far more pixels than it has."""


@dataclass(frozen=True)
class TrainTransform:
    """The training recipe of one picture.

    Attributes:
        crop: ``ResizedCrop`` or ``ShiftCrop``.
        hflip: probability of a mirror image.
        colour: ``RandAugment``, ``ColorJitter`` or neither.
        normalize: picture to tensor.
        erase: what is blanked last, in place.
    """

    crop: RandomStep
    hflip: float
    colour: RandomStep | None
    normalize: "Normalize"
    erase: "RandomErasing | None"

    def __call__(self, image: Image.Image, rng: random.Random) -> Tensor:
        """A random view of the picture, [channels, height, width] float32."""
        image = self.crop(image, rng)
        if rng.random() < self.hflip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.colour is not None:
            image = self.colour(image, rng)
        pixels = self.normalize(image)
        if self.erase is not None:
            self.erase(pixels, rng)
        return pixels


@dataclass(frozen=True)
class EvalTransform:
    """The evaluation transform: no draws.

    Attributes:
        size: of the result.
        central_crop: resize the picture until it covers 256/224 of the size, and cut out the centre; otherwise,
            and at a small size, squash the picture to the size.
        resample: the filter.
        normalize: picture to tensor.
    """

    size: Size
    central_crop: bool
    resample: Image.Resampling
    normalize: "Normalize"

    def __call__(self, image: Image.Image) -> Tensor:
        """The picture as a model is shown it, [channels, height, width] float32.

        Raises:
            TooElongated: on the way it would have more pixels than any picture may.
        """
        if self.central_crop and not is_small(self.size):
            image = _resize_to_cover(image, size_to_cover(self.size), self.resample)
            return self.normalize(_crop_centre(image, self.size))
        return self.normalize(_squash(image, self.size, self.resample))


def size_to_cover(size: Size) -> Size:
    """What a picture is resized to cover before an evaluation cuts its centre of ``size`` out."""
    height, width = size
    return height * _RESIZED // _CROPPED, width * _RESIZED // _CROPPED


def is_small(size: Size) -> bool:
    """Whether pictures of this size are treated as CIFAR's are by the reference: shifted, not resized.

    The reference knows squares alone; a rectangle is small when its longer side is.
    """
    return max(size) <= 32


@dataclass(frozen=True)
class ResizedCrop:
    """A random part of the picture, resized (Szegedy et al. 2015): torchvision's RandomResizedCrop.

    Attributes:
        size: of the result.
        scale: least and greatest part of the picture's area.
        ratio: least and greatest width : height of the part, whatever the result's; drawn log-uniformly.
        filters: resampling filters, of which one is drawn.
    """

    size: Size
    scale: tuple[float, float]
    ratio: tuple[float, float]
    filters: Sequence[Image.Resampling]

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """The crop."""
        # Cropped first: resize(box=...) would let the filter see pixels outside the crop.
        crop = image.crop(self.draw_box(image.width, image.height, rng))
        return _squash(crop, self.size, draws.choice(rng, self.filters))

    def draw_box(self, width: int, height: int, rng: random.Random) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a crop, in pixels."""
        for _ in range(_ATTEMPTS):
            area = draws.uniform(rng, *self.scale) * width * height
            w, h = _draw_sides(area, self.ratio, rng)
            if 0 < w <= width and 0 < h <= height:
                left, top = draws.below(rng, width - w + 1), draws.below(rng, height - h + 1)
                return left, top, left + w, top + h
        # the largest central part with an allowed ratio
        w = min(width, round(height * self.ratio[1]))
        h = min(height, round(width / self.ratio[0]))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h


@dataclass(frozen=True)
class ShiftCrop:
    """A small picture moved by up to 4 pixels each way, black coming in (He et al. 2016, for CIFAR).

    Attributes:
        size: of the result; a picture of another size is squashed to it first.
        filters: resampling filters of the squash, of which one is drawn.
    """

    size: Size
    filters: Sequence[Image.Resampling]

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """The moved picture."""
        image = _squash(image, self.size, draws.choice(rng, self.filters))
        left = draws.below(rng, 2 * _SHIFT + 1) - _SHIFT
        top = draws.below(rng, 2 * _SHIFT + 1) - _SHIFT
        height, width = self.size
        return image.crop((left, top, left + width, top + height))  # black outside the picture


@dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast and saturation, in random order, each by a factor within ``strength`` of 1."""

    strength: float

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """An image of the same size and mode."""
        enhancers = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
        while enhancers:
            enhancer = enhancers.pop(draws.below(rng, len(enhancers)))
            factor = draws.uniform(rng, max(0.0, 1 - self.strength), 1 + self.strength)
            image = enhancer(image).enhance(factor)
        return image


class Normalize:
    """8-bit picture -> (value / 255 - mean) / std, with one mean and std per channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self._std = torch.tensor(std, dtype=torch.float32)[:, None, None]

    def __call__(self, image: Image.Image) -> Tensor:
        """[channels, height, width] float32, bit-equal to torchvision's ToTensor and Normalize."""
        pixels = torch.from_numpy(np.array(image)).view(image.height, image.width, -1)
        return pixels.permute(2, 0, 1).contiguous().float().div_(255).sub_(self._mean).div_(self._std)


@dataclass(frozen=True)
class RandomErasing:
    """Rectangles overwritten after normalisation (Zhong et al. 2020), with timm's laws.

    Attributes:
        probability: of erasing anything.
        mode: ``const`` writes the mean, ``rand`` one normal deviate per channel, ``pixel`` one per value.
        max_count: rectangles, their number being uniform in [1, max_count].
    """

    probability: float
    mode: str
    max_count: int

    _AREA = (0.02, 1 / 3)  # of the picture, shared by the rectangles
    _RATIO = (0.3, 1 / 0.3)

    def __call__(self, pixels: Tensor, rng: random.Random) -> None:
        """Erase in place."""
        if rng.random() >= self.probability:
            return
        height, width = pixels.shape[-2:]
        count = 1 + draws.below(rng, self.max_count)
        for _ in range(count):
            box = self.draw_box(width, height, count, rng)
            if box is not None:
                left, top, right, bottom = box
                self._fill(pixels[:, top:bottom, left:right], rng)

    def draw_box(
        self, width: int, height: int, count: int, rng: random.Random
    ) -> tuple[int, int, int, int] | None:
        """Left, top, right and bottom of one of ``count`` rectangles, or None where none would fit."""
        for _ in range(_ATTEMPTS):
            area = draws.uniform(rng, *self._AREA) * width * height / count
            h, w = _draw_sides(area, self._RATIO, rng)
            if w < width and h < height:
                left, top = draws.below(rng, width - w + 1), draws.below(rng, height - h + 1)
                return left, top, left + w, top + h
        return None

    def _fill(self, patch: Tensor, rng: random.Random) -> None:
        if self.mode == "const":
            patch.zero_()
            return
        shape = patch.shape if self.mode == "pixel" else (len(patch), 1, 1)
        # One draw is the key of all the noise: a Python call per value would take longer than all the rest.
        noise = draws.normal_noise(int(rng.random() * 2**53), math.prod(shape))
        patch.copy_(torch.from_numpy(noise).view(shape))


def _draw_sides(area: float, ratio: tuple[float, float], rng: random.Random) -> tuple[int, int]:
    """Sides of a rectangle whose first : second is log-uniform in ``ratio``, in pixels."""
    quotient = math.exp(draws.uniform(rng, math.log(ratio[0]), math.log(ratio[1])))
    return round(math.sqrt(area * quotient)), round(math.sqrt(area / quotient))


def _squash(image: Image.Image, size: Size, resample: Image.Resampling) -> Image.Image:
    return _resized(image, (size[1], size[0]), size, resample)


def _resize_to_cover(image: Image.Image, size: Size, resample: Image.Resampling) -> Image.Image:
    """The whole picture in its own ratio, as small as covers the size."""
    height, width = size
    if height == width:  # torchvision's rule, which rounds down
        shorter = min(image.size)
        covering = height * image.width // shorter, height * image.height // shorter
    else:  # timm's, which rounds to the nearest
        scale = min(image.width / width, image.height / height)
        covering = round(image.width / scale), round(image.height / scale)
    return _resized(image, covering, size, resample)


def _resized(
    image: Image.Image, sides: tuple[int, int], asked: Size, resample: Image.Resampling
) -> Image.Image:
    """The picture with the given width and height, on the way to the size that was asked for."""
    if image.size == sides:
        return image
    (width, height), (new_width, new_height) = image.size, sides
    # Pillow resizes one side after the other; its weights take as much room for a picture that lies as for
    # one that stands, so both orders count. Inputs of thousands of pixels have a limit of their own.
    limit = max(MAX_PIXELS, _ELONGATED * math.prod(asked))
    if max(new_width * new_height, new_width * height, width * new_height) > limit:
        wanted = f"{asked[1]} x {asked[0]}" if asked[0] != asked[1] else f"{asked[0]}"
        raise TooElongated(f"is {width} x {height} pixels, too elongated to be resized to {wanted}")
    return image.resize(sides, resample)


def _crop_centre(image: Image.Image, size: Size) -> Image.Image:
    height, width = size
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
