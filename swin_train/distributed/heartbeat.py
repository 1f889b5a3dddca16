"""Whether the other processes are still there, also while one of them may be waited for long.

A collective that waits for a process which writes for minutes cannot tell it from one whose machine is gone. So each
process counts up on a store, from a thread of its own, and looks whether others do: the main process at all of them,
they at the main one, so that one store serves many.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch.distributed as dist

from swin_train.distributed.roll_call import NO_BOARD, NO_RANK

_BEATS = 8  # that are missed before a process is given up
_LONGEST_S = 5.0  # between two
_LEFT = 1 << 40  # added to the count of a process that has done its work; nobody waits for it any more
_LEAVE_S = 1.0  # for telling so


class Heartbeat:
    """The counts of all processes on a store.

    Args:
        store: of the launch; nobody else uses this object, since an answer that never comes blocks it.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, store: dist.Store, rank: int, world_size: int) -> None:
        self._store, self._rank = store, rank
        self._watched = list(range(1, world_size)) if rank == 0 else [0]

    @contextmanager
    def ending_without(self, patience_s: float, end: Callable[[list[str]], None]) -> Iterator[None]:
        """Call ``end`` from a thread of its own when another process has not been heard of for ``patience_s``.

        A time in which this process itself stood still, as one that a scheduler suspends, does not count.

        Args:
            patience_s: seconds.
            end: ends the process; is given who is lost, as ``RollCall.culprits`` says it.
        """
        every_s = min(patience_s / _BEATS, _LONGEST_S)
        watch = _Watch(self._watched, round(patience_s / every_s))
        is_over = threading.Event()

        def beat() -> None:
            try:
                while not is_over.wait(every_s):
                    self._store.add(str(self._rank), 1)
                    watch.note({rank: self._store.add(str(rank), 0) for rank in self._watched})
                self._store.add(str(self._rank), _LEFT)
            except RuntimeError:  # the store is gone with the process that held it, which will be missed
                return

        def look() -> None:
            while not is_over.wait(every_s):
                if lost := watch.lost():
                    end(lost)
                    return

        threads = [threading.Thread(target=work, name="heartbeat", daemon=True) for work in (beat, look)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            is_over.set()
            threads[0].join(_LEAVE_S)  # not for ever: behind a cut cable the store gives no answer


class _Watch:
    """Who was last heard of how many looks ago."""

    def __init__(self, ranks: list[int], patience: int) -> None:
        self._patience = patience
        self._counts = dict.fromkeys(ranks, 0)
        self._silent = dict.fromkeys(ranks, 0)
        self._unanswered = 0  # by the store

    def note(self, counts: dict[int, int]) -> None:
        """Take what the store says that each has counted."""
        self._unanswered = 0
        for rank, count in counts.items():
            if count != self._counts[rank] or count >= _LEFT:
                self._counts[rank], self._silent[rank] = count, 0

    def lost(self) -> list[str]:
        """Say who was not heard of in too many calls of this."""
        self._unanswered += 1
        for rank in self._silent:
            self._silent[rank] += 1
        if self._unanswered > self._patience:
            return [NO_BOARD]
        return [NO_RANK.format(rank=rank) for rank, looks in self._silent.items() if looks > self._patience]
