"""Random erasing (Zhong et al. 2020), with timm's laws."""

import random
from dataclasses import dataclass
from typing import Literal

from swin_train.data import draws
from swin_train.data.recipe.crop import ATTEMPTS, draw_sides
from swin_train.data.recipe.limits import Size
from swin_train.data.recipe.view import Box, Erasure

ErasingMode = Literal["const", "rand", "pixel"]


@dataclass(frozen=True)
class RandomErasing:
    """Draws rectangles that are overwritten after normalisation.

    Attributes:
        probability: of erasing anything.
        mode: ``const`` writes the mean, ``rand`` one normal deviate per channel, ``pixel`` one per value.
        max_count: rectangles, their number being uniform in [1, max_count].
    """

    probability: float
    mode: ErasingMode
    max_count: int

    _AREA = (0.02, 1 / 3)  # of the picture, shared by the rectangles
    _RATIO = (0.3, 1 / 0.3)

    def draw(self, size: Size, rng: random.Random) -> list[Erasure]:
        """The rectangles of a picture of this height and width."""
        if rng.random() >= self.probability:
            return []
        height, width = size
        count = 1 + draws.below(rng, self.max_count)
        erasures = []
        for _ in range(count):
            box = self.draw_box(width, height, count, rng)
            if box is not None:
                # One draw is the key of all the noise: a call per value would take longer than all the rest.
                erasures.append(Erasure(box, 0 if self.mode == "const" else int(rng.random() * 2**53)))
        return erasures

    def draw_box(self, width: int, height: int, count: int, rng: random.Random) -> Box | None:
        """One of ``count`` rectangles, or None where none would fit."""
        for _ in range(ATTEMPTS):
            area = draws.uniform(rng, *self._AREA) * width * height / count
            h, w = draw_sides(area, self._RATIO, rng)
            if w < width and h < height:
                left, top = draws.below(rng, width - w + 1), draws.below(rng, height - h + 1)
                return left, top, left + w, top + h
        return None
