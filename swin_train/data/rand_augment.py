"""RandAugment (Cubuk et al. 2020) as timm spells it, e.g. ``rand-m9-mstd0.5-inc1``, with counted draws.

timm supplies what happens to the pixels. Its transform itself is not used: it draws from three global
generators, and asks Pillow for ``posterize(bits=0)`` at magnitude 10, which Pillow 13 refuses.
"""

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps
from timm.data import auto_augment as timm_augment

from swin_train.data import draws
from swin_train.errors import UserError

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
            raise _unsupported(text, part)
        given[field] = value
    if kind != "rand" or given.get("probability", 0) > 1:
        raise _unsupported(text, text)
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


def _unsupported(text: str, part: str) -> UserError:
    return UserError(
        f"AUG.AUTO_AUGMENT is {text!r}: {part!r} is not supported. Known: none, or rand followed by any of "
        "-mINT (magnitude), -nINT (operations), -mstdNUMBER, -mmaxINT, -pNUMBER (probability) and -inc0 or "
        "-inc1, each once; for example rand-m9-mstd0.5-inc1."
    )


@dataclass(frozen=True)
class RandAugment:
    """Applies operations drawn with replacement, each with a probability and a strength of its own.

    Attributes:
        policy: see ``Policy``.
        fill: colour of what rotation, shear and translation bring in, 0 to 255 per channel.
        filters: resampling filters of those three; one is drawn each time.
    """

    policy: Policy
    fill: tuple[int, ...]
    filters: Sequence[Image.Resampling]

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """An image of the same size and mode."""
        for name in [draws.choice(rng, _NAMES) for _ in range(self.policy.num_layers)]:
            if rng.random() < self.policy.probability:
                image = self.apply(image, name, self._draw_level(rng), rng)
        return image

    def apply(self, image: Image.Image, name: str, level: float, rng: random.Random) -> Image.Image:
        """One operation at a level in [0, 1], or above where ``magnitude_max`` allows more."""
        function, law = OPERATIONS[name]
        argument = () if law is None else (law(level, self.policy.increasing, rng),)
        if name not in _GEOMETRIC:
            return function(image, *argument)
        fill = self.fill if len(self.fill) > 1 else self.fill[0]
        return function(image, *argument, fillcolor=fill, resample=draws.choice(rng, self.filters))

    def _draw_level(self, rng: random.Random) -> float:
        policy = self.policy
        if math.isinf(policy.magnitude_std):
            magnitude = draws.uniform(rng, 0, policy.magnitude)
        else:
            magnitude = draws.normal(rng, policy.magnitude, policy.magnitude_std)
        return max(0.0, min(magnitude, policy.magnitude_max)) / _FULL_LEVEL


def _posterize(image: Image.Image, bits: int) -> Image.Image:
    """Keep the upper ``bits`` bits; none left is black, as in the Pillow of the published runs."""
    return ImageOps.posterize(image, bits) if bits > 0 else Image.new(image.mode, image.size)


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


# Each operation: what it does to the pixels, and the law of its argument (None: it takes none).
OPERATIONS: dict[str, tuple[Callable[..., Image.Image], Law | None]] = {
    "AutoContrast": (timm_augment.auto_contrast, None),
    "Equalize": (timm_augment.equalize, None),
    "Invert": (timm_augment.invert, None),
    "Rotate": (timm_augment.rotate, _symmetric(30.0)),  # degrees
    "Posterize": (_posterize, _bits),
    "Solarize": (timm_augment.solarize, _solarize_threshold),
    "SolarizeAdd": (timm_augment.solarize_add, _solarize_addend),
    "Color": (timm_augment.color, _enhancement),
    "Contrast": (timm_augment.contrast, _enhancement),
    "Brightness": (timm_augment.brightness, _enhancement),
    "Sharpness": (timm_augment.sharpness, _enhancement),
    "ShearX": (timm_augment.shear_x, _symmetric(0.3)),
    "ShearY": (timm_augment.shear_y, _symmetric(0.3)),
    "TranslateXRel": (timm_augment.translate_x_rel, _symmetric(0.45)),  # part of the width
    "TranslateYRel": (timm_augment.translate_y_rel, _symmetric(0.45)),
}
_NAMES = tuple(OPERATIONS)
_GEOMETRIC = frozenset({"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"})
