"""Several processes: the same numbers as one, and no run lost."""

import re
import shutil
from pathlib import Path

import pytest
from ranks import RankResult, check_statuses
from run_records import losses
from state_digest import newest_state, state_digest


def own_traceback(stderr: str) -> list[str]:
    """Return the lines of tracebacks that lead through the package; torchrun adds one of its own."""
    return re.findall(r'File ".*swin_train/.*', stderr)


def check(results: list[RankResult]) -> None:
    check_statuses(results, *[0] * len(results))


def test_one_and_two_processes_train_alike(several_opts, ranks, tmp_path):
    """With mixing and stochastic depth on: their draws belong to the images, not to the processes.

    One process makes an update in two steps of four images, two processes each in two steps of two.
    """
    check(ranks.run(1, several_opts(TAG="one")))
    check(ranks.run(2, several_opts(TAG="two", DATA__BATCH_SIZE=2)))
    assert "2 process(es) x 2 accumulation step(s)" in (tmp_path / "output/tiny/two/log.txt").read_text()

    one, two = (losses(tmp_path / "output/tiny" / tag) for tag in ("one", "two"))
    assert len(one) == 10
    assert two == pytest.approx(one, rel=1e-4)  # float32 sums in another order, over 10 updates


def test_a_killed_run_ends_bit_identical(several_opts, ranks, tmp_path):
    recipe = {"SAVE_STEPS": 3, "TRAIN__EPOCHS": 4, "TRAIN__EMA_DECAY": 0.9}
    check(ranks.run(2, several_opts(**recipe, TAG="undisturbed")))

    killed = tmp_path / "output/tiny/killed"
    job = ranks.start(2, several_opts(**recipe, TAG="killed"))
    job.until((killed / "checkpoints/step-00000006").is_dir)  # the second epoch is under way
    job.kill()
    assert not (killed / "checkpoints/step-00000020").exists(), "killed too late to prove anything"
    check(ranks.run(2, several_opts(**recipe, TAG="killed")))

    last, expected = newest_state(killed), newest_state(tmp_path / "output/tiny/undisturbed")
    assert last.name == expected.name == "step-00000020"
    assert state_digest(last) == state_digest(expected)


def test_a_run_goes_on_with_another_number_of_processes(several_opts, ranks, tmp_path):
    check(ranks.run(2, several_opts(TRAIN__GLOBAL_BATCH=0)))
    check(ranks.run(1, several_opts(TRAIN__GLOBAL_BATCH=0, TRAIN__EPOCHS=3)))

    log = (tmp_path / "output/tiny/default/log.txt").read_text()
    assert "8 images an update = 2 process(es) x 1 accumulation step(s)" in log
    assert "8 images an update = 1 process(es) x 2 accumulation step(s)" in log


def test_evaluation_is_the_same_on_any_number_of_processes(several_opts, ranks, tmp_path):
    check(ranks.run(1, several_opts()))
    checkpoint = str(tmp_path / "output/tiny/default/weights/last.safetensors")

    lines = []
    for processes in (1, 2, 3):
        results = ranks.run(processes, ["--eval", "--resume", checkpoint, *several_opts()])
        check(results)
        lines += [line for result in results for line in result.stdout.splitlines()]

    assert len(lines) == 3  # one a run, by the main process
    assert lines[0] == lines[1] == lines[2]
    assert "(20 images)" in lines[0]


def test_a_mistake_is_said_by_every_process_without_a_traceback(several_opts, ranks):
    results = ranks.run(2, several_opts(DATA__DATA_PATH="/nowhere"))

    for rank, result in enumerate(results):
        assert result.status == 2
        assert f"[rank {rank}] error: " in result.stderr
        assert "/nowhere" in result.stderr
        assert not own_traceback(result.stderr)


def test_a_mistake_of_one_process_ends_all_without_a_traceback(several_opts, ranks, digits, tmp_path):
    """Only the process that gets the damaged image sees it; the other one finds its peer gone."""
    data = Path(shutil.copytree(digits, tmp_path / "data"))
    (data / "train/digit_1/3.png").write_bytes(b"not an image")

    results = ranks.run(2, several_opts(DATA__DATA_PATH=str(data), DATA__MAX_BAD_IMAGES=0))

    assert sorted(result.status for result in results) == [1, 5]
    stderr = results[0].stderr + results[1].stderr
    assert len(re.findall(r"\[rank [01]\] error: train/digit_1/3.png: ", stderr)) == 1
    assert not own_traceback(stderr)


def test_torchrun_trains_like_the_ranks_of_these_tests(several_opts, ranks, run_main, tmp_path):
    """The ranks are forked here for speed; this shows that it makes no difference."""
    check(ranks.run(2, several_opts(TAG="forked")))

    result = run_main(*several_opts(TAG="torchrun"), processes=2)

    assert result.returncode == 0, result.stderr[-4000:]
    states = [newest_state(tmp_path / "output/tiny" / tag) for tag in ("forked", "torchrun")]
    assert state_digest(states[0]) == state_digest(states[1])
