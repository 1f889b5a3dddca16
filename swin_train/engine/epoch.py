"""One epoch of training: batches in, updates and records out."""

import logging
import math
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from swin_train.config import Config
from swin_train.data.draws import Stream, key
from swin_train.data.loader import Batch, TrainFeed
from swin_train.distributed import Runtime
from swin_train.engine.bad_images import BadImageList
from swin_train.engine.checkpoint import Checkpointer
from swin_train.engine.identity import RunFacts
from swin_train.engine.precision import Precision
from swin_train.engine.state import TrainState, seed_library_generators
from swin_train.engine.step import StepResult, train_step
from swin_train.errors import NumericsError
from swin_train.optim.schedules import Schedule, set_learning_rates
from swin_train.record import Recorder
from swin_train.tasks import Classification

logger = logging.getLogger(__name__)


class Pace:
    """How long the run will take, from how long this launch has taken so far."""

    def __init__(self, first_step: int) -> None:
        self._start = time.perf_counter()
        self._first_step = first_step

    def seconds_left(self, step: int, total_steps: int) -> float:
        """Return the time left, evaluations included, in seconds."""
        per_step = (time.perf_counter() - self._start) / (step - self._first_step)
        return per_step * (total_steps - step)


@dataclass
class Run:
    """The parts that the loop works with."""

    cfg: Config
    task: Classification
    state: TrainState
    schedule: Schedule
    train_feed: TrainFeed
    precision: Precision
    runtime: Runtime
    recorder: Recorder
    checkpoints: Checkpointer
    facts: RunFacts
    header: dict[str, str]  # what travels with its weights
    pace: Pace
    bad_images: BadImageList


def train_epoch(run: Run) -> None:
    """Make the updates that are left of the epoch under way.

    Raises:
        NumericsError: the loss is not finite.
        DataError: more images could not be used than ``DATA.MAX_BAD_IMAGES`` allows.
    """
    state, cfg, plan = run.state, run.cfg, run.state.plan
    epoch = state.epoch
    state.model.train()
    batches = run.train_feed.batches(epoch, first_step=state.step_in_epoch)
    interval = Interval(run)
    while state.epoch == epoch and not state.finished:
        set_learning_rates(state.optimizer, run.schedule, state.step)
        seed_library_generators(key(plan.seed, Stream.STEP, state.step, run.runtime.rank), run.runtime.device)
        result = train_step(
            state,
            interval.timed(islice(batches, plan.accumulation)),
            run.task,
            precision=run.precision,
            clip_grad=cfg.TRAIN.CLIP_GRAD,
        )
        state.step += 1
        interval.add(result)
        ends_epoch = state.step_in_epoch == 0
        saves = cfg.SAVE_STEPS > 0 and state.step % cfg.SAVE_STEPS == 0 and not ends_epoch
        if state.step % cfg.PRINT_FREQ == 0 or ends_epoch or saves:
            interval.record()
        if saves:  # the end of an epoch is saved after its evaluation
            run.checkpoints.save(state, run.facts, run.header)
    run.bad_images.update(run.train_feed)


class Interval:
    """What happened since the last record. Sums stay on the device until they are recorded."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._clear()

    def _clear(self) -> None:
        self._start = time.perf_counter()
        self._wait_s = 0.0
        self._steps = 0
        self._loss_sum: torch.Tensor | None = None
        self._last: StepResult | None = None
        self._is_finite: torch.Tensor | None = None

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Pass ``batches`` on, counting the time spent waiting for them."""
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self._wait_s += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def add(self, result: StepResult) -> None:
        """Count one update."""
        self._steps += 1
        self._last = result
        self._loss_sum = result.loss_sum if self._loss_sum is None else self._loss_sum + result.loss_sum
        is_finite = result.grad_norm.isfinite()
        self._is_finite = is_finite if self._is_finite is None else self._is_finite & is_finite

    def record(self) -> None:
        """Write down the interval and begin the next one; the only place that waits for the device.

        Raises:
            NumericsError: in every process, when a loss was not finite, or a gradient outside of fp16, whose
                scaler skips such updates.
        """
        run, state, plan = self._run, self._run.state, self._run.state.plan
        assert self._loss_sum is not None
        assert self._last is not None
        assert self._is_finite is not None
        images = self._steps * plan.global_batch
        loss = run.runtime.sum(self._loss_sum).item() / images
        seconds = time.perf_counter() - self._start  # after the device has caught up
        numbers = {
            "step": state.step,
            "epoch": (state.step - 1) // plan.steps_per_epoch + 1,
            "loss": loss,
            "lr": max(group["lr"] for group in state.optimizer.param_groups),
            "grad_norm": self._last.grad_norm.item(),
            "images_per_s": images / seconds,
            "data_wait": self._wait_s / seconds,
            "memory_mb": _memory_mb(run.runtime.device),
        }
        if state.scaler.is_enabled():
            numbers["loss_scale"] = state.scaler.get_scale()
        run.recorder.train(
            numbers,
            total_steps=plan.total_steps,
            epochs=plan.epochs,
            eta_s=run.pace.seconds_left(state.step, plan.total_steps),
        )
        is_finite = math.isfinite(loss) and (state.scaler.is_enabled() or bool(self._is_finite))
        first = state.step - self._steps + 1
        self._clear()
        if not is_finite:
            raise NumericsError(
                f"step {first} to {state.step}: the loss is {loss:.4g} and the last gradient's norm "
                f"{numbers['grad_norm']:.4g}; nothing was saved since they went bad. Lower TRAIN.BASE_LR "
                f"(now {run.cfg.TRAIN.BASE_LR}), lengthen the warm-up, or use AMP_DTYPE bf16 or fp32 "
                f"(now {run.precision.name})"
            )


def _memory_mb(device: torch.device) -> float:
    """Return the peak memory in MiB: of the device on CUDA, of the process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
