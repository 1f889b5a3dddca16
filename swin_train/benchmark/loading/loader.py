"""``benchmark loader``: all ways to load the user's images against each other, on the user's machine."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from swin_train.benchmark.loading.bench import Bench, Load
from swin_train.benchmark.loading.contenders import CONTENDERS, OFFICIAL, PREFETCHER
from swin_train.benchmark.loading.device import device_ms
from swin_train.benchmark.loading.memory import Memory, watch
from swin_train.benchmark.loading.stages import measure_stages
from swin_train.benchmark.machine import machine_facts
from swin_train.benchmark.rounds import Sample, Spread, ratios, run_rounds, spread
from swin_train.errors import UserError

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        names: of the contenders.
        threads: worker processes or threads, ascending; costs are compared at the first.
        rounds: how often each contender is measured.
        memory_epochs: passes while memory is watched; 0 leaves it out.
    """

    names: tuple[str, ...]
    threads: tuple[int, ...]
    rounds: int
    memory_epochs: int


@dataclass(frozen=True)
class LoaderResult:
    """What was measured.

    Attributes:
        samples: by contender and number of threads, one for each round.
        left_out: contenders that cannot be used here, and why.
        memory: by contender; None where its process failed.
        stages: by back end, CPU milliseconds per image of each part.
        device_ms: milliseconds per image of what is left to the device; None in evaluation.
        device: which that is.
    """

    samples: dict[tuple[str, int], list[Sample]]
    left_out: dict[str, str]
    memory: dict[str, Memory | None]
    stages: dict[str, dict[str, float]]
    device_ms: Spread | None
    device: str

    @property
    def names(self) -> list[str]:
        """The contenders that were measured, in the order of the table."""
        return list(dict.fromkeys(name for name, _ in self.samples))

    @property
    def threads(self) -> list[int]:
        """The numbers of threads, ascending."""
        return sorted({threads for _, threads in self.samples})

    def cost(self, name: str) -> Spread:
        """Images per CPU second at the smallest number of threads."""
        return spread([sample.per_core_s for sample in self.samples[name, self.threads[0]]])

    def ratio(self, name: str, reference: str) -> Spread | None:
        """How many times the images per CPU second of ``reference``; None where that was not measured."""
        fewest = self.threads[0]
        if (reference, fewest) not in self.samples:
            return None
        return ratios(self.samples[name, fewest], self.samples[reference, fewest])

    def speed(self, name: str, threads: int) -> Spread:
        """Images per second on the clock."""
        return spread([sample.per_s for sample in self.samples[name, threads]])

    def scaling(self, name: str, threads: int) -> Spread:
        """Its speed as a multiple of that at the smallest number of threads, by round."""
        fewest = self.samples[name, self.threads[0]]
        pairs = zip(self.samples[name, threads], fewest, strict=True)
        return spread([more.per_s / few.per_s for more, few in pairs])

    def as_dict(self) -> dict[str, Any]:
        """All of it for a JSON file, with each round, and the facts of the machine."""
        return {
            "machine": machine_facts(),
            "contenders": {name: self._one(name) for name in self.names},
            "left_out": self.left_out,
            "stages_ms": self.stages,
            "device": self.device,
            "device_ms": None if self.device_ms is None else self.device_ms._asdict(),
        }

    def _one(self, name: str) -> dict[str, Any]:
        against = {reference: self.ratio(name, reference) for reference in (OFFICIAL, PREFETCHER)}
        memory = self.memory.get(name)
        return {
            "result": CONTENDERS[name].result,
            "images_per_core_s": self.cost(name)._asdict(),
            "ratios": {key: ratio._asdict() for key, ratio in against.items() if ratio},
            "images_per_s": {t: self.speed(name, t)._asdict() for t in self.threads},
            "scaling": {t: self.scaling(name, t)._asdict() for t in self.threads},
            "memory": asdict(memory) | {"growth_mb": memory.growth_mb} if memory else None,
            "rounds": {t: [asdict(sample) for sample in self.samples[name, t]] for t in self.threads},
        }


def benchmark_loader(open_bench: Callable[[], Bench], effort: Effort, progress: Progress) -> LoaderResult:
    """Measure contenders on the images of ``open_bench()``, a function that other processes can import.

    Raises:
        UserError: none of the contenders can be used, or CPU time cannot be read here.
    """
    bench = open_bench()
    usable, left_out = _usable(bench, effort.names)
    if not usable:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise UserError(f"benchmark loader: nothing can be measured ({reasons}).")
    with _one_thread():
        samples = _compare(bench, usable, effort, progress)
        progress("the parts")
        stages = measure_stages(bench, effort.rounds, progress)
        device = None if bench.is_eval else device_ms(bench, effort.rounds)
    memory = {}
    for name in usable if effort.memory_epochs else ():
        progress(f"memory of {name}")
        memory[name] = watch(open_bench, name, effort.threads[-1], effort.memory_epochs)
    return LoaderResult(samples, left_out, memory, stages, device, str(bench.device))


def _compare(
    bench: Bench, names: Sequence[str], effort: Effort, progress: Progress
) -> dict[tuple[str, int], list[Sample]]:
    passes = {
        (name, threads): CONTENDERS[name].make(bench, Load(threads))
        for threads in effort.threads
        for name in names
    }
    samples = run_rounds(passes, effort.rounds, progress)
    passes.clear()
    gc.collect()  # ends the worker processes
    return samples


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch's threads in this process from waiting for work, which would burn what is counted."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _usable(bench: Bench, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    usable, left_out = [], {}
    for name in names:
        if bench.is_eval and CONTENDERS[name].is_trained_only:
            left_out[name] = "it has no evaluation transform of its own"
            continue
        try:
            CONTENDERS[name].make(bench, Load(1))
        except UserError as error:
            left_out[name] = str(error)
        else:
            usable.append(name)
    return usable, left_out
