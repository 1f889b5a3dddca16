"""A process that is not heard of is lost, and one that takes long, has left, or was suspended with all is not."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch.distributed as dist

from swin_train.distributed.heartbeat import Heartbeat

PATIENCE_S = 0.4
GONE = "does not answer: it is dead, hangs, or its network is cut"
BOARD = f"the process that holds the meeting point, usually rank 0, {GONE}"


@contextmanager
def beating(store: dist.Store, rank: int, world_size: int) -> Iterator[list[list[str]]]:
    """Give what the process was told."""
    told: list[list[str]] = []
    with Heartbeat(store, rank, world_size).ending_without(PATIENCE_S, told.append):
        yield told


def until(told: list[list[str]]) -> None:
    deadline = time.monotonic() + 20
    while not told:
        assert time.monotonic() < deadline, "nobody was missed"
        time.sleep(0.01)


def test_those_that_beat_are_not_missed() -> None:
    store = dist.HashStore()
    with beating(store, 0, 3) as main, beating(store, 1, 3) as one, beating(store, 2, 3) as two:
        time.sleep(3 * PATIENCE_S)

    assert main == one == two == []


def test_one_that_has_done_its_work_is_not_missed() -> None:
    store = dist.HashStore()
    with beating(store, 0, 2) as main:
        with beating(store, 1, 2):
            pass
        time.sleep(3 * PATIENCE_S)

    assert main == []


def test_the_main_process_misses_any_other() -> None:
    store = dist.HashStore()
    with beating(store, 0, 3) as main, beating(store, 2, 3) as two:
        until(main)

    assert main == [[f"rank 1 {GONE}"]]
    assert two == []  # it looks at the main process alone


def test_others_miss_the_main_process() -> None:
    with beating(dist.HashStore(), 1, 2) as one:
        until(one)

    assert one == [[f"rank 0 {GONE}"]]


class Unreachable:
    """A store that answers as long as ``is_cut`` is not set, and then never."""

    def __init__(self) -> None:
        self.is_cut, self.is_over = threading.Event(), threading.Event()
        self._count = 0

    def add(self, key: str, amount: int) -> int:
        """Count for all processes at once."""
        if self.is_cut.is_set():
            self.is_over.wait(60)
        self._count += 1
        return self._count


def test_a_store_behind_a_cut_cable_is_missed_and_does_not_hold_up_the_end() -> None:
    store = Unreachable()
    with beating(store, 1, 2) as one:  # type: ignore[arg-type]
        time.sleep(2 * PATIENCE_S)
        assert one == []
        store.is_cut.set()
        until(one)
        start = time.monotonic()

    assert time.monotonic() - start < 10
    store.is_over.set()
    assert one == [[BOARD]]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_store_that_is_gone_with_its_process_is_missed(rank: int) -> None:
    class Gone:
        def add(self, key: str, amount: int) -> int:
            """Fail as torch's does."""
            raise RuntimeError("Connection reset by peer")

    with beating(Gone(), rank, 2) as told:  # type: ignore[arg-type]
        until(told)

    assert told == [[BOARD]]
