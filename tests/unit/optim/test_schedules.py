from dataclasses import dataclass

import pytest
import torch

from swin_train.config import load_config
from swin_train.optim import Schedule, build_schedule, set_learning_rates


@dataclass(frozen=True)
class Rates:
    base_lr: float = 1.0
    warmup_lr: float = 0.1
    min_lr: float = 0.01
    steps_per_epoch: int = 10


def build(*overrides: object) -> Schedule:
    return build_schedule(
        load_config(None, ["TRAIN.EPOCHS", 6, "TRAIN.WARMUP_EPOCHS", 1, *overrides]), Rates()
    )


NAME, STEPS = "TRAIN.LR_SCHEDULER.NAME", "TRAIN.LR_SCHEDULER.MULTISTEPS"


def test_epochs_become_updates() -> None:
    schedule = build(NAME, "multistep", STEPS, (2, 4), "TRAIN.LR_SCHEDULER.DECAY_EPOCHS", 3)

    assert (schedule.num_steps, schedule.warmup_steps, schedule.decay_steps) == (60, 10, 30)
    assert schedule.milestones == (20, 40)


def test_the_first_two_updates_use_the_first_value() -> None:
    schedule = build()

    rates = [schedule.lr_of_update(update) for update in range(4)]

    assert rates == [schedule.lr_at(step) for step in (0, 0, 1, 2)] == pytest.approx([0.1, 0.1, 0.19, 0.28])


def test_the_cosine_ends_at_the_minimum_and_stays_there() -> None:
    schedule = build()

    assert schedule.lr_at(10) == pytest.approx(1.0)
    assert schedule.lr_at(35) == pytest.approx((1.0 + 0.01) / 2)
    assert schedule.lr_at(59) > schedule.lr_at(60) == schedule.lr_at(100) == 0.01


def test_without_prefix_the_warm_up_covers_the_cosine_s_beginning() -> None:
    schedule = build("TRAIN.LR_SCHEDULER.WARMUP_PREFIX", False)

    assert schedule.lr_at(30) == pytest.approx((1.0 + 0.01) / 2)
    assert schedule.lr_at(10) < 1.0


def test_step_and_multistep_drop_where_they_should() -> None:
    step = build(NAME, "step", "TRAIN.LR_SCHEDULER.DECAY_EPOCHS", 2)
    multistep = build(NAME, "multistep", STEPS, (2, 4), "TRAIN.LR_SCHEDULER.GAMMA", 0.5)

    assert [step.lr_at(at) for at in (19, 20, 40)] == pytest.approx([1.0, 0.1, 0.01])
    assert [multistep.lr_at(at) for at in (19, 20, 40)] == pytest.approx([1.0, 0.5, 0.25])


def test_linear_falls_to_a_hundredth() -> None:
    assert build(NAME, "linear").lr_at(60) == pytest.approx(0.01)


def test_without_warm_up_the_first_update_uses_the_base_rate() -> None:
    assert build("TRAIN.WARMUP_EPOCHS", 0).lr_of_update(0) == 1.0


def test_layer_decay_scales_the_base_rate_but_neither_warm_up_nor_minimum() -> None:
    schedule = build()

    assert schedule.lr_at(0, lr_scale=0.5) == 0.1
    assert schedule.lr_at(10, lr_scale=0.5) == pytest.approx(0.5)
    assert schedule.lr_at(60, lr_scale=0.5) == 0.01


def test_rates_are_set_group_by_group() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    groups[1]["lr_scale"] = 0.5
    optimizer = torch.optim.SGD(groups, lr=9.0)

    set_learning_rates(optimizer, build(), update=11)

    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1.0, 0.5])
