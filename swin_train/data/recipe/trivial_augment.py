"""TrivialAugment (Mueller and Hutter 2021) with torchvision's wide ranges, with counted draws."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from PIL import Image

from swin_train.data import draws
from swin_train.data.recipe.view import Op

NUM_BINS = 31


class Range(NamedTuple):
    """The magnitudes of an operation, whether they get a sign, and its argument at one of them."""

    magnitudes: list[float]
    is_signed: bool
    argument: Callable[[float], float]


@dataclass(frozen=True)
class TrivialAugment:
    """Draws one operation, one of 31 equidistant magnitudes and, where it has one, a sign.

    Attributes:
        filters: resampling filters of rotation, shear and translation, of which one is drawn.
    """

    filters: Sequence[Image.Resampling]

    def draw(self, rng: random.Random) -> list[Op]:
        """The operation of one image; none where it is the identity."""
        name = draws.choice(rng, NAMES)
        return [] if name == "Identity" else [self.draw_op(name, draws.below(rng, NUM_BINS), rng)]

    def draw_op(self, name: str, magnitude_bin: int, rng: random.Random) -> Op:
        """The operation at a magnitude, 0 to 30."""
        span, argument = RANGES[name], None
        if span is not None:
            magnitude = span.magnitudes[magnitude_bin]
            if span.is_signed and rng.random() < 0.5:
                magnitude = -magnitude
            argument = span.argument(magnitude)
        return Op(name, argument, draws.choice(rng, self.filters) if name in _GEOMETRIC else None)


def _steps(first: float, last: float) -> list[float]:
    values: list[float] = torch.linspace(first, last, NUM_BINS).tolist()  # torchvision's, in float32
    return values


def _same(magnitude: float) -> float:
    return magnitude


def _factor(magnitude: float) -> float:
    return 1.0 + magnitude


def _whole_pixels(magnitude: float) -> float:
    return -float(int(magnitude))  # Pillow's map goes from the result to the picture


# By operation; None: it takes no argument.
RANGES: dict[str, Range | None] = {
    "Identity": None,
    "ShearX": Range(_steps(0.0, 0.99), True, _same),
    "ShearY": Range(_steps(0.0, 0.99), True, _same),
    "TranslateX": Range(_steps(0.0, 32.0), True, _whole_pixels),
    "TranslateY": Range(_steps(0.0, 32.0), True, _whole_pixels),
    "Rotate": Range(_steps(0.0, 135.0), True, _same),  # degrees
    "Brightness": Range(_steps(0.0, 0.99), True, _factor),
    "Color": Range(_steps(0.0, 0.99), True, _factor),
    "Contrast": Range(_steps(0.0, 0.99), True, _factor),
    "Sharpness": Range(_steps(0.0, 0.99), True, _factor),
    "Posterize": Range(_steps(0.0, 6.0), False, lambda lost: 8.0 - round(lost)),  # bits
    "Solarize": Range(_steps(255.0, 0.0), False, math.ceil),  # threshold
    "AutoContrast": None,
    "Equalize": None,
}
NAMES = tuple(RANGES)
_GEOMETRIC = frozenset({"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"})
