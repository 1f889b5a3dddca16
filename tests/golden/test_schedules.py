"""Learning rates against the reference, and against timm where it has no figures."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.scheduler import CosineLRScheduler, StepLRScheduler

from swin_train.optim import Schedule

BASE, WARMUP, MIN = 5e-4, 5e-7, 5e-6
EPOCHS, WARMUP_EPOCHS = 300, 20
RTOL = 1e-9  # the same float64 formula, written in another order


def make_schedule(name: str, steps_per_epoch: int, **others: Any) -> Schedule:
    return Schedule(
        name=name,
        base_lr=BASE,
        warmup_lr=WARMUP,
        min_lr=MIN,
        num_steps=EPOCHS * steps_per_epoch,
        warmup_steps=WARMUP_EPOCHS * steps_per_epoch,
        **others,
    )


@pytest.mark.parametrize("name", ["cosine_prefix", "linear", "multistep"])
def test_rates_are_the_reference_s(name: str, golden: Callable[[str], Any]) -> None:
    figures = golden("lr_schedules.json")[name]
    n = figures["steps_per_epoch"]
    milestones = tuple(epoch * n for epoch in figures["config"].get("ms", []))
    schedule = make_schedule(name.removesuffix("_prefix"), n, milestones=milestones)

    for step, expected in figures["lr"]:
        assert schedule.lr_at(0 if step == "init" else step) == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("name", ["cosine", "step"])
def test_rates_are_timm_s(name: str) -> None:
    n = 5
    schedule = make_schedule(name, n, warmup_prefix=False, decay_steps=30 * n, decay_rate=0.1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    warmup = {"warmup_t": WARMUP_EPOCHS * n, "warmup_lr_init": WARMUP, "t_in_epochs": False}
    timm_schedule = (
        CosineLRScheduler(optimizer, EPOCHS * n, lr_min=MIN, cycle_limit=1, warmup_prefix=False, **warmup)
        if name == "cosine"
        else StepLRScheduler(optimizer, 30 * n, decay_rate=0.1, warmup_prefix=False, **warmup)
    )

    for step in range(EPOCHS * n + 3):
        timm_schedule.step_update(step)
        assert schedule.lr_at(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=RTOL), step
