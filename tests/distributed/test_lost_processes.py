"""Processes that die, hang or throw, and those that should not have been started: who is named, and what is left."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from ranks import Ranks, check_statuses
from run_records import exit_report
from state_digest import newest_state, state_digest


def test_a_killed_process_is_named_and_the_run_goes_on(
    opts: Callable, ranks: Ranks, folder: Callable, undisturbed: str
) -> None:
    prelude = "import faults; faults.at(8, faults.kill(), rank=1)"

    results = ranks.run(2, opts(TAG="killed"), prelude=prelude, timeout=30)

    check_statuses(results, 1, -signal.SIGKILL)
    assert "lost another process after update 7: rank 1 does not answer" in results[0].stderr
    assert exit_report(folder("killed"))["status"] == 1
    check_statuses(ranks.run(2, opts(TAG="killed")), 0, 0)
    assert state_digest(newest_state(folder("killed"))) == undisturbed


def test_a_process_that_hangs_is_named_with_its_stack(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    prelude = "import faults; faults.at(8, faults.sleep(60), rank=1)"
    results = ranks.run(2, opts(TAG="hung", DIST__TIMEOUT_S=3.0), prelude=prelude, timeout=30)

    check_statuses(results, 1, 1)
    said = results[0].stderr
    assert "rank 1 does not answer: it is dead, hangs, or its network is cut" in said
    assert "DATA.TIMEOUT_S is 240 and DIST.TIMEOUT_S 3: where a worker hangs" in said
    stacks = folder("hung") / "ranks"
    assert str(stacks) in said
    assert "faults.py" in (stacks / "rank-1.txt").read_text()  # where it sleeps


@pytest.mark.parametrize(
    ("stopped", "named"),
    [(0, "the process that holds the meeting point, usually rank 0,"), (1, "rank 1")],
)
def test_a_process_that_is_gone_in_a_save_is_named_in_time(
    opts: Callable, ranks: Ranks, folder: Callable, stopped: int, named: str
) -> None:
    """A collective would wait for it for ``DIST.SETUP_TIMEOUT_S``, since writing may take long.

    SIGSTOP leaves its sockets open, as a machine without power does.
    """
    prelude = f"import faults, signal; faults.in_saving(faults.kill(signal.SIGSTOP), call=2, rank={stopped})"
    job = ranks.start(2, opts(TAG="gone", DIST__TIMEOUT_S=3.0), prelude=prelude)

    job.until_ended(1 - stopped, timeout=30)

    assert job.status(1 - stopped) == 1
    said = f"lost another process after update 3: {named} does not answer: it is dead, hangs, or its network is cut"
    assert said in job.output(1 - stopped)
    assert exit_report(folder("gone"))["reason"].startswith(said)
    job.kill()


def test_a_process_that_takes_long_to_save_is_waited_for(
    opts: Callable, ranks: Ranks, folder: Callable, undisturbed: str
) -> None:
    prelude = "import faults; faults.in_saving(faults.sleep(5), call=2, rank=1)"

    check_statuses(ranks.run(2, opts(TAG="slow", DIST__TIMEOUT_S=3.0), prelude=prelude), 0, 0)

    assert state_digest(newest_state(folder("slow"))) == undisturbed


def test_a_process_that_throws_is_named_with_its_error(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    prelude = "import faults; faults.at(8, faults.raise_(ZeroDivisionError('of a test')), rank=1)"

    results = ranks.run(2, opts(TAG="thrown"), prelude=prelude, timeout=30)

    check_statuses(results, 1, 1)
    assert "lost another process after update 7: rank 1: ZeroDivisionError: of a test" in results[0].stderr
    report = exit_report(folder("thrown"))  # the cause, whoever wrote first
    assert (report["status"], report["rank"]) == (1, 1)
    assert report["reason"] == "ZeroDivisionError: of a test"
    text = (folder("thrown") / "ranks/rank-1.txt").read_text()
    assert "Traceback" in text
    assert "ZeroDivisionError: of a test" in text


def test_two_launches_in_one_folder(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    first = ranks.start(2, opts(TAG="shared"), prelude="import faults; faults.slow(0.3)")
    first.until((folder("shared") / "checkpoints/step-00000003").is_dir)
    before = (folder("shared") / "log.txt").read_text()

    second = ranks.run(2, opts(TAG="shared"), timeout=30)

    check_statuses(second, 2, 2)
    assert "is in use by another run (process " in second[0].stderr
    assert (folder("shared") / "log.txt").read_text().startswith(before)
    assert not (folder("shared") / "exit.json").exists()  # that of the first, which goes on
    first.kill()


def test_a_writer_that_was_cut_off_commits_nothing(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    """Its file system gave the lock away meanwhile, as that of a network does to a machine that is not heard of."""
    prelude = """
import faults, json, os
from pathlib import Path
def taken_over(state):
    lock = Path(os.environ["RUN"]) / "run.lock"
    with lock.open("r+") as file:
        holder = json.load(file)
        file.seek(0); file.truncate()
        json.dump(holder | {"owner": holder["owner"] + 1, "process": 1, "host": "elsewhere"}, file)
faults.at(4, taken_over)
"""
    run = folder("stale")

    (result,) = ranks.run(1, opts(TAG="stale"), prelude=prelude, env={"RUN": str(run)})

    assert result.status == 3
    assert "was taken over by another launch (process 1 on elsewhere)" in result.stderr
    assert newest_state(run).name == "step-00000003"


def test_processes_that_see_other_images_are_refused_at_the_start(
    opts: Callable, ranks: Ranks, digits: Path, tmp_path: Path
) -> None:
    """As two machines with copies of the data of which one is not whole."""
    for rank in (0, 1):
        shutil.copytree(digits, tmp_path / f"disk{rank}/data")
    (tmp_path / "disk1/data/train/digit_1/3.png").unlink()
    prelude = f"import os; os.chdir({str(tmp_path)!r} + '/disk' + os.environ['RANK'])"

    results = ranks.run(2, opts(DATA__DATA_PATH="data"), prelude=prelude)

    check_statuses(results, 5, 5)
    assert "rank 1: it sees other data than rank 0, in the number of training images" in results[0].stderr
