"""Worker processes that turn requests into batches, and what becomes of their losses."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from swin_train.data.images import EvalImages, Loaded, TrainImages
from swin_train.data.sampler import BatchRequest
from swin_train.data.shared_batches import Message, Orders, SharedBatches, Slots
from swin_train.data.watch import (
    FORKS,
    Seen,
    Watch,
    kill_workers,
    starting_workers,
    without_child_signal,
    workers_seen,
)
from swin_train.errors import DataError, WorkerLost

_IN_USE = 4  # batches that the main process may hold before workers must send theirs as messages
_NAMED = 5  # workers in a message
_DIES_WITHIN_S = 1  # a worker whose pipe broke


@dataclass(frozen=True)
class WorkerOptions:
    """How batches are prepared.

    Attributes:
        num_workers: processes; 0 works in the calling one.
        prefetch: batches that each process prepares ahead.
        pin_memory: whether batches lie in page-locked memory, from which copies to a GPU can overlap.
        timeout_s: a process that needs longer for a batch hangs.
        batch_bytes: of the images of the largest batch; 0: not known, and batches are sent as messages.
    """

    num_workers: int
    prefetch: int
    pin_memory: bool
    timeout_s: float
    batch_bytes: int = 0


class Workers:
    """Worker processes that are started at the first pass and kept for all later ones.

    They end with the thread that begins the first pass.
    """

    def __init__(
        self, images: TrainImages | EvalImages, requests: Sampler[BatchRequest], options: WorkerOptions
    ) -> None:
        watch = Watch(images.source, options.num_workers)
        parallel: dict[str, Any] = {}
        if options.num_workers:
            parallel = {
                "num_workers": options.num_workers,
                "prefetch_factor": options.prefetch,
                "persistent_workers": True,
                "timeout": options.timeout_s,
                "worker_init_fn": watch.begin,
                # said here, because Python 3.14 changes its default to one that imports torch in each worker
                "multiprocessing_context": "fork" if FORKS else None,
            }
        slots = None
        if options.num_workers and options.batch_bytes and FORKS:
            slots = Slots(options.num_workers * options.prefetch + _IN_USE, options.batch_bytes)
        images = replace(images, note=watch)
        self._num_workers = options.num_workers
        self._has_started = False
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
        broken_pipe = (EOFError, ConnectionError) if self._num_workers else ()
        with _reported_losses((RuntimeError, *broken_pipe)):
            for loaded in self._results():
                if isinstance(loaded, DataError):
                    # A new one: an exception kept by its own frame is a cycle, and workers that the garbage
                    # collector finds in one take 5 s to stop.
                    raise DataError(str(loaded))
                yield loaded

    def _results(self) -> Iterator[Loaded | DataError]:
        if self._has_started or not self._num_workers:
            return iter(self._loader)
        self._has_started = True
        try:
            with starting_workers():
                return iter(self._loader)
        except (OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "can't start new thread" not in str(error):
                raise
            raise DataError(
                f"Data loading: {self._num_workers} worker processes cannot be started ({error}). Free what is full "
                "(memory, /dev/shm, or a limit of ulimit -a), or lower DATA.NUM_WORKERS; 0 loads in the main process."
            ) from error


def reported_worker_losses() -> AbstractContextManager[None]:
    """Turn DataLoader's words that a worker process died or hangs into a WorkerLost that says what to do.

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
        raise WorkerLost(message) from error


def worker_loss(error: Exception) -> str | None:
    """What to tell the user if ``error`` says that a worker process died or hangs, otherwise None.

    The workers that hang are ended.
    """
    text = " ".join(str(error).split())
    if hang := re.match(r"DataLoader timed out after ([\d.]+) seconds", text):
        with without_child_signal():
            workers = workers_seen()
            kill_workers()
        return _hang(hang[1], [worker for worker in workers if worker.is_busy] or workers)
    if isinstance(error, EOFError | ConnectionError):
        is_loss = not text.startswith("Caught ")  # a worker's own exception, which DataLoader hands on
    else:
        is_loss = text.startswith("DataLoader worker (pid")
    if not is_loss:
        return None
    with without_child_signal():
        return _loss(text or type(error).__name__)


def _hang(seconds: str, workers: list[Seen]) -> str:
    shown = ", ".join(map(str, workers[:_NAMED])) + (" ..." if len(workers) > _NAMED else "")
    return (
        f"Data loading: no batch came for {seconds} s, which is DATA.TIMEOUT_S; waiting for {shown or 'a worker'}. Is "
        "the disk or the network that holds the images gone? Raise DATA.TIMEOUT_S where they are only slow."
    )


def _loss(text: str) -> str:
    """The message for DataLoader's ``text``, which may name processes."""
    lost = _lost(
        {int(pid) for pid in re.findall(r"\d+", " ".join(re.findall(r"\(pid[^)]*\)?[ \d,]*", text)))}
    )
    if lost is None:
        return f"Data loading: a worker process was lost ({text}). {_REMEDY}"
    code = lost.exit_code
    if code is None or code >= 0:
        how = "ended" if code is None else f"ended with status {code}"
        return f"Data loading: {lost} {how}. DATA.NUM_WORKERS 0 loads in the main process, which shows why."
    if -code == signal.SIGKILL:
        return f"Data loading: {lost} was killed by SIGKILL. {_REMEDY}"
    return (
        f"Data loading: {lost} was killed by {signal.Signals(-code).name}. A library may have crashed at that image: "
        "look at it, or try another DATA.PIPELINE."
    )


_REMEDY = "Often memory is full: lower DATA.NUM_WORKERS or DATA.PREFETCH. DATA.NUM_WORKERS 0 loads in the main process."


def _lost(named: set[int]) -> Seen | None:
    """The worker among the ``named`` processes, or else one that has died, if it can be told."""
    deadline = time.monotonic() + _DIES_WITHIN_S
    while True:
        workers = workers_seen()
        dead = [worker for worker in workers if worker.exit_code]
        found = [worker for worker in workers if worker.pid in named] or dead
        if found or not workers or time.monotonic() > deadline:
            return found[0] if found else None
        time.sleep(0.01)  # its pipe broke a moment before it was dead


def _as_it_is(loaded: Any) -> Any:
    """Instead of DataLoader's default, which would take the named tuple apart."""
    return loaded
