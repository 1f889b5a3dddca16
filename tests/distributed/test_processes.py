"""Several processes: the same numbers as one, and no run lost."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in lines if record["kind"] == "train"]


def final_state(folder: Path) -> str:
    last = sorted((folder / "checkpoints").glob("step-*"))[-1]
    return last.name + hashlib.sha256((last / "state.safetensors").read_bytes()).hexdigest()


def own_traceback(stderr: str) -> list[str]:
    """Return the lines of tracebacks that lead through the package; torchrun adds one of its own."""
    return re.findall(r'File ".*swin_train/.*', stderr)


def check(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stderr[-4000:]


@pytest.fixture
def opts(tiny_opts):
    """Give the overrides as main.py's arguments, with 4 images a process, 8 an update."""

    def arguments(**changes):
        changes = {"DATA__BATCH_SIZE": 4, "TRAIN__GLOBAL_BATCH": 8, "AUG__MIX_GROUP": 2, **changes}
        return ["--cfg", "swin_tiny_patch4_window7_224", "--opts", *tiny_opts(**changes)]

    return arguments


def test_one_and_two_processes_train_alike(opts, run_main, tmp_path):
    """With mixing and stochastic depth on: their draws belong to the images, not to the processes.

    One process makes an update in two steps of four images, two processes each in two steps of two.
    """
    check(run_main(*opts(TAG="one")))
    check(run_main(*opts(TAG="two", DATA__BATCH_SIZE=2), processes=2))
    assert "2 process(es) x 2 accumulation step(s)" in (tmp_path / "output/tiny/two/log.txt").read_text()

    one, two = (losses(tmp_path / "output/tiny" / tag) for tag in ("one", "two"))
    assert len(one) == 10
    assert two == pytest.approx(one, rel=1e-4)  # float32 sums in another order, over 10 updates


def test_a_killed_run_ends_bit_identical(opts, run_main, main_command, main_environment, tmp_path):
    recipe = {"SAVE_STEPS": 3, "TRAIN__EPOCHS": 4, "TRAIN__EMA_DECAY": 0.9}
    check(run_main(*opts(**recipe, TAG="undisturbed"), processes=2))

    killed = tmp_path / "output/tiny/killed"
    command = main_command(*opts(**recipe, TAG="killed"), processes=2)
    with subprocess.Popen(
        command,
        env=main_environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 60
        while not (killed / "checkpoints/step-00000006").is_dir():  # the second epoch is under way
            assert process.poll() is None, "the run ended by itself"
            assert time.monotonic() < deadline, "the run does not get anywhere"
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (killed / "checkpoints/step-00000020").exists(), "killed too late to prove anything"
    check(run_main(*opts(**recipe, TAG="killed"), processes=2))

    assert final_state(killed) == final_state(tmp_path / "output/tiny/undisturbed")


def test_a_run_goes_on_with_another_number_of_processes(opts, run_main, tmp_path):
    check(run_main(*opts(TRAIN__GLOBAL_BATCH=0), processes=2))
    check(run_main(*opts(TRAIN__GLOBAL_BATCH=0, TRAIN__EPOCHS=3)))

    log = (tmp_path / "output/tiny/default/log.txt").read_text()
    assert "8 images an update = 2 process(es) x 1 accumulation step(s)" in log
    assert "8 images an update = 1 process(es) x 2 accumulation step(s)" in log


def test_evaluation_is_the_same_on_any_number_of_processes(opts, run_main, tmp_path):
    check(run_main(*opts()))
    checkpoint = str(tmp_path / "output/tiny/default/weights/last.safetensors")

    results = [
        run_main("--eval", "--resume", checkpoint, *opts(), processes=processes) for processes in (0, 2, 3)
    ]

    lines = []
    for result in results:
        check(result)
        lines += result.stdout.splitlines()
    assert len(lines) == 3  # one a run, by the main process
    assert lines[0] == lines[1] == lines[2]
    assert "(20 images)" in lines[0]


def test_a_mistake_is_said_by_every_process_without_a_traceback(opts, run_main):
    result = run_main(*opts(DATA__DATA_PATH="/nowhere"), processes=2)

    assert result.returncode != 0
    assert "[rank 0] error: " in result.stderr
    assert "/nowhere" in result.stderr
    assert not own_traceback(result.stderr)


def test_a_mistake_of_one_process_ends_all_without_a_traceback(opts, run_main, digits, tmp_path):
    """Only the process that gets the damaged image sees it; the other one finds its peer gone, or is ended."""
    data = Path(shutil.copytree(digits, tmp_path / "data"))
    (data / "train/digit_1/3.png").write_bytes(b"not an image")

    result = run_main(*opts(DATA__DATA_PATH=str(data), DATA__MAX_BAD_IMAGES=0), processes=2)

    assert result.returncode != 0
    assert len(re.findall(r"\[rank [01]\] error: train/digit_1/3.png: ", result.stderr)) == 1
    assert not own_traceback(result.stderr)
