"""What several processes save together: when it is due, of which update it is, and disks that fill up."""

import json
from collections.abc import Callable

from ranks import Ranks, check_statuses
from run_records import exit_report
from state_digest import newest_state, state_digest


def test_checkpoints_are_due_by_the_clock_of_the_main_process(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    prelude = "import faults; faults.slow(0.2)"

    check_statuses(
        ranks.run(2, opts(TAG="clock", SAVE_STEPS=0, SAVE_MINUTES=0.005, TRAIN__EPOCHS=2), prelude=prelude),
        0,
        0,
    )

    steps = [int(path.name[-8:]) for path in (folder("clock") / "checkpoints").glob("step-*")]
    assert any(step % 5 for step in steps), steps  # 0.3 s: every second update or so


def test_an_asynchronous_state_is_that_of_its_update(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    """Training goes on and changes every weight while a state is written; it is as if it had waited."""
    for tag, is_async in (("waiting", False), ("going-on", True)):
        check_statuses(ranks.run(2, opts(TAG=tag, SAVE_ASYNC=is_async, SAVE_STEPS=1, SAVE_KEEP=20)), 0, 0)

    steps = sorted(path.name for path in (folder("waiting") / "checkpoints").iterdir())
    assert len(steps) == 15
    for step in steps:
        one, other = (state_digest(folder(tag) / "checkpoints" / step) for tag in ("waiting", "going-on"))
        assert one == other, step


def test_what_is_written_beside_the_training_is_of_its_update(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    """The evaluation after update 5 is made, and finds a best, while the state of update 4 waits to be written."""
    prelude = "import faults; faults.before_call('swin_train.engine.saver.commit', faults.sleep(2))"

    check_statuses(
        ranks.run(1, opts(TAG="slow", SAVE_ASYNC=True, SAVE_STEPS=4, SAVE_KEEP=9), prelude=prelude), 0
    )

    state = json.loads((folder("slow") / "checkpoints/step-00000004/train.json").read_text())["state"]
    assert (state["step"], state["evaluated"], state["best"], state["best_step"]) == (4, 0, {}, 0)


def test_a_disk_that_fills_up_is_said_and_the_training_goes_on(
    opts: Callable, ranks: Ranks, folder: Callable, undisturbed: str
) -> None:
    """The third save fails in process 1; all are told, and the next one succeeds."""
    prelude = """
import faults
faults.before_call(
    "torch.distributed.checkpoint.filesystem._write_files_from_queue",
    faults.raise_(OSError(28, "No space left on device")), call=3, rank=1,
)
"""
    results = ranks.run(2, opts(TAG="full", SAVE_KEEP=9), prelude=prelude, timeout=30)

    check_statuses(results, 0, 0)
    assert "step-00000006: cannot be written" in results[0].stderr
    assert "No space left on device" in results[0].stderr
    assert not (folder("full") / "checkpoints/step-00000006").exists()
    assert (folder("full") / "checkpoints/step-00000009").exists()
    assert state_digest(newest_state(folder("full"))) == undisturbed


def test_a_disk_that_stays_full_stops_the_run(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    prelude = """
import faults
full = faults.raise_(OSError(28, "No space left on device"))
for call in (3, 4, 5):
    faults.before_call("torch.distributed.checkpoint.filesystem._write_files_from_queue", full, call=call)
"""
    results = ranks.run(2, opts(TAG="full", SAVE_MAX_FAILURES=2), prelude=prelude, timeout=30)

    check_statuses(results, 28, 28)
    assert exit_report(folder("full"))["status"] == 28
    assert newest_state(folder("full")).name == "step-00000005"
    assert not list((folder("full") / "checkpoints").glob(".tmp-*"))


def test_an_earlier_failure_does_not_keep_a_stop_from_saving(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    """The disk was full once, and is not any more when the run is asked to stop."""
    prelude = """
import faults, signal
full = faults.raise_(OSError(28, "No space left on device"))
faults.before_call("torch.distributed.checkpoint.filesystem._write_files_from_queue", full, call=1)
faults.at(4, faults.kill(signal.SIGTERM), rank=1)
"""
    check_statuses(ranks.run(2, opts(TAG="full", SAVE_ASYNC=True), prelude=prelude, timeout=30), 143, 143)

    assert [path.name for path in (folder("full") / "checkpoints").iterdir()] == ["step-00000004"]
