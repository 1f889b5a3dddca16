"""AutoAugment (Cubuk et al. 2019) with timm's policies for ImageNet, e.g. ``original-mstd0.5``, with counted draws."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

from swin_train.data import draws
from swin_train.data.recipe.policy_text import unsupported
from swin_train.data.recipe.rand_augment import GEOMETRIC, LAWS
from swin_train.data.recipe.view import Op

_FULL_LEVEL = 10  # the magnitude at which an operation reaches the end of its range


class Step(NamedTuple):
    """An operation of a sub-policy, how probable it is, and its magnitude, 0 to 10."""

    name: str
    probability: float
    magnitude: int


@dataclass(frozen=True)
class AutoAugment:
    """Draws one of the sub-policies, and applies each of its steps with the step's probability.

    Attributes:
        name: of the policy: original, originalr, v0 or v0r; with r, more magnitude keeps fewer bits.
        magnitude_std: deviation of each step's magnitude.
        filters: resampling filters of rotation, shear and translation; one is drawn each time.
    """

    name: str
    magnitude_std: float
    filters: Sequence[Image.Resampling]

    def draw(self, rng: random.Random) -> list[Op]:
        """The operations of one image, in order."""
        steps = draws.choice(rng, POLICIES[self.name])
        return [self.draw_op(step, rng) for step in steps if rng.random() < step.probability]

    def draw_op(self, step: Step, rng: random.Random) -> Op:
        """The operation of a step, with its magnitude and its sign."""
        magnitude: float = step.magnitude
        if self.magnitude_std > 0:
            magnitude = max(0.0, min(draws.normal(rng, magnitude, self.magnitude_std), _FULL_LEVEL))
        level, law, argument = magnitude / _FULL_LEVEL, LAWS[step.name], None
        if step.name == "Posterize":
            argument = float(_bits(self.name, level))
        elif law is not None:
            argument = law(level, False, rng)
        return Op(step.name, argument, draws.choice(rng, self.filters) if step.name in GEOMETRIC else None)


def parse_auto_augment(text: str, filters: Sequence[Image.Resampling]) -> AutoAugment:
    """Read a policy such as ``original`` or ``v0r-mstd0.5``.

    Raises:
        UserError: another policy, or another part behind it.
    """
    name, *parts = text.split("-")
    if name not in POLICIES:
        raise unsupported(text, name)
    std = 0.0
    for number, part in enumerate(parts):
        match = re.fullmatch(r"mstd(\d+(?:\.\d+)?)", part)
        if number or not match:
            raise unsupported(text, part)
        std = float(match[1])
    return AutoAugment(name, std, filters)


def _bits(policy: str, level: float) -> int:
    bits = int(level * 4)
    return {"original": 4 + bits, "v0": bits}.get(policy, 4 - bits)


def _read(text: str) -> tuple[tuple[Step, ...], ...]:
    """One sub-policy a line: name, probability and magnitude of each of its two steps."""
    policy = []
    for line in text.strip().splitlines():
        words = line.split()
        pairs = zip(words[::3], words[1::3], words[2::3], strict=True)
        policy.append(tuple(Step(name, float(p), int(magnitude)) for name, p, magnitude in pairs))
    return tuple(policy)


_ORIGINAL = _read("""
    Posterize  0.4 8  Rotate       0.6 9
    Solarize   0.6 5  AutoContrast 0.6 5
    Equalize   0.8 8  Equalize     0.6 3
    Posterize  0.6 7  Posterize    0.6 6
    Equalize   0.4 7  Solarize     0.2 4
    Equalize   0.4 4  Rotate       0.8 8
    Solarize   0.6 3  Equalize     0.6 7
    Posterize  0.8 5  Equalize     1.0 2
    Rotate     0.2 3  Solarize     0.6 8
    Equalize   0.6 8  Posterize    0.4 6
    Rotate     0.8 8  Color        0.4 0
    Rotate     0.4 9  Equalize     0.6 2
    Equalize   0.0 7  Equalize     0.8 8
    Invert     0.6 4  Equalize     1.0 8
    Color      0.6 4  Contrast     1.0 8
    Rotate     0.8 8  Color        1.0 2
    Color      0.8 8  Solarize     0.8 7
    Sharpness  0.4 7  Invert       0.6 8
    ShearX     0.6 5  Equalize     1.0 9
    Color      0.4 0  Equalize     0.6 3
    Equalize   0.4 7  Solarize     0.2 4
    Solarize   0.6 5  AutoContrast 0.6 5
    Invert     0.6 4  Equalize     1.0 8
    Color      0.6 4  Contrast     1.0 8
    Equalize   0.8 8  Equalize     0.6 3
""")
_V0 = _read("""
    Equalize   0.8 1  ShearY        0.8 4
    Color      0.4 9  Equalize      0.6 3
    Color      0.4 1  Rotate        0.6 8
    Solarize   0.8 3  Equalize      0.4 7
    Solarize   0.4 2  Solarize      0.6 2
    Color      0.2 0  Equalize      0.8 8
    Equalize   0.4 8  SolarizeAdd   0.8 3
    ShearX     0.2 9  Rotate        0.6 8
    Color      0.6 1  Equalize      1.0 2
    Invert     0.4 9  Rotate        0.6 0
    Equalize   1.0 9  ShearY        0.6 3
    Color      0.4 7  Equalize      0.6 0
    Posterize  0.4 6  AutoContrast  0.4 7
    Solarize   0.6 8  Color         0.6 9
    Solarize   0.2 4  Rotate        0.8 9
    Rotate     1.0 7  TranslateYRel 0.8 9
    ShearX     0.0 0  Solarize      0.8 4
    ShearY     0.8 0  Color         0.6 4
    Color      1.0 0  Rotate        0.6 2
    Equalize   0.8 4  Equalize      0.0 8
    Equalize   1.0 4  AutoContrast  0.6 2
    ShearY     0.4 7  SolarizeAdd   0.6 7
    Posterize  0.8 2  Solarize      0.6 10
    Solarize   0.6 8  Equalize      0.6 1
    Color      0.8 6  Rotate        0.4 5
""")
POLICIES = {"original": _ORIGINAL, "originalr": _ORIGINAL, "v0": _V0, "v0r": _V0}
