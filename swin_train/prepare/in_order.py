"""Work in threads, results in order. Reading, hashing, decoding and writing release Python's lock."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_AHEAD = 2  # pieces of work for each thread that are begun before the first one's result is taken


class Stopped(Exception):
    """The work is given up: another piece failed, or the user asked to stop."""


def in_order(work: Callable[[T, Event], R], pieces: Iterable[T], threads: int) -> Generator[R]:
    """Yield ``work(piece, stop)`` for every piece, in their order.

    After an error, Ctrl-C included, ``stop`` is set: ``work`` should look at it often and raise ``Stopped``.
    """
    stop, waiting = Event(), deque[Future[R]]()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for piece in pieces:
                waiting.append(pool.submit(work, piece, stop))
                if len(waiting) >= _AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
