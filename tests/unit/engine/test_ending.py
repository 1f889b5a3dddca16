"""Whatever ends a launch is written down, and a process that only lost another one names it."""

import json
import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from swin_train.distributed import Runtime
from swin_train.distributed.roll_call import RollCall
from swin_train.distributed.signals import StopSignals
from swin_train.engine.ending import Ending
from swin_train.engine.run_folder import RunFolder
from swin_train.errors import NumericsError, PeerLost, Stopped

CPU = torch.device("cpu")


class Board:
    """A roll call that knows the culprits, and notes what is answered."""

    def __init__(self, culprits: Sequence[str]) -> None:
        self.answers: list[str] = []
        self._culprits = list(culprits)

    def answer(self, reason: str) -> None:
        self.answers.append(reason)

    def culprits(self) -> list[str]:
        return self._culprits


def make(
    folder: Path,
    *,
    culprits: Sequence[str] = (),
    rank: int = 0,
    step: int | None = 7,
    signals: StopSignals | None = None,
) -> tuple[Ending, Board]:
    board = Board(culprits)
    runtime = Runtime(CPU, rank=rank, world_size=2, roll_call=cast(RollCall, board))
    run_folder = cast(RunFolder, SimpleNamespace(path=folder, owner=1))
    ending = Ending(run_folder, runtime, signals or StopSignals(), 60.0)
    ending.step = step
    return ending, board


def report(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "exit.json").read_text())
    return content


def test_a_launch_that_did_everything_is_reported_by_the_main_process(tmp_path: Path) -> None:
    with make(tmp_path, rank=1)[0].reported():
        pass
    assert list(tmp_path.iterdir()) == []

    with make(tmp_path)[0].reported():
        pass

    assert (report(tmp_path)["status"], report(tmp_path)["reason"], report(tmp_path)["step"]) == (
        0,
        "done",
        7,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["exit.json"]  # no ranks/ without anything to say


def test_an_unexpected_error_leaves_its_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ending, board = make(tmp_path, rank=1)

    with pytest.raises(ZeroDivisionError), ending.reported():
        print(1 / 0)

    text = (tmp_path / "ranks/rank-1.txt").read_text()
    assert text.startswith("Traceback (most recent call last):")
    assert "print(1 / 0)" in text
    assert text.endswith("ZeroDivisionError: division by zero\n")
    assert board.answers == ["ZeroDivisionError: division by zero"]
    assert caplog.messages == ["rank 1 ends after update 7: division by zero"]
    assert caplog.records[0].levelno == logging.ERROR
    assert (report(tmp_path)["status"], report(tmp_path)["step"]) == (1, 7)
    assert report(tmp_path)["reason"] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("error", "status"),
    [(NumericsError("bad\nin two lines"), 4), (Stopped("asked", 143, is_agreed=True), 143)],
)
def test_an_explained_error_leaves_no_traceback(
    error: Exception, status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ending, board = make(tmp_path)

    with pytest.raises(type(error)), ending.reported():
        raise error

    assert not (tmp_path / "ranks").exists()
    assert board.answers == [f"{type(error).__name__}: {str(error).splitlines()[0]}"]
    assert caplog.messages == []  # main.py prints it
    assert (report(tmp_path)["status"], report(tmp_path)["reason"]) == (status, str(error))


def test_ctrl_c_is_reported_without_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), make(tmp_path)[0].reported():
        raise KeyboardInterrupt

    assert report(tmp_path)["status"] == 130
    assert not (tmp_path / "ranks").exists()


@pytest.mark.parametrize("words", ["[gloo] Connection closed by peer", "Timed out waiting 100ms"])
def test_whoever_lost_another_names_it(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    ending, board = make(tmp_path, culprits=["rank 1: ValueError: a bug", "rank 3 does not answer"])
    (tmp_path / "ranks").mkdir()
    (tmp_path / "ranks/rank-1.txt").write_text("Traceback")

    with pytest.raises(PeerLost) as error, ending.reported():
        raise RuntimeError(words)

    message = (
        f"lost another process after update 7: rank 1: ValueError: a bug; rank 3 does not answer; {tmp_path / 'ranks'} "
        f"holds what each wrote down, and the same command goes on from the last checkpoint"
    )
    assert str(error.value) == message
    assert isinstance(error.value.__cause__, RuntimeError)
    assert board.answers == []
    assert caplog.messages == []  # main.py prints it
    assert (report(tmp_path)["status"], report(tmp_path)["reason"]) == (1, message)


def test_a_signal_does_not_cut_short_the_roll_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun sends SIGTERM to those that are left, as soon as it misses one, before the first update too."""
    with StopSignals() as signals:
        ending, board = make(tmp_path, signals=signals, step=None)

        def culprits() -> list[str]:
            os.kill(os.getpid(), signal.SIGTERM)
            return ["rank 1 does not answer"]

        monkeypatch.setattr(board, "culprits", culprits)
        with pytest.raises(PeerLost, match="rank 1 does not answer"), ending.reported():
            raise PeerLost("gone")

    assert report(tmp_path)["status"] == 1


def test_a_rank_file_that_another_launch_took_away_changes_no_end(tmp_path: Path) -> None:
    with make(tmp_path)[0].reported() as ending:
        ending.alive(8)
        ending.pause()
        (tmp_path / "ranks/rank-0.txt").unlink()

    assert report(tmp_path)["status"] == 0


def test_an_error_without_words_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt), make(tmp_path)[0].reported():
        raise KeyboardInterrupt

    assert caplog.messages == ["rank 0 ends after update 7: KeyboardInterrupt"]


def test_a_folder_in_which_nothing_is_written_is_not_named(tmp_path: Path) -> None:
    ending, _ = make(tmp_path, culprits=["rank 1: DataError: a picture is damaged."])

    with pytest.raises(PeerLost) as error, ending.reported():
        raise PeerLost("gone")

    assert str(error.value) == (
        "lost another process after update 7: rank 1: DataError: a picture is damaged; the same command goes on from "
        "the last checkpoint"
    )


def test_where_nobody_can_be_named_the_error_stays(tmp_path: Path) -> None:
    lost = PeerLost("another process of the run has ended or hangs (x)")

    with pytest.raises(PeerLost) as error, make(tmp_path, step=None)[0].reported():
        raise lost

    assert str(error.value) == str(lost)


def test_an_error_after_the_folder_is_gone_is_still_the_error(tmp_path: Path) -> None:
    with pytest.raises(NumericsError, match="bad"), make(tmp_path / "gone")[0].reported():
        raise NumericsError("bad")
