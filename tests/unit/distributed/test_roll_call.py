"""Whom a process names that has lost another one."""

import threading
import time

import pytest
import torch.distributed as dist

from swin_train.distributed import roll_call
from swin_train.distributed.roll_call import RollCall

GONE = "does not answer: it is dead, hangs, or its network is cut"


@pytest.fixture(autouse=True)
def _less_patience(monkeypatch):
    monkeypatch.setattr(roll_call, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(roll_call, "_BOARD_PATIENCE_S", 0.5)


def test_those_that_have_a_reason_or_say_nothing_are_named():
    store = dist.HashStore()
    RollCall(store, 1, 4).answer("MemoryError: 3 GB")
    RollCall(store, 2, 4).answer("")  # has lost another one itself

    assert RollCall(store, 0, 4).culprits() == ["rank 1: MemoryError: 3 GB", f"rank 3 {GONE}"]


class Unreachable:
    """A store behind a cut cable: it takes what is sent, and never answers."""

    def __init__(self) -> None:
        self.is_over = threading.Event()

    def set(self, key: str, value: str) -> None:
        """Take it."""

    def check(self, keys: list[str]) -> bool:
        """Wait for an answer."""
        self.is_over.wait(60)
        return False


def test_a_board_that_gives_no_answer_is_named_in_time():
    store, start = Unreachable(), time.monotonic()

    named = RollCall(store, 1, 2).culprits()

    store.is_over.set()
    assert named == [f"the process that holds the meeting point, usually rank 0, {GONE}"]
    assert time.monotonic() - start < 10


def test_a_board_that_is_gone_is_named():
    class Gone(Unreachable):
        def check(self, keys: list[str]) -> bool:
            """Fail as torch's does."""
            raise RuntimeError("Connection reset by peer")

    assert RollCall(Gone(), 1, 2).culprits() == [
        f"the process that holds the meeting point, usually rank 0, {GONE}"
    ]
