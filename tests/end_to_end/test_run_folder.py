"""The folder of a run: what is written, what is kept, and whom it lets in."""

import contextlib
import errno
import itertools
import json
import os
import subprocess
import sys
import threading

import pytest
from run_records import records

import swin_train.engine.commit
from swin_train import load_config, train
from swin_train.config import output_dir
from swin_train.engine.run_folder import RunFolder
from swin_train.errors import StorageError, UserError
from swin_train.weights.manifest import verify_folder


def test_a_failed_save_ends_the_run_and_leaves_older_checkpoints(tiny_opts, monkeypatch):
    real = swin_train.engine.commit.store_tensors

    def full(folder, tensors, group):
        real(folder, tensors, group)
        if "00000010" in str(folder):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(swin_train.engine.commit, "store_tensors", full)
    cfg = load_config(None, tiny_opts())

    with pytest.raises(StorageError, match=r"step-00000010: cannot be written .*No space left.*intact"):
        train(cfg)

    checkpoints = output_dir(cfg) / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000005"]
    verify_folder(checkpoints / "step-00000005")


@pytest.mark.parametrize("call", [1, 2, 3])  # weights, a state, weights
def test_a_file_system_that_does_not_answer_once_costs_no_run(tiny_opts, monkeypatch, call):
    real = RunFolder.check_owner
    calls = itertools.count(1)

    def check_owner(folder):
        if next(calls) == call:
            raise OSError(errno.EIO, "Input/output error")
        real(folder)

    monkeypatch.setattr(RunFolder, "check_owner", check_owner)
    folder = train(load_config(None, tiny_opts())).folder

    assert (folder / "checkpoints/step-00000010").is_dir()
    assert "Input/output error" in (folder / "log.txt").read_text()


def test_damaged_checkpoints_ahead_never_cost_a_whole_one(tiny_opts):
    cfg = load_config(None, tiny_opts(SAVE_STEPS=1, SAVE_KEEP=4))
    checkpoints = train(cfg).folder / "checkpoints"
    for name in ("step-00000009", "step-00000010"):
        (checkpoints / name / "train.json").write_text("{}")

    train(load_config(None, tiny_opts(SAVE_STEPS=1, SAVE_KEEP=2)))

    kept = {path.name for path in checkpoints.iterdir()}
    assert kept - {"step-00000005"} == {  # the best of all may stay
        *("damaged-step-00000009", "damaged-step-00000010", "step-00000009", "step-00000010"),
    }
    for folder in checkpoints.glob("step-*"):
        verify_folder(folder)


def test_files_are_readable_by_whom_the_umask_allows(tiny_opts):
    old = os.umask(0o022)
    try:
        folder = train(load_config(None, tiny_opts())).folder
    finally:
        os.umask(old)

    files = [*folder.glob("weights/*"), *folder.glob("checkpoints/*/*")]
    assert len(files) == 2 + 2 * 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o644}


def test_when_no_checkpoint_is_whole_nothing_is_overwritten(tiny_opts):
    cfg = load_config(None, tiny_opts())
    folder = train(cfg).folder
    for manifest in folder.glob("checkpoints/*/MANIFEST.json"):
        manifest.unlink()

    with pytest.raises(UserError, match=r"none of its 2 checkpoint\(s\) is whole"):
        train(cfg)


def test_what_a_crash_left_behind_is_swept_away(tiny_opts):
    cfg = load_config(None, tiny_opts())
    checkpoints = train(cfg).folder / "checkpoints"
    for name in (".tmp-step-00000003", ".trash-step-00000001"):
        (checkpoints / name).mkdir()

    train(cfg)

    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-00000005", "step-00000010"]


def test_every_launch_is_remembered(tiny_opts):
    folder = train(load_config(None, tiny_opts())).folder
    train(load_config(None, tiny_opts(TRAIN__EPOCHS=3)))

    description = json.loads((folder / "run.json").read_text())

    assert [launch["step"] for launch in description["launches"]] == [0, 10]
    assert description["config"]["TRAIN"]["EPOCHS"] == 3
    assert (description["global_batch"], description["precision"], description["device"]) == (
        8,
        "fp32",
        "cpu",
    )
    assert description["plan"]["steps_per_epoch"] == 5


@pytest.mark.parametrize("forever", [0, 3])
def test_the_newest_checkpoints_are_kept_and_the_best_and_those_that_shall_stay(tiny_opts, forever):
    folder = train(load_config(None, tiny_opts(TRAIN__EPOCHS=8, SAVE_KEEP=2, SAVE_FOREVER=forever))).folder

    best = max(records(folder, "val"), key=lambda record: record["top1"])["step"]  # the first of them
    expected = {35, 40, best} | ({15, 30} if forever else set())
    kept = {path.name for path in (folder / "checkpoints").iterdir()}
    assert kept == {f"step-{step:08d}" for step in expected}


def test_a_run_is_not_overwritten_when_it_may_not_be_resumed(tiny_opts):
    train(load_config(None, tiny_opts()))

    with pytest.raises(UserError, match=r"a run is there already and TRAIN\.AUTO_RESUME is off"):
        train(load_config(None, tiny_opts(TRAIN__AUTO_RESUME=False)))


@contextlib.contextmanager
def locked(folder):
    """Hold a run's folder by another process, until its ``stdin`` has a line."""
    hold = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder / "run.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()  # it holds the lock now
        yield process
        if process.poll() is None:
            process.communicate(b"\n")


def test_a_folder_in_use_is_refused_before_anything_is_written(tiny_opts):
    cfg = load_config(None, tiny_opts())
    folder = train(cfg).folder
    before = (folder / "log.txt").read_text()

    with locked(folder), pytest.raises(UserError, match=r"in use by another run \(process \d+ on \S+\)"):
        train(cfg)

    assert (folder / "log.txt").read_text() == before


def test_a_process_that_torchrun_has_replaced_is_waited_for(tiny_opts, monkeypatch):
    """It may still be ending when the new one comes, which is of the same job."""
    cfg = load_config(None, tiny_opts())
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    folder = train(cfg).folder

    with locked(folder) as process:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
        with pytest.raises(UserError, match="in use by another run"):
            train(cfg)
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
        end = threading.Timer(1, process.communicate, [b"\n"])
        end.start()
        train(cfg)
        end.join()

    assert json.loads((folder / "run.lock").read_text())["owner"] == 2


def test_an_output_that_cannot_be_written_is_an_error(tiny_opts, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(UserError, match=r"OUTPUT: .*file/tiny/default cannot be written \(Not a directory\)"):
        train(load_config(None, tiny_opts(OUTPUT=str(tmp_path / "file"))))
