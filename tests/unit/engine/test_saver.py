"""Writing beside the training: one state at a time, and whatever goes wrong is told to whoever waits."""

import errno
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import swin_train.engine.commit
from swin_train.distributed.channel import Channel
from swin_train.engine.commit import Commit
from swin_train.engine.saver import Saver
from swin_train.errors import LockLost, StorageError

TENSORS = {"model.a": torch.arange(3.0)}


def make(folder: Path, check_owner: Callable[[], None] = bool) -> Commit:
    return Commit(folder, TENSORS, "{}", 1, 1, check_owner)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A disk whose ``gate`` can be closed, and which is full while ``is_full``."""

    class Disk:
        is_full = False
        gate = threading.Event()

    real = swin_train.engine.commit.store_tensors

    def store(*arguments: Any) -> None:
        assert Disk.gate.wait(30)
        if Disk.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(swin_train.engine.commit, "store_tensors", store)
    Disk.gate.set()
    return Disk


def test_it_writes_beside_and_who_waits_finds_it_done(disk: Any, tmp_path: Path) -> None:
    cleaned = threading.Event()
    saver = Saver(Channel(), after=cleaned.set)
    disk.gate.clear()

    saver.start(make(tmp_path / "step-00000001"))

    assert not (tmp_path / "step-00000001").exists()  # start has not waited
    disk.gate.set()
    assert saver.wait() is None
    assert (tmp_path / "step-00000001").is_dir()
    assert cleaned.is_set()


def test_without_anything_begun_nothing_is_waited_for() -> None:
    assert Saver(Channel(), after=bool).wait() is None


def test_who_does_not_wait_long_is_told(disk: Any, tmp_path: Path) -> None:
    saver = Saver(Channel(), after=bool)
    disk.gate.clear()
    saver.start(make(tmp_path / "step-00000001"))

    with pytest.raises(TimeoutError, match="the checkpoint that is being written did not get done"):
        saver.wait(0.01)

    disk.gate.set()
    assert saver.wait() is None


def test_failures_in_a_row_are_counted_and_said(
    disk: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saver = Saver(Channel(), after=lambda: pytest.fail("nothing was committed"))
    disk.is_full = True

    for number in (1, 2):
        folder = tmp_path / f"step-{number:08d}"
        saver.start(make(folder))
        failure = saver.wait()
        assert isinstance(failure, StorageError)
        assert str(failure) == (
            f"{folder}: cannot be written ([Errno 28] No space left on device); older checkpoints are intact"
        )
        assert saver.failures == number
        assert caplog.records[-1].levelno == logging.WARNING
        assert caplog.records[-1].getMessage() == str(failure)
    assert list(tmp_path.iterdir()) == []


def test_a_success_ends_the_count(disk: Any, tmp_path: Path) -> None:
    saver = Saver(Channel(), after=bool)
    disk.is_full = True
    saver.start(make(tmp_path / "step-00000001"))
    saver.wait()

    disk.is_full = False
    saver.start(make(tmp_path / "step-00000002"))

    assert saver.wait() is None
    assert saver.failures == 0
    assert saver.wait() is None  # the failure before is not told again


@pytest.mark.parametrize("error", [LockLost("taken over"), RuntimeError("a bug")], ids=["lock", "bug"])
def test_other_errors_are_raised_where_it_is_waited_for(tmp_path: Path, error: Exception) -> None:
    def fail() -> None:
        raise error

    saver = Saver(Channel(), after=bool)
    saver.start(make(tmp_path / "step-00000001", fail))

    with pytest.raises(type(error), match=str(error)):
        saver.wait()
    assert saver.failures == 0


def test_what_fails_behind_a_commit_is_raised_too(tmp_path: Path) -> None:
    def fail() -> None:
        raise PermissionError("an old checkpoint cannot be deleted")

    saver = Saver(Channel(), after=fail)
    saver.start(make(tmp_path / "step-00000001"))

    with pytest.raises(PermissionError, match="an old checkpoint cannot be deleted"):
        saver.wait()
