"""3-Augment (Touvron et al. 2022, DeiT-III) as in timm's ``3a``, with counted draws."""

import random
from dataclasses import dataclass

from swin_train.data import draws
from swin_train.data.recipe.color_jitter import ColorJitter
from swin_train.data.recipe.view import Op

_RADII = (0.1, 2.0)  # of the blur, in pixels
_THRESHOLD = 128  # of the solarisation


@dataclass(frozen=True)
class ThreeAugment:
    """One of solarisation, greyscale and blur, then colour jitter.

    Attributes:
        jitter: of the colours, or None.
    """

    jitter: ColorJitter | None

    def draw(self, rng: random.Random) -> list[Op]:
        """The operations of one image, in order."""
        name = draws.choice(rng, ("Solarize", "Grey", "Blur"))
        argument = {"Solarize": float(_THRESHOLD), "Blur": draws.uniform(rng, *_RADII)}.get(name)
        return [Op(name, argument), *(self.jitter.draw(rng) if self.jitter else ())]
