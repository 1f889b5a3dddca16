"""Disks that are full for real: a limit on the size of files, and a file system of a few MB."""

import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from run_records import exit_report

from swin_train import load_config, train
from swin_train.config import output_dir
from swin_train.weights.manifest import verify_folder

TRAIN = ("train", "--cfg", "swin_tiny_patch4_window7_224", "--opts")


def test_a_file_that_may_not_grow_ends_the_run_and_leaves_older_checkpoints(
    tiny_opts: Callable, main_command: Callable, main_environment: Callable
) -> None:
    """The kernel refuses in the middle of a write, with EFBIG where SIGXFSZ is ignored."""
    train(load_config(None, tiny_opts()))
    opts = tiny_opts(TRAIN__EPOCHS=3, SAVE_MAX_FAILURES=1)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))

    result = subprocess.run(
        main_command(*TRAIN, *opts), capture_output=True, text=True, env=main_environment(), preexec_fn=limit
    )

    assert result.returncode == 28, result.stderr[-2000:]
    assert "File too large" in result.stderr
    cfg = load_config(None, opts)
    checkpoints = output_dir(cfg) / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-00000005", "step-00000010"]
    for state in checkpoints.iterdir():
        verify_folder(state)
    assert exit_report(output_dir(cfg))["status"] == 28


def _can_mount() -> bool:
    command = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


mounts = pytest.mark.skipif(not _can_mount(), reason="may not mount a file system")


def in_namespace(script: str, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a shell script whose mounts nobody else sees; ``"$@"`` is main.py's command line."""
    command = ["unshare", "-m", "sh", "-c", f"set -e; {script}", "sh", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=200, check=False)


@mounts
def test_a_file_system_that_fills_up_ends_the_run_with_its_status(
    tiny_opts: Callable, main_command: Callable, main_environment: Callable, tmp_path: Path
) -> None:
    """2 MB hold the checkpoints of some epochs; the run keeps all of them until there is no room."""
    opts = tiny_opts(TRAIN__EPOCHS=30, SAVE_KEEP=99, SAVE_MAX_FAILURES=1)
    (tmp_path / "output").mkdir()
    script = f'mount -t tmpfs -o size=2m none {tmp_path}/output; status=0; "$@" || status=$?; ' + (
        f"cp -r {tmp_path}/output {tmp_path}/kept; exit $status"
    )
    result = in_namespace(script, *main_command(*TRAIN, *opts), env=main_environment())

    assert result.returncode == 28, result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "cannot be written (" in last
    assert last.endswith(("older checkpoints are intact", "see to free space"))
    states = sorted((tmp_path / "kept/tiny/default/checkpoints").glob("step-*"))
    assert len(states) > 2
    for state in states:
        verify_folder(state)


@mounts
def test_a_file_system_that_is_read_only_is_said_before_anything_is_trained(
    tiny_opts: Callable, main_command: Callable, main_environment: Callable, tmp_path: Path
) -> None:
    (tmp_path / "output").mkdir()
    script = f'mount -t tmpfs -o ro none {tmp_path}/output; exec "$@"'

    result = in_namespace(script, *main_command(*TRAIN, *tiny_opts()), env=main_environment())

    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == (
        f"error: OUTPUT: {tmp_path}/output/tiny/default cannot be written (Read-only file system); name another folder "
        f"with --output"
    )
