"""``benchmark kernel``: the implementations of window attention against each other, at the sizes of a model."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from swin_train.benchmark.machine import machine_facts
from swin_train.benchmark.model.attention import (
    IMPLEMENTATIONS,
    REFERENCE,
    Attend,
    Case,
    Direction,
    Shape,
    error_of,
    make_case,
    shapes_of,
    tolerance,
)
from swin_train.benchmark.model.ceilings import Ceilings, hold, moment, seconds_between
from swin_train.benchmark.rounds import Spread, spread
from swin_train.benchmark.text import aligned, shown
from swin_train.config import Config
from swin_train.errors import UserError

DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")

_ROUNDS, _QUICK_ROUNDS = 5, 2
_CALLS_ON_CUDA = 5  # in a row, of a round; elsewhere one
_QUICK_BATCH = 2

Seconds = dict[Direction, list[float]]
"""Of one call, by round."""


@dataclass(frozen=True)
class ShapeResult:
    """What was measured at one size.

    Attributes:
        shape: that size.
        errors: by implementation, as of ``error_of``.
        seconds: by implementation; of those only that passed the gate.
        left_out: implementations that were not timed, and why.
    """

    shape: Shape
    errors: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, Seconds] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def time(self, name: str, direction: Direction) -> Spread:
        """Seconds of a call."""
        return spread(self.seconds[name][direction])

    def ratio(self, name: str, direction: Direction) -> Spread | None:
        """How many times as fast as the reference, by round; None where that was not timed."""
        if REFERENCE not in self.seconds:
            return None
        pairs = zip(self.seconds[name][direction], self.seconds[REFERENCE][direction], strict=True)
        return spread([reference / mine for mine, reference in pairs])


@dataclass(frozen=True)
class KernelResult:
    """What was measured.

    Attributes:
        config: name of the configuration.
        tolerance: the largest error that passes the gate.
        ceilings: what shares are shares of; the tensors have their dtype.
        shapes: in the order of the model.
    """

    config: str
    tolerance: float
    ceilings: Ceilings
    shapes: tuple[ShapeResult, ...]

    def copy_share(self, result: ShapeResult, name: str, direction: Direction) -> float:
        """The bytes that must move, per second, as a share of the speed of a copy."""
        num_bytes = result.shape.bytes(direction, self.ceilings.element_bytes)
        return num_bytes / result.time(name, direction).median / 1e9 / self.ceilings.copy_gb_s.median

    def peak_share(self, result: ShapeResult, name: str, direction: Direction) -> float:
        """The FLOPs per second, as a share of ``ceilings.matmul_tflops``."""
        flops = result.shape.flops(direction)
        return flops / result.time(name, direction).median / 1e12 / self.ceilings.matmul_tflops.median

    def as_dict(self) -> dict[str, Any]:
        """All of it for a JSON file, with each round, and the facts of the machine."""
        return {
            "machine": machine_facts(),
            "config": self.config,
            "ceilings": self.ceilings.as_dict(),
            "peak": self.ceilings.peak,
            "tolerance": self.tolerance,
            "shapes": [self._one(result) for result in self.shapes],
        }

    def _one(self, result: ShapeResult) -> dict[str, Any]:
        def timed(name: str, direction: Direction) -> dict[str, Any]:
            ratio = result.ratio(name, direction)
            return {
                "seconds": result.time(name, direction)._asdict(),
                "ratio": None if ratio is None else ratio._asdict(),
                "copy_share": self.copy_share(result, name, direction),
                "peak_share": self.peak_share(result, name, direction),
                "rounds": result.seconds[name][direction],
            }

        times = {name: {way: timed(name, way) for way in DIRECTIONS} for name in result.seconds}
        facts = {"errors": result.errors, "left_out": result.left_out, "implementations": times}
        return asdict(result.shape) | facts


def measure_kernels(
    cfg: Config,
    ceilings: Ceilings,
    device: torch.device,
    dtype: torch.dtype,
    *,
    names: Sequence[str] = tuple(IMPLEMENTATIONS),
    quick: bool = False,
    progress: Callable[[str], None],
) -> KernelResult:
    """Measure window attention alone, at each size at which the model attends.

    Args:
        cfg: the model; DATA.BATCH_SIZE is the number of images, at most 2 if ``quick``.
        ceilings: of this device in this dtype.
        device: nothing else may run there.
        dtype: of q, k and v: float32, float16 or bfloat16; the table of biases is float32.
        names: of ``IMPLEMENTATIONS``.
        quick: few images and rounds, to see that it works.
        progress: is told what begins.

    Raises:
        UserError: the model has no window attention.
    """
    batch_size = min(cfg.DATA.BATCH_SIZE, _QUICK_BATCH) if quick else cfg.DATA.BATCH_SIZE
    results = []
    for shape in shapes_of(cfg, batch_size):
        progress(str(shape))
        result, case = ShapeResult(shape), make_case(shape, device, dtype)
        attends = _admit(names, case, result)
        result.seconds.update(_time(attends, case, _QUICK_ROUNDS if quick else _ROUNDS))
        results.append(result)
    return KernelResult(cfg.MODEL.NAME, tolerance(dtype), ceilings, tuple(results))


def _admit(names: Sequence[str], case: Case, result: ShapeResult) -> dict[str, Attend]:
    """Those that run and compute what is right; ``result`` says why others are left out."""
    admitted = {}
    for name in names:
        try:
            attend = IMPLEMENTATIONS[name](case)
            error = error_of(attend, case)
        except UserError as obstacle:
            result.left_out[name] = str(obstacle)
            continue
        except Exception as failure:  # compilers have errors of their own, and the others are to be timed
            first_line = str(failure).strip().partition("\n")[0]
            result.left_out[name] = f"it failed: {type(failure).__name__}: {first_line}"
            continue
        result.errors[name] = error
        if error <= tolerance(case.qkv.dtype):  # NaN is not
            admitted[name] = attend
        else:
            result.left_out[name] = f"its error is {error:.1e}, above {tolerance(case.qkv.dtype):.0e}"
    return admitted


def _time(attends: dict[str, Attend], case: Case, rounds: int) -> dict[str, Seconds]:
    """By implementation; every second round goes backwards, so that none is always first."""
    seconds: dict[str, Seconds] = {name: {"forward": [], "backward": []} for name in attends}
    for attend in attends.values():
        _one_round(attend, case)
    for number in range(rounds):
        for name in list(attends)[:: -1 if number % 2 else 1]:
            for direction, s in zip(DIRECTIONS, _one_round(attends[name], case), strict=True):
                seconds[name][direction].append(s)
    return seconds


def _one_round(attend: Attend, case: Case) -> tuple[float, float]:
    """Seconds of a call forward and backward, on average."""
    device, moments = case.qkv.device, []
    hold(device)
    for _ in range(_CALLS_ON_CUDA if device.type == "cuda" else 1):
        start = moment(device)
        out = attend(case.qkv, case.table)
        middle = moment(device)
        torch.autograd.grad(out, (case.qkv, case.table), case.out_gradient)
        moments.append((start, middle, moment(device)))
    forward = [seconds_between(start, middle) for start, middle, _ in moments]
    backward = [seconds_between(middle, end) for _, middle, end in moments]
    return sum(forward) / len(forward), sum(backward) / len(backward)


def as_text(result: KernelResult) -> str:
    """A table for each size, and what the shares are shares of."""
    blocks = [_table(result, measured) for measured in result.shapes]
    copy = f"{result.ceilings.copy_gb_s.median:.4g} GB/s, measured here by a copy"
    end = [
        f"copy: the bytes that must move, as a share of {copy}",
        f"peak: FLOPs, as a share of {result.ceilings.peak}",
    ]
    return "\n\n".join("\n".join(block) for block in [*blocks, end])


def _table(result: KernelResult, measured: ShapeResult) -> list[str]:
    rows = [("", "", "us", "x reference", "copy", "peak", "error")]
    for direction in DIRECTIONS:
        for name in measured.seconds:
            time = Spread(*(1e6 * s for s in measured.time(name, direction)))
            copy = f"{result.copy_share(measured, name, direction):.1%}"
            peak = f"{result.peak_share(measured, name, direction):.1%}"
            ratio = shown(measured.ratio(name, direction), 2)
            rows.append((name, direction, shown(time, 1), ratio, copy, peak, f"{measured.errors[name]:.0e}"))
    table = aligned(rows) if measured.seconds else []
    left_out = [f"not timed: {name}: {reason}" for name, reason in measured.left_out.items()]
    return [str(measured.shape), *table, *left_out]
