"""Faults in runs of several processes: each is caused for real, and ends as docs/reliability.md promises."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ranks import RankResult, Ranks
from state_digest import newest_state, state_digest

RECIPE = {"SAVE_STEPS": 3, "SAVE_ASYNC": False, "TRAIN__EPOCHS": 3, "TRAIN__EMA_DECAY": 0.9}  # 15 updates


@pytest.fixture
def opts(several_opts: Callable) -> Callable[..., list[str]]:
    return lambda **changes: several_opts(**RECIPE | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    return lambda tag: tmp_path / "output/tiny" / tag


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def undisturbed(opts: Callable, ranks: Ranks, kept: Path) -> str:
    """The digest of the last state of a run that nothing happened to; the run is made once."""
    run = kept / "tiny/undisturbed"
    if not run.exists():
        statuses(ranks.run(2, opts(OUTPUT=str(kept), TAG="undisturbed")), 0, 0)
    return state_digest(newest_state(run))


def statuses(results: list[RankResult], *expected: int) -> None:
    assert [result.status for result in results] == list(expected), results[0].stderr[-3000:]


def exit_report(run: Path) -> dict[str, Any]:
    return json.loads((run / "exit.json").read_text())


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record for record in lines if record["kind"] == kind]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)]
)
@pytest.mark.parametrize("step", [1, 7, 10])  # the first update, one in an epoch, the last of one
def test_a_signal_to_any_process_saves_within_the_update(
    opts: Callable, ranks: Ranks, folder: Callable, undisturbed: str, number: int, status: int, step: int
) -> None:
    prelude = f"import faults; faults.at({step}, faults.kill({number}), rank=1)"
    opts = opts(TAG="stopped")

    statuses(ranks.run(2, opts, prelude=prelude), status, status)

    run = folder("stopped")
    assert newest_state(run).name == f"step-{step:08d}"
    report = exit_report(run)
    assert (report["status"], report["step"]) == (status, step)
    assert f"after update {step} of 15, which is saved; the same command goes on" in report["reason"]
    statuses(ranks.run(2, opts), 0, 0)
    assert state_digest(newest_state(run)) == undisturbed
    assert exit_report(run)["status"] == 0


def test_a_signal_in_an_evaluation_is_obeyed_and_the_evaluation_made_again(
    opts: Callable, ranks: Ranks, folder: Callable, undisturbed: str
) -> None:
    """Of batches of 4 the 20 images make three for each process and kind of weights."""
    prelude = "import faults, signal; faults.in_evaluation(faults.kill(signal.SIGTERM), batch=2, rank=1)"

    results = ranks.run(2, opts(TAG="stopped"), prelude=prelude)

    statuses(results, 143, 143)
    run = folder("stopped")
    assert newest_state(run).name == "step-00000005"
    assert records(run, "val") == []
    statuses(ranks.run(2, opts(TAG="stopped")), 0, 0)
    assert state_digest(newest_state(run)) == undisturbed
    assert [record["step"] for record in records(run, "val")] == [5, 10, 15]


def test_an_evaluation_that_was_made_but_not_saved_is_recorded_once(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    """Stopped in an evaluation, resumed, and killed behind that evaluation: three launches evaluate update 5."""
    stop = "import faults, signal; faults.in_evaluation(faults.kill(signal.SIGTERM), batch=2)"
    kill = "import faults, signal; faults.at(6, faults.kill())"
    statuses(ranks.run(1, opts(TAG="stopped"), prelude=stop), 143)
    statuses(ranks.run(1, opts(TAG="stopped"), prelude=kill), -signal.SIGKILL)

    statuses(ranks.run(1, opts(TAG="stopped")), 0)

    assert [record["step"] for record in records(folder("stopped"), "val")] == [5, 10, 15]
    assert [record["step"] for record in records(folder("stopped"), "train")] == list(range(1, 16))


def test_a_second_sigterm_changes_nothing(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    prelude = """
import faults, os, signal
def twice(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
faults.at(4, twice)
"""
    (result,) = ranks.run(1, opts(TAG="stopped"), prelude=prelude)

    assert result.status == 143
    assert "SIGTERM: the run is stopping already" in result.stderr
    assert newest_state(folder("stopped")).name == "step-00000004"


def test_a_second_ctrl_c_ends_at_once(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    prelude = """
import faults, os, signal
def twice(*_):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
faults.at(4, twice)
"""
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


def test_a_killed_process_is_named_and_the_run_goes_on(
    opts: Callable, ranks: Ranks, folder: Callable, undisturbed: str
) -> None:
    prelude = "import faults; faults.at(8, faults.kill(), rank=1)"

    results = ranks.run(2, opts(TAG="killed"), prelude=prelude, timeout=30)

    statuses(results, 1, -signal.SIGKILL)
    assert "lost another process after update 7: rank 1 does not answer" in results[0].stderr
    assert exit_report(folder("killed"))["status"] == 1
    statuses(ranks.run(2, opts(TAG="killed")), 0, 0)
    assert state_digest(newest_state(folder("killed"))) == undisturbed


def test_a_process_that_hangs_is_named_with_its_stack(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    prelude = "import faults; faults.at(8, faults.sleep(60), rank=1)"
    results = ranks.run(2, opts(TAG="hung", DIST__TIMEOUT_S=3.0), prelude=prelude, timeout=30)

    statuses(results, 1, 1)
    said = results[0].stderr
    assert "rank 1 does not answer: it is dead, hangs, or its network is cut" in said
    stacks = folder("hung") / "ranks"
    assert str(stacks) in said
    assert "faults.py" in (stacks / "rank-1.txt").read_text()  # where it sleeps


def test_a_process_that_throws_is_named_with_its_error(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    prelude = "import faults; faults.at(8, faults.raise_(ZeroDivisionError('of a test')), rank=1)"

    results = ranks.run(2, opts(TAG="thrown"), prelude=prelude, timeout=30)

    statuses(results, 1, 1)
    assert "lost another process after update 7: rank 1: ZeroDivisionError: of a test" in results[0].stderr
    report = exit_report(folder("thrown"))  # the cause, whoever wrote first
    assert (report["status"], report["rank"]) == (1, 1)
    assert report["reason"] == "ZeroDivisionError: of a test"
    text = (folder("thrown") / "ranks/rank-1.txt").read_text()
    assert "Traceback" in text
    assert "ZeroDivisionError: of a test" in text


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

    statuses(results, 0, 0)
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

    statuses(results, 28, 28)
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
    statuses(ranks.run(2, opts(TAG="full", SAVE_ASYNC=True), prelude=prelude, timeout=30), 143, 143)

    assert [path.name for path in (folder("full") / "checkpoints").iterdir()] == ["step-00000004"]


def test_what_is_written_beside_the_training_is_of_its_update(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    """The evaluation after update 5 is made, and finds a best, while the state of update 4 waits to be written."""
    prelude = "import faults; faults.before_call('swin_train.engine.saver.commit', faults.sleep(2))"

    statuses(ranks.run(1, opts(TAG="slow", SAVE_ASYNC=True, SAVE_STEPS=4, SAVE_KEEP=9), prelude=prelude), 0)

    state = json.loads((folder("slow") / "checkpoints/step-00000004/train.json").read_text())["state"]
    assert (state["step"], state["evaluated"], state["best"], state["best_step"]) == (4, 0, {}, 0)


def test_a_run_that_was_stopped_in_its_last_evaluation_comes_to_an_end(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    stop = "import faults, signal; faults.in_evaluation(faults.kill(signal.SIGTERM), batch=2)"
    brief = {"TAG": "brief", "TRAIN__EPOCHS": 1, "TRAIN__WARMUP_EPOCHS": 0}
    statuses(ranks.run(1, opts(**brief), prelude=stop), 143)

    statuses(ranks.run(1, opts(**brief)), 0)
    (again,) = ranks.run(1, opts(**brief))

    assert again.status == 0
    assert "nothing is left to train" in again.stderr
    assert "val epoch" not in again.stderr
    assert [record["step"] for record in records(folder("brief"), "val")] == [5]


def test_a_signal_to_one_process_before_the_first_update_ends_all(opts: Callable, ranks: Ranks) -> None:
    early = "'swin_train.engine.train.make_plan', faults.kill(signal.SIGTERM), rank=1"
    prelude = f"import faults, signal; faults.before_call({early})"

    results = ranks.run(2, opts(), prelude=prelude, timeout=30)

    statuses(results, 1, 143)
    assert (
        "rank 1: Stopped: stopped by a signal (SIGTERM or SIGUSR1) before the first update"
        in results[0].stderr
    )


def test_a_gradient_that_is_not_finite_in_one_process_leaves_the_update_out_in_all(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    prelude = "import faults; faults.at(4, faults.nan_gradient, rank=1)"

    results = ranks.run(2, opts(TAG="nan"), prelude=prelude)

    statuses(results, 0, 0)
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

    statuses(results, 4, 4)
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

    statuses(results, *[4] * world_size)
    assert message in results[0].stderr


def test_two_launches_in_one_folder(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    first = ranks.start(2, opts(TAG="shared"), prelude="import faults; faults.slow(0.3)")
    first.until((folder("shared") / "checkpoints/step-00000003").is_dir)
    before = (folder("shared") / "log.txt").read_text()

    second = ranks.run(2, opts(TAG="shared"), timeout=30)

    statuses(second, 2, 2)
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


def test_the_world_size_may_change_in_mid_epoch(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    """Two processes, then four, then one: the losses are those of a run that was left alone, to rounding."""
    alone = {"AMP_DTYPE": "fp64", "DATA__BATCH_SIZE": 2}
    statuses(ranks.run(1, opts(TAG="alone", **alone)), 0)
    for world_size, step in ((2, 4), (4, 8)):
        prelude = f"import faults, signal; faults.at({step}, faults.kill(signal.SIGTERM), rank=1)"
        statuses(ranks.run(world_size, opts(TAG="changing", **alone), prelude=prelude), *[143] * world_size)
    statuses(ranks.run(1, opts(TAG="changing", **alone)), 0)

    found, expected = (
        [record["loss"] for record in records(folder(tag), "train")] for tag in ("changing", "alone")
    )
    assert len(found) == 15
    assert found == pytest.approx(expected, rel=1e-12)


def test_an_asynchronous_state_is_that_of_its_update(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    """Training goes on and changes every weight while a state is written; it is as if it had waited."""
    for tag, is_async in (("waiting", False), ("going-on", True)):
        statuses(ranks.run(2, opts(TAG=tag, SAVE_ASYNC=is_async, SAVE_STEPS=1, SAVE_KEEP=20)), 0, 0)

    steps = sorted(path.name for path in (folder("waiting") / "checkpoints").iterdir())
    assert len(steps) == 15
    for step in steps:
        one, other = (state_digest(folder(tag) / "checkpoints" / step) for tag in ("waiting", "going-on"))
        assert one == other, step


def test_data_workers_outlive_a_signal_to_the_whole_group(
    opts: Callable, ranks: Ranks, folder: Callable, undisturbed: str
) -> None:
    """As SLURM sends it, and torchrun: the workers must not die before the process has saved."""
    prelude = (
        "import faults, os, signal; faults.at(7, lambda *_: os.killpg(os.getpid(), signal.SIGTERM), rank=1)"
    )
    options = {"TAG": "group", "DATA__NUM_WORKERS": 2, "DATA__PIPELINE": "portable"}

    statuses(ranks.run(2, opts(**options), prelude=prelude), 143, 143)

    assert newest_state(folder("group")).name == "step-00000007"


def test_processes_that_see_other_images_are_refused_at_the_start(
    opts: Callable, ranks: Ranks, digits: Path, tmp_path: Path
) -> None:
    """As two machines with copies of the data of which one is not whole."""
    for rank in (0, 1):
        shutil.copytree(digits, tmp_path / f"disk{rank}/data")
    (tmp_path / "disk1/data/train/digit_1/3.png").unlink()
    prelude = f"import os; os.chdir({str(tmp_path)!r} + '/disk' + os.environ['RANK'])"

    results = ranks.run(2, opts(DATA__DATA_PATH="data"), prelude=prelude)

    statuses(results, 5, 5)
    assert "rank 1: it sees other data than rank 0, in the number of training images" in results[0].stderr


def test_checkpoints_are_due_by_the_clock_of_the_main_process(
    opts: Callable, ranks: Ranks, folder: Callable
) -> None:
    prelude = "import faults; faults.slow(0.2)"

    statuses(
        ranks.run(2, opts(TAG="clock", SAVE_STEPS=0, SAVE_MINUTES=0.005, TRAIN__EPOCHS=2), prelude=prelude),
        0,
        0,
    )

    steps = [int(path.name[-8:]) for path in (folder("clock") / "checkpoints").glob("step-*")]
    assert any(step % 5 for step in steps), steps  # 0.3 s: every second update or so
