"""``benchmark train-step`` and ``benchmark inference``: this project's model against those of other libraries."""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

import torch

from swin_train.benchmark.machine import machine_facts
from swin_train.benchmark.model.ceilings import Ceilings, device_name, dtype_name, measure_ceilings
from swin_train.benchmark.model.gate import Verdict, judge, outcome
from swin_train.benchmark.model.peers import OURS
from swin_train.benchmark.model.timing import interleaved, seconds_of
from swin_train.benchmark.model.variants import VARIANTS, Maker, rivals
from swin_train.benchmark.model.work import Batches, forward_pass, make_batches, training_step
from swin_train.benchmark.rounds import Spread, spread
from swin_train.errors import UserError
from swin_train.models.build import padded_maps
from swin_train.models.costs import products
from swin_train.models.outline import outline

Kind = Literal["train-step", "inference"]
Progress = Callable[[str], None]
Autocast = Callable[[], AbstractContextManager[Any]]

# Keys that change this project's model alone.
_OURS_ALONE = (
    "MODEL.ATTENTION",
    "MODEL.DROP_PATH_MODE",
    "MODEL.DROP_RATE",
    "AMP_NARROW_RESIDUAL",
    "FUSED_LAYERNORM",
    "TRAIN.USE_CHECKPOINT",
    "TRAIN.CHECKPOINT_STAGES",
)
_GATE_IMAGES = 2
_FEW_ROUNDS = 3  # that a hurry allows


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        names: of the variants.
        batch_size: images of a step.
        rounds: how often each is measured.
        steps: in a row, of a round.
        warmup: steps before the first round, after the first one, which compiles.
    """

    names: tuple[str, ...]
    batch_size: int
    rounds: int
    steps: int
    warmup: int


@dataclass(frozen=True)
class Measured:
    """One variant.

    Attributes:
        seconds: of a step, by round.
        first_s: of the first step, in which it is compiled.
        peak_bytes: of the device's memory during a step, beyond what all variants hold; None where it is not counted.
        verdict: of the gate.
    """

    seconds: list[float]
    first_s: float
    peak_bytes: int | None
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    Attributes:
        kind: a training step or inference.
        config: name of the configuration.
        img_size: height and width of the images, in pixels.
        device, dtype: that matrix products were computed on and in.
        threads: of the CPU.
        effort: how much was measured.
        ceilings: what the machine reaches in this run.
        ours_alone: keys that were set and change this project's model alone.
        flops_per_image: 2 for each multiply-add of a forward pass, and 3 times that for a step of training.
        measured: by variant.
        left_out: variants that were not timed, and why.
    """

    kind: Kind
    config: str
    img_size: tuple[int, int]
    device: str
    dtype: str
    threads: int
    effort: Effort
    ceilings: Ceilings
    ours_alone: dict[str, Any]
    flops_per_image: int
    measured: dict[str, Measured] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def images_per_s(self, name: str) -> Spread:
        """Of a variant."""
        return spread([self.effort.batch_size / seconds for seconds in self.measured[name].seconds])

    def tflops(self, name: str) -> float:
        """10^12 floating-point operations a second that the matrix products of the model make, in the median."""
        return self.images_per_s(name).median * self.flops_per_image / 1e12

    def mfu(self, name: str) -> float:
        """Model FLOPs utilisation: ``tflops`` as a share of the large matrix product's of this run."""
        return self.tflops(name) / self.ceilings.matmul_tflops.median

    def ratios(self, name: str) -> dict[str, Spread]:
        """How many times as fast as each other library's in the same mode, compared round by round."""
        mine = self.measured[name].seconds
        return {
            other: spread([b / a for a, b in zip(mine, self.measured[other].seconds, strict=True)])
            for other in rivals(name, list(self.measured))
        }

    def as_dict(self) -> dict[str, Any]:
        """All of it for a JSON file, with each round, and the facts of the machine."""
        return {
            "kind": self.kind,
            "machine": machine_facts(),
            "config": self.config,
            "img_size": self.img_size,
            "device": self.device,
            "dtype": self.dtype,
            "threads": self.threads,
            "batch_size": self.effort.batch_size,
            "rounds": self.effort.rounds,
            "steps": self.effort.steps,
            "ours_alone": self.ours_alone,
            "ceilings": self.ceilings.as_dict(),
            "mfu_of": self.ceilings.peak,
            "flops_per_image": self.flops_per_image,
            "variants": {name: self._one(name) for name in self.measured},
            "left_out": self.left_out,
        }

    def _one(self, name: str) -> dict[str, Any]:
        measured = self.measured[name]
        usual = spread(measured.seconds).median
        is_compiled = VARIANTS[name].compilation != "off"
        return {
            "images_per_s": self.images_per_s(name)._asdict(),
            "ratio": {other: ratio._asdict() for other, ratio in self.ratios(name).items()},
            "tflops": self.tflops(name),
            "mfu": self.mfu(name),
            "peak_memory_mb": None if measured.peak_bytes is None else measured.peak_bytes / 2**20,
            "compile_s": measured.first_s - usual if is_compiled else None,
            "gate": asdict(measured.verdict),
            "seconds": measured.seconds,
        }


def compare(kind: Kind, maker: Maker, dtype: torch.dtype, effort: Effort, progress: Progress) -> Comparison:
    """Measure variants of a model against each other.

    Args:
        kind: what is timed.
        maker: of the models.
        dtype: of the matrix products; float32, bfloat16 or float16.
        effort: how much is measured.
        progress: is told what begins.

    Raises:
        UserError: nothing can be measured; the message says why.
    """
    cfg = maker.configure({})
    device, model = maker.device, outline(cfg, cfg.num_classes)
    progress("the ceilings")
    flops = 2 * sum(product.multiply_adds for product in products(model))
    result = Comparison(
        kind=kind,
        config=cfg.MODEL.NAME,
        img_size=cfg.DATA.img_size,
        device=device_name(device),
        dtype=dtype_name(dtype),
        threads=torch.get_num_threads(),
        effort=effort,
        ours_alone={key: cfg.flat()[key] for key in _OURS_ALONE if cfg.is_given(key)},
        ceilings=measure_ceilings(device, dtype, quick=effort.rounds <= _FEW_ROUNDS),
        flops_per_image=flops * (3 if kind == "train-step" else 1),
    )
    batches = partial(
        make_batches, num_channels=model.in_chans, img_size=cfg.DATA.img_size, num_classes=cfg.num_classes
    )
    autocast = partial(torch.autocast, device.type, dtype=dtype) if dtype != torch.float32 else nullcontext
    works, verdicts = _admit(maker, effort, batches, autocast, dtype, result, kind, progress)
    first = {}
    for name in list(works):
        try:
            first[name] = _warm_up(name, works[name], effort, device, progress)
        except Exception as failure:  # such as a lack of memory
            result.left_out[name] = _reason(failure)
            del works[name]
    if not works:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in result.left_out.items())
        raise UserError(f"benchmark {kind}: nothing can be measured ({reasons})")
    seconds = interleaved(works, rounds=effort.rounds, times=effort.steps, device=device, progress=progress)
    for name in works:
        first_s, peak = first[name]
        result.measured[name] = Measured(seconds[name], first_s, peak, verdicts[name])
    return result


def _admit(
    maker: Maker,
    effort: Effort,
    batches: Callable[..., Batches],
    autocast: Autocast,
    dtype: torch.dtype,
    result: Comparison,
    kind: Kind,
    progress: Progress,
) -> tuple[dict[str, Callable[[int], None]], dict[str, Verdict]]:
    """Make what passes the gate; the others are left out of ``result``, with the reason."""
    weights = maker.weights()
    few, many = (batches(size, device=maker.device) for size in (_GATE_IMAGES, effort.batch_size))
    expected, is_padded = outcome(maker.make(VARIANTS[OURS], weights), few), bool(padded_maps(weights))
    works: dict[str, Callable[[int], None]] = {}
    verdicts: dict[str, Verdict] = {}
    for name in effort.names:
        progress(f"checking {name}")
        try:
            model = maker.make(VARIANTS[name], weights)
            verdict = judge(outcome(model, few, autocast), expected, is_mixed=dtype != torch.float32)
        except Exception as failure:  # a library's or a compiler's own; the others are to be measured
            result.left_out[name] = _reason(failure)
            continue
        if not verdict.is_passed:
            padded = (
                "; maps are padded, which each library does in its way (MODEL.PADDING)" if is_padded else ""
            )
            result.left_out[name] = f"it computes something else: {verdict}{padded}"
            continue
        verdicts[name] = verdict
        works[name] = (training_step if kind == "train-step" else forward_pass)(model, many, autocast)
    torch._dynamo.reset()  # a second batch size would be compiled for any, which is slower
    return works, verdicts


def _reason(failure: Exception) -> str:
    """Why a variant is not measured, in a line."""
    if isinstance(failure, UserError):
        return str(failure)
    first_line = str(failure).strip().partition("\n")[0]
    return f"it failed: {type(failure).__name__}: {first_line}"


def _warm_up(
    name: str, work: Callable[[int], None], effort: Effort, device: torch.device, progress: Progress
) -> tuple[float, int | None]:
    """Seconds of the first step, and the peak memory of the last one."""
    progress(f"warming up {name}")
    first = seconds_of(work, 1, device)
    seconds_of(work, effort.warmup, device)
    gc.collect()
    if device.type != "cuda":
        return first, None
    torch.cuda.reset_peak_memory_stats(device)
    idle = torch.cuda.memory_allocated(device)
    seconds_of(work, 1, device)
    return first, torch.cuda.max_memory_allocated(device) - idle
