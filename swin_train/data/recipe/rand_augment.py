"""RandAugment (Cubuk et al. 2020) as timm spells it, e.g. ``rand-m9-mstd0.5-inc1``, with counted draws.

timm's transform is not used: it draws from three global generators, and asks Pillow for
``posterize(bits=0)`` at magnitude 10, which Pillow 13 refuses.
"""

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from swin_train.data import draws
from swin_train.data.recipe.policy_text import unsupported
from swin_train.data.recipe.view import Op

_FULL_LEVEL = 10.0  # the magnitude at which an operation reaches the end of its range
_UNIFORM_STD = 100  # timm: a larger mstd means a magnitude uniform in [0, m]

# How an operation's argument follows from its level in [0, 1], whether more magnitude shall mean more change
# ("inc1"), and the generator that draws the sign.
Law = Callable[[float, bool, random.Random], float]


@dataclass(frozen=True)
class Policy:
    """The numbers in a policy string.

    Attributes:
        magnitude: mean strength, 10 being the end of each operation's range.
        num_layers: operations per image.
        magnitude_std: deviation of the strength; infinite: uniform in [0, magnitude].
        magnitude_max: where the strength is cut off.
        probability: of applying each operation that was chosen.
        increasing: more magnitude means more change, for every operation.
    """

    magnitude: int = 10
    num_layers: int = 2
    magnitude_std: float = 0.0
    magnitude_max: int = 10
    probability: float = 0.5
    increasing: bool = False


def parse_policy(text: str) -> Policy:
    """Read a policy string such as ``rand-m9-n2-mstd0.5-inc1``.

    Raises:
        UserError: another kind of policy, an unknown or repeated part, or a number that does not fit.
    """
    kind, *parts = text.split("-")
    given: dict[str, Any] = {}
    for part in parts:
        match = _PART.fullmatch(part)
        name, number = match.groups() if match else (part, "")
        field, convert = _PARTS.get(name, ("", str))
        try:
            value = convert(number)
        except ValueError:
            field = ""
        if not field or field in given:
            raise unsupported(text, part)
        given[field] = value
    if kind != "rand" or given.get("probability", 0) > 1:
        raise unsupported(text, text)
    if given.get("magnitude_std", 0) > _UNIFORM_STD:
        given["magnitude_std"] = math.inf
    return Policy(**given)


_PART = re.compile(r"([a-z]+)(\d+(?:\.\d+)?)")
_PARTS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "m": ("magnitude", int),
    "n": ("num_layers", int),
    "mstd": ("magnitude_std", float),
    "mmax": ("magnitude_max", int),
    "p": ("probability", float),
    "inc": ("increasing", lambda number: bool(int(number))),
}


@dataclass(frozen=True)
class RandAugment:
    """Draws operations with replacement, each with a probability and a strength of its own.

    Attributes:
        policy: see ``Policy``.
        filters: resampling filters of rotation, shear and translation; one is drawn each time.
    """

    policy: Policy
    filters: Sequence[Image.Resampling]

    def draw(self, rng: random.Random) -> list[Op]:
        """The operations of one image, in order."""
        return [
            self.draw_op(name, self._draw_level(rng), rng)
            for name in [draws.choice(rng, _NAMES) for _ in range(self.policy.num_layers)]
            if rng.random() < self.policy.probability
        ]

    def draw_op(self, name: str, level: float, rng: random.Random) -> Op:
        """One operation at a level in [0, 1], or above where ``magnitude_max`` allows more."""
        law = LAWS[name]
        argument = None if law is None else law(level, self.policy.increasing, rng)
        return Op(name, argument, draws.choice(rng, self.filters) if name in GEOMETRIC else None)

    def _draw_level(self, rng: random.Random) -> float:
        policy = self.policy
        if math.isinf(policy.magnitude_std):
            magnitude = draws.uniform(rng, 0, policy.magnitude)
        else:
            magnitude = draws.normal(rng, policy.magnitude, policy.magnitude_std)
        return max(0.0, min(magnitude, policy.magnitude_max)) / _FULL_LEVEL


def _signed(value: float, rng: random.Random) -> float:
    return -value if rng.random() < 0.5 else value


def _symmetric(limit: float) -> Law:
    return lambda level, increasing, rng: _signed(level * limit, rng)


def _enhancement(level: float, increasing: bool, rng: random.Random) -> float:
    """Factor of an enhancer, 1 changes nothing."""
    return max(0.1, 1.0 + _signed(level * 0.9, rng)) if increasing else level * 1.8 + 0.1


def _bits(level: float, increasing: bool, rng: random.Random) -> int:
    bits = int(level * 4)
    return 4 - bits if increasing else bits


def _solarize_threshold(level: float, increasing: bool, rng: random.Random) -> int:
    threshold = min(256, int(level * 256))
    return 256 - threshold if increasing else threshold


def _solarize_addend(level: float, increasing: bool, rng: random.Random) -> int:
    return min(128, int(level * 110))


# The law of each operation's argument; None: it takes none.
LAWS: dict[str, Law | None] = {
    "AutoContrast": None,
    "Equalize": None,
    "Invert": None,
    "Rotate": _symmetric(30.0),  # degrees
    "Posterize": _bits,
    "Solarize": _solarize_threshold,
    "SolarizeAdd": _solarize_addend,
    "Color": _enhancement,
    "Contrast": _enhancement,
    "Brightness": _enhancement,
    "Sharpness": _enhancement,
    "ShearX": _symmetric(0.3),
    "ShearY": _symmetric(0.3),
    "TranslateXRel": _symmetric(0.45),  # part of the width
    "TranslateYRel": _symmetric(0.45),
}
_NAMES = tuple(LAWS)
GEOMETRIC = frozenset({"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"})
