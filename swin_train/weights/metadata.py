"""What stands beside weights, as JSON in the form of this project's headers; anything else is not believed."""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any


def value(metadata: Mapping[str, Any], name: str) -> Any:
    """The value that stands as JSON under ``name``; None where there is none, or no JSON."""
    try:
        return json.loads(metadata[name])
    except (KeyError, TypeError, ValueError, RecursionError):  # not written by this project
        return None


def of_training_state(folder: Path) -> dict[str, str]:
    """What a run's checkpoint folder says of its weights, as the header of a file of weights would."""
    try:
        said = json.loads((folder / "train.json").read_text(encoding="utf-8"))["header"]
        return {name: json.dumps(value) for name, value in said.items()}
    except (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def whole_numbers(
    metadata: Mapping[str, Any], name: str, count: int, *, at_least: int
) -> tuple[int, ...] | None:
    """Whole numbers, ``count`` of them; a single one may stand without its list."""
    found = value(metadata, name)
    numbers = found if isinstance(found, list) else [found]
    is_right = len(numbers) == count and all(type(number) is int and number >= at_least for number in numbers)
    return tuple(numbers) if is_right else None


def class_names(metadata: Mapping[str, Any]) -> list[str] | None:
    """The names of the classes, in the order of the outputs."""
    names = value(metadata, "class_names")
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def img_size(metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width in pixels; this project writes one side where both are the same."""
    side = whole_numbers(metadata, "img_size", 1, at_least=1)
    if side is not None:
        return side[0], side[0]
    sides = whole_numbers(metadata, "img_size", 2, at_least=1)
    return None if sides is None else (sides[0], sides[1])


def factors(metadata: Mapping[str, Any], name: str, count: int) -> tuple[float, ...] | None:
    """Finite numbers with a point, ``count`` of them."""
    found = value(metadata, name)
    is_right = isinstance(found, list) and all(isinstance(x, float) and isfinite(x) for x in found)
    return tuple(found) if is_right and len(found) == count else None
