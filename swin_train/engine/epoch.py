"""One epoch of training: batches in, updates and records out."""

import math
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice

import torch

from swin_train.data.draws import Stream, key
from swin_train.data.loader import Batch
from swin_train.distributed.agreement import check_agreement
from swin_train.distributed.compilation import compile_seconds
from swin_train.engine.host_memory import peak_memory
from swin_train.engine.run import Run
from swin_train.engine.state import seed_library_generators
from swin_train.engine.step import StepResult, train_step
from swin_train.engine.trouble import face_bad_steps, face_trouble
from swin_train.optim.schedules import set_learning_rates

_LOOK_EVERY = 100  # updates between two looks at those that were left out, however rarely there is a record


def train_epoch(run: Run) -> None:
    """Make the updates that are left of the epoch under way, or go back to an earlier one after a spike.

    Raises:
        NumericsError: too many gradients are not finite.
        DataError: more images could not be used than ``DATA.MAX_BAD_IMAGES`` allows.
        Stopped: a signal asked for it.
    """
    state, cfg, plan = run.state, run.cfg, run.state.plan
    epoch = state.epoch
    state.model.train()
    batches = run.train_feed.batches(epoch, first_step=state.step_in_epoch)
    interval = Interval(run)
    while state.epoch == epoch and not state.is_trained:
        micro_batches = interval.timed(islice(batches, plan.accumulation))
        if state.spikes.is_left_out(state.step + 1):
            deque(micro_batches, maxlen=0)
        else:
            interval.add(_update(run, micro_batches))
        state.step += 1
        run.ending.alive(state.step)
        urgency, is_due = run.agree(run.checkpoints.is_due)
        ends_epoch = state.step_in_epoch == 0
        is_saved = (is_due or run.is_step_saved) and not ends_epoch  # whose end is saved after its evaluation
        if state.step % cfg.PRINT_FREQ == 0 or ends_epoch or is_saved or urgency:
            if face_trouble(run, interval.record()):  # and went back
                return
        elif state.step % _LOOK_EVERY == 0:
            face_bad_steps(run)
        if cfg.DIST.CHECK_EVERY and state.step % cfg.DIST.CHECK_EVERY == 0:
            check_agreement(
                state.tensors().values(), run.spread.part, run.runtime.steps, f"update {state.step}"
            )
        if urgency:
            run.obey(urgency)
        if is_saved:
            run.save()
    run.bad_images.update(run.train_feed)


def _update(run: Run, micro_batches: Iterator[Batch]) -> StepResult:
    """Make the next update, whose learning rates and random draws follow from its number."""
    state, runtime = run.state, run.runtime
    set_learning_rates(state.optimizer, run.schedule, state.step)
    seed_library_generators(key(state.plan.seed, Stream.STEP, state.step, runtime.rank), runtime.device)
    return train_step(
        state, micro_batches, run.task, precision=run.precision, clip_grad=run.cfg.TRAIN.CLIP_GRAD
    )


class Interval:
    """What happened since the last record. Sums stay on the device until they are recorded."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._clear()

    def _clear(self) -> None:
        self._start = time.perf_counter()
        self._compiled_s = compile_seconds()
        self._wait_s = 0.0
        self._losses: dict[int, torch.Tensor] = {}  # by update
        self._last: StepResult | None = None

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
        self._last = result
        self._losses[self._run.state.step + 1] = result.loss_sum

    def record(self) -> dict[int, float]:
        """Write down the interval and begin the next one; this waits for the device.

        Returns:
            The loss of each update that was made, by its number.
        """
        run, state, plan = self._run, self._run.state, self._run.state.plan
        if self._last is None:  # every update was passed over
            self._clear()
            return {}
        sums = run.runtime.sum(torch.stack(list(self._losses.values())))
        losses = dict(zip(self._losses, (sums / plan.global_batch).tolist(), strict=True))
        finite = [loss for loss in losses.values() if math.isfinite(loss)]
        images = len(losses) * plan.global_batch
        compiled_s = compile_seconds() - self._compiled_s
        seconds = time.perf_counter() - self._start - compiled_s  # after the device has caught up
        numbers = {
            "step": state.step,
            "epoch": (state.step - 1) // plan.steps_per_epoch + 1,
            "loss": math.fsum(finite) / len(finite) if finite else math.nan,
            "lr": max(group["lr"] for group in state.optimizer.param_groups),
            "grad_norm": self._last.grad_norm.item(),
            "images_per_s": images / seconds,
            "data_wait": self._wait_s / seconds,
            "memory_mb": _memory_mb(run.runtime.device),
        }
        if compiled_s > 0:
            numbers["compile_s"] = compiled_s
        if state.loss_scale.is_enabled:
            numbers["loss_scale"] = state.loss_scale.value.item()
        run.recorder.train(
            numbers,
            total_steps=plan.total_steps,
            epochs=plan.epochs,
            eta_s=run.pace.seconds_left(state.step, plan.total_steps),
        )
        self._clear()
        return losses


def _memory_mb(device: torch.device) -> float:
    """Return the peak memory in MiB: of the device on CUDA, of the process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_memory() / 2**20
