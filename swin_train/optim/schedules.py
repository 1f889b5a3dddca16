"""Learning rates as pure functions of the update: nothing to save, nothing to resume.

Source: the official ``lr_scheduler.py`` with timm's schedulers, stepped by updates.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch.optim import Optimizer

from swin_train.config import Config

_LINEAR_END = 0.01  # the linear schedule ends at this part of the base rate, whatever the minimum is


@dataclass(frozen=True)
class Schedule:
    """A warm-up, linear in the update, and then one of ``DECAYS``.

    Attributes:
        name: a key of ``DECAYS``.
        base_lr: rate at the end of the warm-up.
        warmup_lr: rate of the first update.
        min_lr: lowest rate of the cosine; the others have none.
        num_steps: updates of the whole run.
        warmup_steps: updates of the warm-up.
        warmup_prefix: whether the cosine begins after the warm-up, or with the run and is cut into by it.
        decay_steps: updates between two drops of the step schedule.
        decay_rate: factor of each of its drops.
        milestones: updates at which the multistep schedule drops, rising.
        gamma: factor of each of its drops.
    """

    name: str
    base_lr: float
    warmup_lr: float
    min_lr: float
    num_steps: int
    warmup_steps: int
    warmup_prefix: bool = True
    decay_steps: int = 1
    decay_rate: float = 0.1
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1

    def lr_at(self, step: int, lr_scale: float = 1.0) -> float:
        """Value of the curve.

        Args:
            step: from 0.
            lr_scale: factor of the base rate alone; warm-up and minimum rates are the same for all layers.
        """
        base_lr = self.base_lr * lr_scale
        if step < self.warmup_steps:
            return self.warmup_lr + step * (base_lr - self.warmup_lr) / self.warmup_steps
        return DECAYS[self.name](self, base_lr, step)

    def lr_of_update(self, update: int, lr_scale: float = 1.0) -> float:
        """Rate that update number ``update`` (from 0) uses.

        The reference moves along the curve after each update, to the number of the update just made: the
        first two use the curve's first value.
        """
        return self.lr_at(max(update - 1, 0), lr_scale)


class Rates(Protocol):
    """The derived numbers that a schedule needs, as a run's plan has them; rates scaled by the batch."""

    @property
    def base_lr(self) -> float: ...  # noqa: D102
    @property
    def warmup_lr(self) -> float: ...  # noqa: D102
    @property
    def min_lr(self) -> float: ...  # noqa: D102
    @property
    def steps_per_epoch(self) -> int: ...  # noqa: D102


def build_schedule(cfg: Config, rates: Rates) -> Schedule:
    """The schedule that TRAIN and TRAIN.LR_SCHEDULER describe, their epochs turned into updates."""
    train, curve, per_epoch = cfg.TRAIN, cfg.TRAIN.LR_SCHEDULER, rates.steps_per_epoch
    return Schedule(
        name=curve.NAME,
        base_lr=rates.base_lr,
        warmup_lr=rates.warmup_lr,
        min_lr=rates.min_lr,
        num_steps=train.EPOCHS * per_epoch,
        warmup_steps=train.WARMUP_EPOCHS * per_epoch,
        warmup_prefix=curve.WARMUP_PREFIX,
        decay_steps=curve.DECAY_EPOCHS * per_epoch,
        decay_rate=curve.DECAY_RATE,
        milestones=tuple(epoch * per_epoch for epoch in curve.MULTISTEPS),
        gamma=curve.GAMMA,
    )


def set_learning_rates(optimizer: Optimizer, schedule: Schedule, update: int) -> None:
    """Set each group's rate for update ``update``, counted from 0; its "lr_scale" scales the base rate."""
    for group in optimizer.param_groups:
        group["lr"] = schedule.lr_of_update(update, group.get("lr_scale", 1.0))


def _cosine(schedule: Schedule, base_lr: float, step: int) -> float:
    start = schedule.warmup_steps if schedule.warmup_prefix else 0
    progress = (step - start) / (schedule.num_steps - start)
    if progress >= 1.0:
        return schedule.min_lr
    return schedule.min_lr + 0.5 * (base_lr - schedule.min_lr) * (1.0 + math.cos(math.pi * progress))


def _linear(schedule: Schedule, base_lr: float, step: int) -> float:
    progress = (step - schedule.warmup_steps) / (schedule.num_steps - schedule.warmup_steps)
    return base_lr * (1.0 - (1.0 - _LINEAR_END) * progress)


def _step(schedule: Schedule, base_lr: float, step: int) -> float:
    return base_lr * schedule.decay_rate ** (step // schedule.decay_steps)


def _multistep(schedule: Schedule, base_lr: float, step: int) -> float:
    return base_lr * schedule.gamma ** bisect_right(schedule.milestones, step)


DECAYS: dict[str, Callable[[Schedule, float, int], float]] = {
    "cosine": _cosine,
    "linear": _linear,
    "step": _step,
    "multistep": _multistep,
}
