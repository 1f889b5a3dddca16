"""What an image costs by its size: the numbers, a table at most 110 columns wide, and a chart."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from swin_train.benchmark.charts import line_chart
from swin_train.benchmark.machine import machine_facts
from swin_train.benchmark.rounds import Spread, spread
from swin_train.benchmark.text import aligned, shown

Kind = Literal["inference", "training"]
KINDS: tuple[Kind, ...] = ("inference", "training")

_TITLES = {"inference": "inference (forward)", "training": "training (forward and backward)"}
_NO_MEMORY = "out of memory"


class Case(NamedTuple):
    """What is timed: a model, at a size in pixels, forward or forward and backward."""

    model: str
    img_size: int
    kind: Kind


@dataclass
class Point:
    """What came of a case.

    Attributes:
        batch_size: images of a step.
        seconds: per image, by round; None where the memory did not hold it.
        memory_bytes: per image; None where it is not counted.
    """

    batch_size: int
    seconds: list[float] | None = None
    memory_bytes: float | None = None

    def add(self, seconds: float | None) -> None:
        """Take a round; None is one that the memory did not hold, with which all of them are void."""
        self.seconds = None if seconds is None or self.seconds is None else [*self.seconds, seconds]


@dataclass(frozen=True)
class ScalingResult:
    """What was measured.

    Attributes:
        config: name of the configuration.
        device, dtype: that matrix products were computed on and in.
        threads: of the CPU.
        rounds, steps: how often each was measured, and steps in a row each time.
        counted: what the memory is.
        points: by case; each model has all sizes and both kinds.
    """

    config: str
    device: str
    dtype: str
    threads: int
    rounds: int
    steps: int
    counted: str
    points: dict[Case, Point] = field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """Their names, this project's first."""
        return list(dict.fromkeys(case.model for case in self.points))

    @property
    def sizes(self) -> list[int]:
        """Sides of the images in pixels, ascending."""
        return sorted({case.img_size for case in self.points})

    def ms(self, case: Case) -> Spread | None:
        """Milliseconds per image; None where the memory did not hold it."""
        seconds = self.points[case].seconds
        return None if seconds is None else spread([1000 * s for s in seconds])

    def times(self, model: str, kind: Kind) -> dict[int, float]:
        """Median milliseconds per image, by size."""
        spreads = {size: self.ms(Case(model, size, kind)) for size in self.sizes}
        return {size: ms.median for size, ms in spreads.items() if ms}

    def memories(self, model: str, kind: Kind) -> dict[int, float]:
        """Bytes per image, by size."""
        found = {size: self.points[Case(model, size, kind)].memory_bytes for size in self.sizes}
        return {size: num_bytes for size, num_bytes in found.items() if num_bytes}

    def as_dict(self) -> dict[str, Any]:
        """All of it for a JSON file, with each round, and the facts of the machine."""
        facts = {name: value for name, value in vars(self).items() if name != "points"}
        models = {model: {kind: self._one(model, kind) for kind in KINDS} for model in self.models}
        return {"kind": "scaling", "machine": machine_facts(), **facts, "models": models}

    def _one(self, model: str, kind: Kind) -> dict[str, Any]:
        sizes = {}
        for size in self.sizes:
            case = Case(model, size, kind)
            ms, point = self.ms(case), self.points[case]
            sizes[size] = {"ms": ms and ms._asdict(), "is_out_of_memory": ms is None, **vars(point)}
        return {
            "time_exponent": exponent(self.times(model, kind)),
            "memory_exponent": exponent(self.memories(model, kind)),
            "sizes": sizes,
        }


def exponent(costs: Mapping[int, float]) -> float | None:
    """The power of the number of pixels that costs grow with: least squares on logarithms.

    Args:
        costs: by the side of the image. The larger half of the sizes is looked at, and two at least: there shows
            what grows fastest.

    Returns:
        1 where cost is linear in the number of pixels; None where there are no two sizes.
    """
    if len(costs) < 2:
        return None
    sides = _larger(list(costs))
    line = statistics.linear_regression([2 * math.log(s) for s in sides], [math.log(costs[s]) for s in sides])
    return line.slope


def _larger(sizes: list[int]) -> list[int]:
    """The larger half, ascending."""
    return sorted(sizes)[-max(2, (len(sizes) + 1) // 2) :]


def as_text(result: ScalingResult) -> str:
    """All tables, one below the other."""
    blocks = [block for kind in KINDS for block in (_times(result, kind), _memories(result, kind)) if block]
    notes = [
        "a power of 1 is linear in the number of pixels, 2 is quadratic; fitted to the larger half of the sizes",
        f"memory: {result.counted}",
    ]
    return "\n\n".join("\n".join(lines) for lines in [*blocks, notes])


def _times(result: ScalingResult, kind: Kind) -> list[str]:
    rows = [(f"{_TITLES[kind]}, ms per image", "batch", *result.models)]
    for size in result.sizes:
        cases = [Case(model, size, kind) for model in result.models]
        times = [result.ms(case) for case in cases]
        cells = [shown(ms, _digits(ms.median)) if ms else _NO_MEMORY for ms in times]
        rows.append((f"  {size} px", str(result.points[cases[0]].batch_size), *cells))
    powers = [_shown_power(exponent(result.times(model, kind))) for model in result.models]
    return aligned([*rows, ("  grows with pixels to the power of", "", *powers)])


def _memories(result: ScalingResult, kind: Kind) -> list[str]:
    found = [result.memories(model, kind) for model in result.models]
    if not any(found):
        return []
    rows = [(f"{_TITLES[kind]}, MB of memory per image", *result.models)]
    for size in result.sizes:
        rows.append((f"  {size} px", *(f"{m[size] / 1e6:.1f}" if size in m else "-" for m in found)))
    return aligned(
        [*rows, ("  grows with pixels to the power of", *(_shown_power(exponent(m)) for m in found))]
    )


def draw(result: ScalingResult, path: Path) -> None:
    """Draw time per image against pixels, both logarithmic.

    Args:
        result: what is drawn.
        path: file to write, .png, .svg or .pdf.

    Raises:
        UserError: the chart cannot be drawn; see ``charts.check_chart``.
    """
    lines = {}
    for model, kind in ((model, kind) for kind in KINDS for model in result.models):
        times = result.times(model, kind)
        name = f"{model}, {kind} (power {_shown_power(exponent(times))})"
        lines[name] = [(side**2, ms) for side, ms in times.items()]
    line_chart(
        path,
        f"Time per image by its size ({result.device}, {result.dtype})",
        "pixels of an image",
        "milliseconds per image",
        lines,
        "Power: that of the number of pixels which time grows with, fitted to the larger half of the sizes. "
        "1 is linear, 2 quadratic.",
        is_log=True,
        x_ticks={side**2: f"${side}^2$" for side in result.sizes},
    )


def _shown_power(power: float | None) -> str:
    return "-" if power is None else f"{power:.2f}"


def _digits(value: float) -> int:
    """Digits behind the point that leave three in all."""
    return max(0, 2 - math.floor(math.log10(value)))
