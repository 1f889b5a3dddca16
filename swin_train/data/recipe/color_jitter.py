"""Colour jitter, which replaces a policy of operations where there is none."""

import random
from dataclasses import dataclass

from swin_train.data import draws
from swin_train.data.recipe.view import Op


@dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast and saturation, in random order, each by a factor within ``strength`` of 1."""

    strength: float

    def draw(self, rng: random.Random) -> list[Op]:
        """Three operations."""
        names = ["Brightness", "Contrast", "Color"]
        ops = []
        while names:
            name = names.pop(draws.below(rng, len(names)))
            ops.append(Op(name, draws.uniform(rng, max(0.0, 1 - self.strength), 1 + self.strength)))
        return ops
