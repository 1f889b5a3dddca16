"""A process whose launcher is gone is ended."""

import logging
import os
import time
from pathlib import Path

import pytest

import swin_train.distributed.launcher
from swin_train.distributed.launcher import ending_with_launcher, is_under_torchrun, warn_of_shared_store
from swin_train.errors import LockLost


def test_torchrun_is_known_by_its_environment() -> None:
    assert is_under_torchrun({"TORCHELASTIC_RUN_ID": "none"})
    assert not is_under_torchrun({"RANK": "0", "WORLD_SIZE": "2"})


@pytest.mark.parametrize(
    ("environment", "is_said"),
    [
        ({}, False),
        ({"TORCHELASTIC_MAX_RESTARTS": "0"}, False),
        ({"TORCHELASTIC_MAX_RESTARTS": "3"}, True),
        ({"TORCHELASTIC_MAX_RESTARTS": "3", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "0"}, True),
        ({"TORCHELASTIC_MAX_RESTARTS": "3", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}, False),
    ],
)
def test_restarts_that_would_meet_the_dead_are_warned_of(
    environment: dict[str, str], is_said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_shared_store(environment)

    message = (
        "torchrun may restart this run (--max-restarts 3), which often fails unless TORCH_DISABLE_SHARE_RDZV_TCP_STORE "
        "is 1; set it, or start with scripts/launch.sh"
    )
    assert caplog.messages == ([message] if is_said else [])
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def orphan(told: Path, seconds: float) -> None:
    """Leave a process that watches its parent, which ends at once; it writes down what it is told."""
    agent = os.fork()
    if agent:
        os.waitpid(agent, 0)
        return
    agent = os.getpid()
    reader, writer = os.pipe()
    if os.fork():
        os.read(reader, 1)  # until the other watches
        os._exit(0)

    def end(error: LockLost) -> None:
        told.with_name("beside").write_text(f"{error.exit_status} {error}")
        told.with_name("beside").rename(told)

    try:
        with ending_with_launcher(agent, end):
            os.write(writer, b"x")
            time.sleep(seconds)
        if not told.exists():
            told.write_text("not told")
    finally:
        os._exit(0)


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, "nothing was written"
        time.sleep(0.02)
    return path.read_text()


def test_a_process_whose_launcher_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    monkeypatch.setattr(swin_train.distributed.launcher, "_LOOK_EVERY_S", 0.02)

    orphan(tmp_path / "told", seconds=2)

    told = wait_for(tmp_path / "told")
    assert told.startswith("3 launch: torchrun's agent (process ")
    assert told.endswith(") is gone; start the run again")


def test_without_torchrun_no_parent_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setattr(swin_train.distributed.launcher, "_LOOK_EVERY_S", 0.02)

    orphan(tmp_path / "told", seconds=0.3)

    assert wait_for(tmp_path / "told") == "not told"


def test_while_the_launcher_lives_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    monkeypatch.setattr(swin_train.distributed.launcher, "_LOOK_EVERY_S", 0.01)
    told: list[LockLost] = []

    with ending_with_launcher(os.getppid(), told.append):
        time.sleep(0.1)

    assert told == []
