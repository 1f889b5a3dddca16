"""Threads instead of worker processes: for a back end whose work is done outside of the interpreter's lock."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDone
from typing import Protocol

from torch.utils.data import Sampler

from swin_train.data.formats import ImageSource
from swin_train.data.images import Loaded
from swin_train.data.sampler import BatchRequest
from swin_train.errors import DataError

_NAMED = 5  # images in a message
_AT_ONCE = 2  # batches in preparation: one is drawn and laid out while the other is decoded


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
        executor = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="batches")
        pending: deque[tuple[BatchRequest, Future[Loaded | DataError]]] = deque()
        try:
            for request in self._requests:
                pending.append((request, executor.submit(self._images, request)))
                if len(pending) > self._prefetch:
                    yield self._result(*pending.popleft())
            while pending:
                yield self._result(*pending.popleft())
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def _result(self, request: BatchRequest, future: "Future[Loaded | DataError]") -> Loaded:
        try:
            loaded = future.result(self._timeout_s)
        except NotDone:
            raise DataError(
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
