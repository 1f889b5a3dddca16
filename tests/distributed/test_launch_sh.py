"""What scripts/launch.sh makes of the ends of torchrun's processes."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ranks import clean_environment
from run_records import exit_report, launches

TESTS = Path(__file__).resolve().parents[1]
LAUNCH = TESTS.parent / "scripts/launch.sh"


@contextlib.contextmanager
def launched(arguments: Sequence[str], folder: Path, prelude: str = "") -> Iterator[subprocess.Popen[str]]:
    """Start two ranks by scripts/launch.sh; each runs ``prelude`` first, as Python does with a ``sitecustomize``."""
    command = [str(LAUNCH), "--nproc", "2", "--", *arguments]
    env = clean_environment() | {"PYTHON": sys.executable}
    if prelude:
        (folder / "site").mkdir()
        (folder / "site/sitecustomize.py").write_text(f"import os\nif 'RANK' in os.environ:\n    {prelude}\n")
        env["PYTHONPATH"] = os.pathsep.join(map(str, (folder / "site", TESTS, TESTS.parent)))
    with subprocess.Popen(command, env=env, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()  # it passes it on


def test_sigterm_to_launch_sh_ends_with_143(opts, tmp_path):
    run = tmp_path / "output/tiny/ended"
    endless = opts(TRAIN__EPOCHS=10_000, TAG="ended")
    with launched(endless, tmp_path) as process:
        while not (run / "checkpoints/step-00000003").is_dir():
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        said = process.communicate(timeout=60)[1]

    assert process.returncode == 143, said
    assert exit_report(run)["status"] == 143
    assert "launch.sh: the run ended with status 143: stopped by a signal" in said


def test_a_process_that_dies_before_the_first_update_is_torchruns_to_restart(opts, tmp_path):
    """torchrun sends SIGTERM to the other one, which nobody asked to stop."""
    killed = str(tmp_path / "killed")
    fault = f"'swin_train.engine.train.make_plan', faults.kill(), rank=1, once={killed!r}"
    brief = opts(TRAIN__EPOCHS=1, TRAIN__WARMUP_EPOCHS=0, TAG="brief")
    with launched(brief, tmp_path, f"import faults; faults.before_call({fault})") as process:
        said = process.communicate(timeout=90)[1]

    assert Path(killed).exists()
    assert process.returncode == 0, said
    assert launches(tmp_path / "output/tiny/brief") == [0]
    assert exit_report(tmp_path / "output/tiny/brief")["status"] == 0


def test_numbers_that_went_bad_end_launch_sh_with_4_and_are_not_tried_again(opts, tmp_path):
    bad = {
        "TRAIN__BASE_LR": 1e30,
        "TRAIN__WARMUP_EPOCHS": 0,
        "TRAIN__CLIP_GRAD": 0,
        "TRAIN__MAX_BAD_STEPS": 0,
    }
    with launched(opts(**bad, TAG="bad"), tmp_path) as process:
        said = process.communicate(timeout=60)[1]

    assert process.returncode == 4, said
    assert "launch.sh: status 4: not started again" in said
    assert len(launches(tmp_path / "output/tiny/bad")) == 1
