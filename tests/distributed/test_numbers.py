"""Numbers that go bad in one process of several: all leave the update out, or all stop."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from ranks import Ranks, check_statuses
from run_records import exit_report


def test_a_gradient_that_is_not_finite_in_one_process_leaves_the_update_out_in_all(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    prelude = "import faults; faults.at(4, faults.nan_gradient, rank=1)"

    results = ranks.run(2, opts(TAG="nan"), prelude=prelude)

    check_statuses(results, 0, 0)
    dump = json.loads((folder("nan") / "bad_steps/step-00000004.json").read_text())
    assert dump["step"] == 4
    assert len(dump["images"]) == 8
    assert all(name.startswith("train/digit_") for name in dump["images"])
    assert len(dump["not_finite"]) >= 1
    assert "head.weight" in dump["gradient_norms"]
    assert "update 4 was left out: a gradient was not finite" in results[0].stderr


def test_too_many_gradients_that_are_not_finite_stop_the_run(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    prelude = "import faults\nfor step in (4, 5, 6): faults.at(step, faults.nan_gradient, rank=1)"

    results = ranks.run(2, opts(TAG="nan", TRAIN__MAX_BAD_STEPS=2), prelude=prelude)

    check_statuses(results, 4, 4)
    assert (
        "3 of the last 1,000 updates had gradients that are not finite, and TRAIN.MAX_BAD_STEPS allows 2"
        in results[0].stderr
    )
    assert exit_report(folder("nan"))["status"] == 4


@pytest.mark.parametrize(
    ("world_size", "changes", "message"),
    [
        (
            4,
            {},
            "update 5: the weights of rank 1 are no longer those of the others that should hold the same",
        ),
        (
            2,
            {"DIST__STRATEGY": "hsdp", "DIST__SHARD_SIZE": 1},
            "update 5: the weights of rank 0, 1 are no longer those of each other that should hold the same",
        ),
    ],
    ids=["ddp", "hsdp"],
)
def test_processes_that_drift_apart_are_told_apart(
    opts: Callable, ranks: Ranks, world_size: int, changes: dict[str, Any], message: str
) -> None:
    prelude = "import faults; faults.at(4, faults.drift, rank=1)"

    results = ranks.run(world_size, opts(DATA__BATCH_SIZE=2, DIST__CHECK_EVERY=5, **changes), prelude=prelude)

    check_statuses(results, *[4] * world_size)
    assert message in results[0].stderr
