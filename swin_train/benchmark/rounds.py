"""Interleaved rounds: every contender once in each, so that what disturbs the machine disturbs all of them."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from swin_train.benchmark.usage import cpu_seconds

K = TypeVar("K", bound=Hashable)

Pass = Callable[[int], int]
"""Loads everything once; from the number of the pass to the number of images that came."""


@dataclass(frozen=True)
class Sample:
    """One pass: images that came, CPU seconds of all processes and threads, seconds on the clock."""

    images: int
    cpu_s: float
    wall_s: float

    @property
    def per_core_s(self) -> float:
        """Images per CPU second."""
        return self.images / self.cpu_s

    @property
    def per_s(self) -> float:
        """Images per second on the clock."""
        return self.images / self.wall_s

    @property
    def ms(self) -> float:
        """CPU milliseconds per image."""
        return 1000 * self.cpu_s / self.images


class Spread(NamedTuple):
    """Median and extremes over the rounds."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Summary of one number by round."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(samples: Sequence[Sample], reference: Sequence[Sample]) -> Spread:
    """Images per CPU second as a multiple of the reference's, compared round by round."""
    return spread([a.per_core_s / b.per_core_s for a, b in zip(samples, reference, strict=True)])


def run_rounds(
    passes: Mapping[K, Pass], num_rounds: int, progress: Callable[[str], None]
) -> dict[K, list[Sample]]:
    """Measure every contender once in each round, in alternating order, after one pass that does not count.

    Args:
        passes: what to measure; called with 0 for the pass that does not count, then 1, 2, ...
        num_rounds: how often.
        progress: is told what begins.
    """
    progress("warming up")
    for load in passes.values():
        load(0)
    samples: dict[K, list[Sample]] = {key: [] for key in passes}
    for number in range(1, num_rounds + 1):
        progress(f"round {number} of {num_rounds}")
        for key in list(passes)[:: 1 if number % 2 else -1]:
            samples[key].append(measure(passes[key], number))
    return samples


def measure(load: Pass, number: int) -> Sample:
    """One pass."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    images = load(number)
    return Sample(images, cpu_seconds() - cpu, time.perf_counter() - wall)
