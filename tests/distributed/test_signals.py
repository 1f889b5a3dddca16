"""Signals to any process of a run: it saves within the update, and ends with a status that says so."""

import signal
from collections.abc import Callable

import pytest
from ranks import Ranks, check_statuses
from run_records import exit_report, records
from state_digest import newest_state, state_digest


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)]
)
@pytest.mark.parametrize("step", [1, 7, 10])  # the first update, one in an epoch, the last of one
def test_a_signal_to_any_process_saves_within_the_update(
    opts: Callable, ranks: Ranks, folder: Callable, undisturbed: str, number: int, status: int, step: int
) -> None:
    prelude = f"import faults; faults.at({step}, faults.kill({number}), rank=1)"
    opts = opts(TAG="stopped")

    check_statuses(ranks.run(2, opts, prelude=prelude), status, status)

    run = folder("stopped")
    assert newest_state(run).name == f"step-{step:08d}"
    report = exit_report(run)
    assert (report["status"], report["step"]) == (status, step)
    assert f"after update {step} of 15, which is saved; the same command goes on" in report["reason"]
    check_statuses(ranks.run(2, opts), 0, 0)
    assert state_digest(newest_state(run)) == undisturbed
    assert exit_report(run)["status"] == 0


def test_a_signal_in_an_evaluation_is_obeyed_and_the_evaluation_made_again(
    opts: Callable, ranks: Ranks, folder: Callable, undisturbed: str
) -> None:
    """Of batches of 4 the 20 images make three for each process and kind of weights."""
    prelude = "import faults, signal; faults.in_evaluation(faults.kill(signal.SIGTERM), batch=2, rank=1)"

    results = ranks.run(2, opts(TAG="stopped"), prelude=prelude)

    check_statuses(results, 143, 143)
    run = folder("stopped")
    assert newest_state(run).name == "step-00000005"
    assert records(run, "val") == []
    check_statuses(ranks.run(2, opts(TAG="stopped")), 0, 0)
    assert state_digest(newest_state(run)) == undisturbed
    assert [record["step"] for record in records(run, "val")] == [5, 10, 15]


def test_an_evaluation_that_was_made_but_not_saved_is_recorded_once(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    """Stopped in an evaluation, resumed, and killed behind that evaluation: three launches evaluate update 5."""
    stop = "import faults, signal; faults.in_evaluation(faults.kill(signal.SIGTERM), batch=2)"
    kill = "import faults, signal; faults.at(6, faults.kill())"
    check_statuses(ranks.run(1, opts(TAG="stopped"), prelude=stop), 143)
    check_statuses(ranks.run(1, opts(TAG="stopped"), prelude=kill), -signal.SIGKILL)

    check_statuses(ranks.run(1, opts(TAG="stopped")), 0)

    assert [record["step"] for record in records(folder("stopped"), "val")] == [5, 10, 15]
    assert [record["step"] for record in records(folder("stopped"), "train")] == list(range(1, 16))


def test_a_run_that_was_stopped_in_its_last_evaluation_comes_to_an_end(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    stop = "import faults, signal; faults.in_evaluation(faults.kill(signal.SIGTERM), batch=2)"
    brief = {"TAG": "brief", "TRAIN__EPOCHS": 1, "TRAIN__WARMUP_EPOCHS": 0}
    check_statuses(ranks.run(1, opts(**brief), prelude=stop), 143)

    check_statuses(ranks.run(1, opts(**brief)), 0)
    (again,) = ranks.run(1, opts(**brief))

    assert again.status == 0
    assert "nothing is left to train" in again.stderr
    assert "val epoch" not in again.stderr
    assert [record["step"] for record in records(folder("brief"), "val")] == [5]


def test_a_second_sigterm_changes_nothing(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    prelude = "import faults, signal; faults.at(4, faults.kill(signal.SIGTERM, times=2))"

    (result,) = ranks.run(1, opts(TAG="stopped"), prelude=prelude)

    assert result.status == 143
    assert "SIGTERM: the run is stopping already" in result.stderr
    assert result.stderr.splitlines()[-1].startswith(
        "stopped by a signal (SIGTERM or SIGUSR1) after update 4 of 15"
    )
    assert newest_state(folder("stopped")).name == "step-00000004"


def test_a_second_ctrl_c_ends_at_once(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    prelude = "import faults, signal; faults.at(4, faults.kill(signal.SIGINT, times=2))"

    (result,) = ranks.run(1, opts(TAG="stopped"), prelude=prelude)

    assert result.status == 130
    assert newest_state(folder("stopped")).name == "step-00000003"


def test_a_signal_before_the_first_update_ends_at_once(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    early = "'swin_train.engine.train.make_plan', faults.kill(signal.SIGTERM)"
    prelude = f"import faults, signal; faults.before_call({early})"

    (result,) = ranks.run(1, opts(TAG="early"), prelude=prelude)

    assert result.status == 143
    assert "before the first update; nothing was lost" in result.stderr
    assert exit_report(folder("early"))["status"] == 143


def test_a_signal_to_one_process_before_the_first_update_ends_all(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    early = "'swin_train.engine.train.make_plan', faults.kill(signal.SIGTERM), rank=1"
    prelude = f"import faults, signal; faults.before_call({early})"

    results = ranks.run(2, opts(TAG="early"), prelude=prelude, timeout=30)

    check_statuses(results, 1, 143)
    report = exit_report(folder("early"))
    assert (report["status"], report["rank"], report["weight"]) == (143, 1, 1)
    assert (
        "rank 1: Stopped: stopped by a signal (SIGTERM or SIGUSR1) before the first update"
        in results[0].stderr
    )


def test_data_workers_outlive_a_signal_to_the_whole_group(
    opts: Callable, ranks: Ranks, folder: Callable, undisturbed: str
) -> None:
    """As SLURM sends it, and torchrun: the workers must not die before the process has saved."""
    prelude = (
        "import faults, os, signal; faults.at(7, lambda *_: os.killpg(os.getpid(), signal.SIGTERM), rank=1)"
    )
    options = {"TAG": "group", "DATA__NUM_WORKERS": 2, "DATA__PIPELINE": "portable"}

    check_statuses(ranks.run(2, opts(**options), prelude=prelude), 143, 143)

    assert newest_state(folder("group")).name == "step-00000007"
