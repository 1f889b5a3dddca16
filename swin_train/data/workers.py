"""Worker processes that turn requests into batches, and what becomes of their losses."""

import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from swin_train.data.images import EvalImages, Loaded, TrainImages
from swin_train.data.sampler import BatchRequest
from swin_train.data.shared_batches import Message, Orders, SharedBatches, Slots
from swin_train.data.watch import Watch, at_work, kill_workers
from swin_train.errors import DataError

_IN_USE = 4  # batches that the main process may hold before workers must send theirs as messages
_FORKS = sys.platform == "linux"
_TIMEOUT_S = 300  # a worker that needs longer for a batch hangs, for example on a network disk that is gone


@dataclass(frozen=True)
class WorkerOptions:
    """How batches are prepared.

    Attributes:
        num_workers: processes; 0 works in the calling one.
        prefetch: batches that each process prepares ahead.
        pin_memory: whether batches lie in page-locked memory, from which copies to a GPU can overlap.
        batch_bytes: of the images of the largest batch; 0: not known, and batches are sent as messages.
    """

    num_workers: int
    prefetch: int
    pin_memory: bool
    batch_bytes: int = 0


class Workers:
    """Worker processes that are started at the first pass and kept for all later ones."""

    def __init__(
        self, images: TrainImages | EvalImages, requests: Sampler[BatchRequest], options: WorkerOptions
    ) -> None:
        parallel: dict[str, Any] = {}
        if options.num_workers:
            parallel = {
                "num_workers": options.num_workers,
                "prefetch_factor": options.prefetch,
                "persistent_workers": True,
                "timeout": _TIMEOUT_S,
                "worker_init_fn": _start_worker,
                # said here, because Python 3.14 changes its default to one that imports torch in each worker
                "multiprocessing_context": "fork" if _FORKS else None,
            }
        slots = None
        if options.num_workers and options.batch_bytes and _FORKS:
            slots = Slots(options.num_workers * options.prefetch + _IN_USE, options.batch_bytes)
        images = replace(images, note=Watch(images.source, options.num_workers))
        self._options = options
        self._loader: DataLoader[Loaded | DataError | Message] = DataLoader(
            SharedBatches(images, slots),
            sampler=Orders(requests, slots),
            batch_size=None,  # a request is already a whole batch
            collate_fn=_as_it_is,
            pin_memory=options.pin_memory,
            generator=torch.Generator(),  # or each pass would advance the global generator
            **parallel,
        )

    def __iter__(self) -> Iterator[Loaded]:
        # from here these say that a pipe to a worker broke; anywhere else they have nothing to do with workers
        broken_pipe = (EOFError, ConnectionError) if self._options.num_workers else ()
        with _reported_losses((RuntimeError, *broken_pipe)):
            for loaded in self._loader:
                if isinstance(loaded, DataError):
                    # A new one: an exception kept by its own frame is a cycle, and workers that the garbage
                    # collector finds in one take 5 s to stop.
                    raise DataError(str(loaded))
                yield loaded


def reported_worker_losses() -> AbstractContextManager[None]:
    """Turn DataLoader's words that a worker process died or hangs into a DataError that says what to do.

    DataLoader says so from a signal handler, that is, in the middle of whatever runs; so whoever uses a feed
    does so inside of this. All other errors pass.
    """
    return _reported_losses((RuntimeError,))


@contextmanager
def _reported_losses(kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        message = worker_loss(error)
        if message is None:
            raise
        raise DataError(message) from error


def worker_loss(error: Exception) -> str | None:
    """What to tell the user if ``error`` says that a worker process died or hangs, otherwise None."""
    text = " ".join(str(error).split())
    if isinstance(error, EOFError | ConnectionError):
        is_loss = not text.startswith("Caught ")  # a worker's own exception, which DataLoader hands on
    else:
        is_loss = text.startswith(("DataLoader worker (pid", "DataLoader timed out"))
    if not is_loss:
        return None
    images = at_work(text)
    if "timed out" in text:
        kill_workers()
        return (
            f"Data loading: a worker process hangs ({text}{images}). Is the disk or the network that holds the "
            "images gone?"
        )
    return (
        f"Data loading: a worker process was lost ({text or type(error).__name__}{images}). Often memory "
        "is full: lower DATA.NUM_WORKERS or DATA.PREFETCH. DATA.NUM_WORKERS 0 loads in the main "
        "process."
    )


def _start_worker(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process decides
    torch.set_num_threads(1)


def _as_it_is(loaded: Any) -> Any:
    """Instead of DataLoader's default, which would take the named tuple apart."""
    return loaded
