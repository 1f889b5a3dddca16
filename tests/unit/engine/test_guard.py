"""Updates that are left out are counted, in all and in the last 1,000."""

import json
from collections.abc import Sequence

import pytest
import torch

from swin_train.engine.guard import StepGuard

NAN, INF = float("nan"), float("inf")


def judge(guard: StepGuard, step: int, norms: Sequence[float] = (3.0, 4.0), scale: float = 1.0) -> bool:
    values = torch.tensor(norms)
    return bool(guard.judge(values, torch.linalg.vector_norm(values), step, torch.tensor(scale)))


@pytest.mark.parametrize(("norms", "is_bad"), [((3.0, 4.0), False), ((NAN, 4.0), True), ((3.0, INF), True)])
def test_an_update_is_bad_where_a_norm_is_not_finite(norms: Sequence[float], is_bad: bool) -> None:
    assert judge(StepGuard(), 1, norms) is is_bad


def test_nothing_is_found_where_nothing_was_left_out() -> None:
    guard = StepGuard()
    assert guard.look() is None

    judge(guard, 1)

    assert guard.look() is None
    assert guard.num_recent(1) == 0


def test_the_last_that_was_left_out_is_described() -> None:
    guard = StepGuard()
    judge(guard, 1)
    judge(guard, 2, (NAN, 1.0), scale=8.0)
    judge(guard, 3, (2.0, INF), scale=4.0)
    judge(guard, 4, scale=2.0)

    found = guard.look()

    assert found is not None
    assert (found.count, found.last, found.norms, found.scale) == (2, 3, [2.0, INF], 4.0)
    assert guard.look() is None
    assert guard.num_recent(4) == 2


def test_only_the_last_thousand_updates_count() -> None:
    guard = StepGuard()
    for step in (1, 2, 1000):
        judge(guard, step, (NAN, NAN))
        guard.look()

    assert guard.num_recent(1000) == 3
    assert guard.num_recent(1001) == 2  # 2 to 1001
    assert guard.num_recent(1999) == 1
    assert guard.num_recent(2000) == 0


def test_counts_go_on_where_they_were_saved() -> None:
    guard, resumed = StepGuard(), StepGuard()
    judge(guard, 5, (NAN, NAN))
    guard.look()

    resumed.restore(json.loads(json.dumps(guard.numbers())))
    judge(resumed, 6, (INF, NAN))
    resumed.look()

    assert (resumed.num_recent(6), resumed.num_recent(1005)) == (2, 1)


def test_what_was_noted_before_a_state_was_restored_is_forgotten() -> None:
    guard = StepGuard()
    judge(guard, 9, (NAN, NAN))

    guard.restore({"total": 0, "recent": []})

    assert guard.look() is None
    judge(guard, 3, (INF, 0.0))
    found = guard.look()
    assert found is not None
    assert (found.count, found.last) == (1, 3)
