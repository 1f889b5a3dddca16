"""Which part of a picture a view shows."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from swin_train.data import draws
from swin_train.data.recipe.limits import Size
from swin_train.data.recipe.view import Box, Crop

ATTEMPTS = 10  # torchvision's and timm's: after so many misfits a crop is central, an erasure is left out
_SHIFT = 4  # pixels of black border in which a small picture is moved


@dataclass(frozen=True)
class ResizedCrop:
    """A random part of the picture, resized (Szegedy et al. 2015): torchvision's RandomResizedCrop.

    Attributes:
        scale: least and greatest part of the picture's area.
        ratio: least and greatest width : height of the part, whatever the result's; drawn log-uniformly.
        filters: resampling filters, of which one is drawn.
    """

    scale: tuple[float, float]
    ratio: tuple[float, float]
    filters: Sequence[Image.Resampling]

    def draw(self, width: int, height: int, rng: random.Random) -> Crop:
        """The crop of a picture of this size."""
        return Crop(self.draw_box(width, height, rng), draws.choice(rng, self.filters))

    def draw_box(self, width: int, height: int, rng: random.Random) -> Box:
        """The part that is shown."""
        for _ in range(ATTEMPTS):
            area = draws.uniform(rng, *self.scale) * width * height
            w, h = draw_sides(area, self.ratio, rng)
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
        filters: filters of the squash to the input's size, of which one is drawn.
    """

    filters: Sequence[Image.Resampling]

    def draw(self, width: int, height: int, rng: random.Random) -> Crop:
        """The whole picture, and by how much it is moved."""
        resample = draws.choice(rng, self.filters)
        left = draws.below(rng, 2 * _SHIFT + 1) - _SHIFT
        top = draws.below(rng, 2 * _SHIFT + 1) - _SHIFT
        return Crop((0, 0, width, height), resample, (left, top))


def is_small(size: Size) -> bool:
    """Whether pictures of this size are treated as CIFAR's are by the reference: shifted, not resized.

    The reference knows squares alone; a rectangle is small when its longer side is.
    """
    return max(size) <= 32


def is_shifted(crop: str, size: Size) -> bool:
    """Whether ``AUG.CROP`` means ``ShiftCrop`` at this size."""
    return crop == "shift" or (crop == "auto" and is_small(size))


def draw_sides(area: float, ratio: tuple[float, float], rng: random.Random) -> tuple[int, int]:
    """Sides of a rectangle whose first : second is log-uniform in ``ratio``, in pixels."""
    quotient = math.exp(draws.uniform(rng, math.log(ratio[0]), math.log(ratio[1])))
    return round(math.sqrt(area * quotient)), round(math.sqrt(area / quotient))
