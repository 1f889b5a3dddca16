"""Threads instead of worker processes: for a back end whose work is done outside of the interpreter's lock."""

import atexit
import functools
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from typing import Protocol

from torch.utils.data import Sampler

from swin_train.data.formats import ImageSource
from swin_train.data.images import Loaded
from swin_train.data.sampler import BatchRequest
from swin_train.errors import DataError, WorkerLost

_NAMED = 5  # images in a message
_AT_ONCE = 2  # batches in preparation: one is drawn and laid out while the other is decoded
_ENDS_WITHIN_S = 5  # at the end of the process: the batches in work are waited for, one that hangs is not


class Images(Protocol):
    """What the threads call."""

    source: ImageSource

    def __call__(self, request: BatchRequest) -> Loaded | DataError:
        """The batch of a request, or why there is none."""


class Threads:
    """Batches prepared ahead by threads of this process.

    Args:
        images: turns a request into a batch; called from several threads at once.
        requests: which batches.
        prefetch: batches that are prepared ahead.
        timeout_s: a batch that takes longer hangs.
    """

    def __init__(
        self,
        images: Images,
        requests: Sampler[BatchRequest],
        prefetch: int,
        timeout_s: float,
    ) -> None:
        self._images = images
        self._requests = requests
        self._prefetch = prefetch
        self._timeout_s = timeout_s

    def __iter__(self) -> Iterator[Loaded]:
        crew = _Crew(self._images)
        pending: deque[tuple[BatchRequest, Future[Loaded | DataError]]] = deque()
        try:
            for request in self._requests:
                pending.append((request, crew.submit(request)))
                if len(pending) > self._prefetch:
                    yield self._result(*pending.popleft())
            while pending:
                yield self._result(*pending.popleft())
        finally:
            crew.dismiss()

    def _result(self, request: BatchRequest, future: "Future[Loaded | DataError]") -> Loaded:
        try:
            loaded = future.result(self._timeout_s)
        except NotDone:
            raise WorkerLost(
                f"Data loading: no batch came for {self._timeout_s} s, which is DATA.TIMEOUT_S; waiting for one of "
                f"{self._names(request)}. Is the disk or the network that holds them gone? Raise DATA.TIMEOUT_S where "
                "it is only slow."
            ) from None
        if isinstance(loaded, DataError):
            raise loaded
        return loaded

    def _names(self, request: BatchRequest) -> str:
        names = [self._images.source.name(image) for image in request.indices[:_NAMED].tolist()]
        return ", ".join(names) + (" ..." if len(request.indices) > _NAMED else "")


class _Crew:
    """Threads that work off requests in order; daemons, as those of an executor keep a process from ending.

    Args:
        images: turns a request into a batch.
    """

    def __init__(self, images: Images) -> None:
        self._orders: queue.SimpleQueue[tuple[BatchRequest, Future[Loaded | DataError]] | None] = (
            queue.SimpleQueue()
        )
        self.threads = [
            threading.Thread(target=self._work, args=(images,), name=f"batches {number}", daemon=True)
            for number in range(_AT_ONCE)
        ]
        _dismiss_at_exit()
        _crews.add(self)
        for thread in self.threads:
            thread.start()

    def submit(self, request: BatchRequest) -> "Future[Loaded | DataError]":
        """What will be the batch of a request."""
        future: Future[Loaded | DataError] = Future()
        self._orders.put((request, future))
        return future

    def dismiss(self) -> None:
        """Have the threads end after the batches that they are at; the others are not begun."""
        try:
            while True:
                self._orders.get_nowait()
        except queue.Empty:
            for _ in self.threads:
                self._orders.put(None)

    def _work(self, images: Images) -> None:
        while (order := self._orders.get()) is not None:
            request, future = order
            try:
                future.set_result(images(request))
            except BaseException as error:  # to be raised where the result is asked for
                future.set_exception(error)
            del order, request, future  # or a batch would be kept until there is another


_crews: "weakref.WeakSet[_Crew]" = weakref.WeakSet()


@functools.cache
def _dismiss_at_exit() -> None:
    atexit.register(_dismiss_all)


def _dismiss_all() -> None:
    """Let no thread come back into an interpreter that is being taken down, which can abort the process."""
    deadline = time.monotonic() + _ENDS_WITHIN_S
    crews = list(_crews)
    for crew in crews:
        crew.dismiss()
    for thread in (thread for crew in crews for thread in crew.threads):
        thread.join(max(0, deadline - time.monotonic()))
