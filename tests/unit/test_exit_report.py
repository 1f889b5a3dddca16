"""exit.json: the first cause of a launch stays, what only follows gives way, and nothing fails because of it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from swin_train.errors import (
    DataError,
    LockLost,
    NumericsError,
    PeerLost,
    Stopped,
    StorageError,
    UserError,
)
from swin_train.exit_report import EXIT_FILE, exit_status, report_exit, report_to_launcher


def told(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    return report


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exit.json"


@pytest.fixture
def attempt(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the environment of a rank that torchrun started the n-th time."""

    def start(number: int, rank: int = 0, local_rank: int = 0) -> None:
        named = {
            "RANK": rank,
            "LOCAL_RANK": local_rank,
            "WORLD_SIZE": 4,
            "TORCHELASTIC_RESTART_COUNT": number,
        }
        named |= {"TORCHELASTIC_RUN_ID": "job", "MASTER_ADDR": "head", "MASTER_PORT": 29500}
        for name, value in named.items():
            monkeypatch.setenv(name, str(value))

    return start


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, 0),
        (UserError("x"), 2),
        (LockLost("x"), 3),
        (NumericsError("x"), 4),
        (DataError("x"), 5),
        (StorageError("x"), 28),
        (OSError(28, "No space left on device", "file"), 28),
        (PeerLost("x"), 1),
        (Stopped("x", 143, is_agreed=True), 143),
        (KeyboardInterrupt(), 130),
        (ValueError("x"), 1),
        (MemoryError(), 1),
        (SystemExit(7), 7),
        (SystemExit(None), 0),
        (SystemExit("a message"), 1),
    ],
)
def test_every_end_has_its_status(error: BaseException | None, status: int, path: Path) -> None:
    assert exit_status(error) == status

    report_exit(path, error)

    assert told(path)["status"] == status


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, "done"),
        (KeyboardInterrupt(), "interrupted"),
        (UserError("MODEL.TYPE is x"), "MODEL.TYPE is x"),
        (ValueError("a bug"), "ValueError: a bug"),
        (OSError(28, "No space left", "f"), "f: cannot be written (No space left); see to free space"),
    ],
)
def test_a_report_says_why_who_and_when(
    error: BaseException | None, reason: str, path: Path, attempt: Any
) -> None:
    attempt(0, rank=3)

    report_exit(path, error, step=7)

    report = told(path)
    assert (report["reason"], report["rank"], report["step"]) == (reason, 3, 7)
    assert report["host"] == os.uname().nodename
    assert report["time"].startswith("2")
    assert list(path.parent.iterdir()) == [path]  # nothing is left beside it


def test_the_first_cause_of_a_launch_stays(path: Path, attempt: Any) -> None:
    attempt(0, rank=2)
    report_exit(path, NumericsError("the first"))
    attempt(0, rank=1)
    report_exit(path, DataError("the second"))
    report_exit(path, PeerLost("what follows"))

    assert (told(path)["reason"], told(path)["rank"]) == ("the first", 2)


def test_what_only_follows_gives_way_to_its_cause(path: Path, attempt: Any) -> None:
    attempt(0, rank=1)
    report_exit(path, PeerLost("what follows"))
    assert told(path)["reason"] == "what follows"
    attempt(0, rank=2)

    report_exit(path, NumericsError("the cause"))

    assert (told(path)["reason"], told(path)["status"]) == ("the cause", 4)


def test_a_signal_to_one_process_gives_way_to_a_cause_alone(path: Path, attempt: Any) -> None:
    """Nobody need have asked: torchrun sends SIGTERM to all when it misses one."""
    signalled = Stopped("by a signal", 143, is_agreed=False)
    for error, status in (
        (PeerLost("follows"), 1),
        (signalled, 143),
        (PeerLost("follows"), 143),
        (DataError("cause"), 5),
        (signalled, 5),
    ):
        attempt(0)
        report_exit(path, error)
        assert told(path)["status"] == status


@pytest.mark.parametrize(("is_agreed", "world_size", "weight"), [(True, 2, 2), (False, 2, 1), (False, 1, 2)])
def test_a_signal_is_the_reason_where_all_obey_it(
    is_agreed: bool, world_size: int, weight: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(world_size))

    report_exit(path, Stopped("by a signal", 143, is_agreed=is_agreed))

    assert told(path)["weight"] == weight


def test_what_follows_is_told_once(path: Path, attempt: Any) -> None:
    for rank in (1, 3):
        attempt(0, rank=rank)
        report_exit(path, PeerLost("lost"))

    assert told(path)["rank"] == 1


@pytest.mark.parametrize("error", [NumericsError("again"), PeerLost("again"), None])
def test_another_start_of_the_processes_overwrites(error: UserError | None, path: Path, attempt: Any) -> None:
    attempt(0)
    report_exit(path, NumericsError("the first start"))
    attempt(1)

    report_exit(path, error)

    assert told(path)["reason"] == ("done" if error is None else "again")


def test_what_a_later_launch_wrote_stays(path: Path, attempt: Any) -> None:
    """Of one that was cut off, and ends long after another has taken the run's folder over."""
    attempt(0)
    report_exit(path, None, owner=2)

    report_exit(path, NumericsError("of the first"), owner=1)
    assert told(path)["reason"] == "done"
    report_exit(path, NumericsError("of the third"), owner=3)
    assert told(path)["reason"] == "of the third"


def test_another_process_that_is_alone_overwrites(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    report_exit(path, NumericsError("of this process"))
    report_exit(path, DataError("of this process too"))
    assert told(path)["reason"] == "of this process"
    monkeypatch.setattr(os, "getpid", lambda: 1)

    report_exit(path, None)

    assert told(path)["reason"] == "done"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"attempt": 1}'])
def test_what_is_no_report_is_overwritten(content: str, path: Path) -> None:
    path.write_text(content)

    report_exit(path, None)

    assert told(path)["reason"] == "done"


def test_a_path_that_cannot_be_written_is_no_further_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    report_exit(tmp_path / "file" / "exit.json", None)
    report_exit(tmp_path / "nowhere" / "exit.json", None)

    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("error", "local_rank", "is_told"),
    [(None, 0, True), (None, 1, False), (DataError("x"), 0, True), (DataError("x"), 1, True)],
)
def test_the_launcher_is_told_where_it_asked(
    error: UserError | None, local_rank: int, is_told: bool, path: Path, attempt: Any, monkeypatch: Any
) -> None:
    attempt(0, rank=local_rank, local_rank=local_rank)
    monkeypatch.setenv(EXIT_FILE, str(path))

    report_to_launcher(error)

    assert path.exists() is is_told


def test_the_launcher_is_not_told_where_it_did_not_ask(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.delenv(EXIT_FILE, raising=False)
    monkeypatch.chdir(tmp_path)

    report_to_launcher(DataError("x"))

    assert list(tmp_path.iterdir()) == []
