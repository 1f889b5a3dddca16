"""A view: everything that was drawn for one image, before a pixel is touched."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self

from PIL import Image

from swin_train.data.recipe.limits import Size, check_resizable

Box = tuple[int, int, int, int]  # left, top, right and bottom, in pixels

FILTERS: dict[str, tuple[Image.Resampling, ...]] = {
    "bilinear": (Image.Resampling.BILINEAR,),
    "bicubic": (Image.Resampling.BICUBIC,),
    "random": (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC),
}


class Op(NamedTuple):
    """One operation on the resized picture: its name, its argument and, for a geometric one, its filter."""

    name: str
    argument: float | None = None
    resample: Image.Resampling | None = None


class Erasure(NamedTuple):
    """A rectangle that is overwritten after normalisation, and the key of its noise."""

    box: Box
    key: int = 0


class Crop(NamedTuple):
    """The part of a picture that is resized to the input's size, by which filter, and how it is moved then.

    A shift of (x, y) moves the result to the left and up by so many pixels; black comes in.
    """

    box: Box
    resample: Image.Resampling
    shift: tuple[int, int] = (0, 0)


class View(NamedTuple):
    """Everything that was drawn for one image; applied from left to right."""

    crop: Crop
    flip: bool = False
    ops: tuple[Op, ...] = ()
    erasures: tuple[Erasure, ...] = ()


class CropLaw(Protocol):
    """Draws which part of a picture is shown."""

    def draw(self, width: int, height: int, rng: random.Random) -> Crop:
        """A crop of a picture of this size."""


class Policy(Protocol):
    """Draws operations: RandAugment and its like."""

    def draw(self, rng: random.Random) -> Sequence[Op]:
        """The operations of one image, in order."""


class ErasingLaw(Protocol):
    """Draws what is overwritten."""

    def draw(self, size: Size, rng: random.Random) -> Sequence[Erasure]:
        """The rectangles of one image."""


@dataclass(frozen=True)
class Recipe:
    """The training recipe of one picture.

    Attributes:
        size: of the result, where the schedule names none.
        crop: ``ResizedCrop`` or ``ShiftCrop``.
        hflip: probability of a mirror image.
        policy: of the operations, or None.
        erasing: of what is blanked last, or None.
        schedule: other sizes, each with the epoch from which on it holds, ascending.
    """

    size: Size
    crop: CropLaw
    hflip: float
    policy: Policy | None
    erasing: ErasingLaw | None
    schedule: tuple[tuple[int, Size], ...] = ()

    def at(self, epoch: int) -> Self:
        """The recipe of an epoch."""
        if not self.schedule:
            return self
        sizes = [size for start, size in self.schedule if start <= epoch]
        return replace(self, size=[self.size, *sizes][-1], schedule=())

    def draw(self, width: int, height: int, rng: random.Random) -> View:
        """A random view of a picture of this size, in pixels.

        Raises:
            TooElongated: the crop would have too many pixels on the way to the result.
        """
        crop = self.crop.draw(width, height, rng)
        left, top, right, bottom = crop.box
        check_resizable((right - left, bottom - top), (self.size[1], self.size[0]), self.size)
        flip = rng.random() < self.hflip
        ops = self.policy.draw(rng) if self.policy else ()
        erasures = self.erasing.draw(self.size, rng) if self.erasing else ()
        return View(crop, flip, tuple(ops), tuple(erasures))
