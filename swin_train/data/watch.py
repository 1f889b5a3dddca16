"""The worker processes as the main one sees them: which image each is at, what became of it, how it is ended."""

import atexit
import functools
import mmap
import multiprocessing
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from swin_train.data.formats import ImageSource
from swin_train.data.worker_process import LEFT_TO_PARENT, become_worker

FORKS = sys.platform == "linux"
AT_REST = -1
"""Noted instead of an image by a worker that is done with a batch."""

_DIES_WITHIN_S = 5  # after SIGKILL; one that waits for a disk inside the kernel may take for ever


class Seen(NamedTuple):
    """What is known of a worker process.

    Attributes:
        number: of the worker, counted from 0.
        pid: of its process.
        exit_code: None while it runs; minus the number of the signal that killed it.
        is_busy: whether it is in the middle of a batch.
        place: the end of a phrase that says where it is: "at IMAGE", "after IMAGE".
    """

    number: int
    pid: int
    exit_code: int | None
    is_busy: bool
    place: str

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.pid}) {self.place}"


class Watch:
    """Memory that workers share with the main process, in which each notes the image it is at.

    Args:
        source: of the images.
        num_workers: processes; without any, nothing is noted.
    """

    def __init__(self, source: ImageSource, num_workers: int) -> None:
        self._source = source
        self._notes = _shared(num_workers, 3)  # process (0: none yet), image, whether at work on it
        self._notes[:, 1] = -1
        _watches.add(self)

    def begin(self, worker: int) -> None:
        """Called first in a worker process."""
        become_worker()
        self._notes[worker, 0] = os.getpid()

    def __call__(self, image: int) -> None:
        """Note, in a worker process, that it goes on to this image, or is ``AT_REST``."""
        worker = get_worker_info()
        if worker is None:
            return
        if image != AT_REST:
            self._notes[worker.id, 1] = image
        self._notes[worker.id, 2] = image != AT_REST

    def seen(self) -> list[Seen]:
        """What is known of each worker that has begun."""
        exit_codes = {process.pid: process.exitcode for process in _processes}
        return [
            Seen(number, pid, exit_codes.get(pid), bool(is_busy), self._place(image, is_busy))
            for number, (pid, image, is_busy) in enumerate(self._notes.tolist())
            if pid
        ]

    def _place(self, image: int, is_busy: int) -> str:
        if image < 0:
            return "before its first image"
        return f"{'at' if is_busy else 'after'} {self._source.name(image)}"


def _shared(*shape: int) -> Tensor:
    """Zeros that child processes share; where they are forked, nothing is taken from /dev/shm for them."""
    numbers = torch.zeros(shape, dtype=torch.int64)
    if not FORKS:
        return numbers.share_memory_()
    memory = np.frombuffer(mmap.mmap(-1, max(1, numbers.nbytes)), np.int64, numbers.numel())
    return torch.from_numpy(memory).view(shape)


_watches: "weakref.WeakSet[Watch]" = weakref.WeakSet()
_processes: "weakref.WeakSet[BaseProcess]" = weakref.WeakSet()


def workers_seen() -> list[Seen]:
    """What is known of all workers that have begun."""
    return [worker for watch in _watches for worker in watch.seen()]


@contextmanager
def starting_workers() -> Iterator[None]:
    """Watch over the processes that are started inside.

    Signals that workers ignore are held meanwhile, so that none kills a worker that is not yet ready to.
    """
    _kill_at_exit()
    others = set(multiprocessing.active_children())
    held = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_PARENT)
    try:
        yield
    finally:
        _processes.update(set(multiprocessing.active_children()) - others)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


@functools.cache
def _kill_at_exit() -> None:
    # Runs before multiprocessing's own, which sends SIGTERM, which workers ignore, and waits for them for ever.
    atexit.register(kill_workers)


def kill_workers() -> None:
    """End every worker process, whatever it does; one that is stopped would keep this one from ending."""
    with without_child_signal():
        left = [child for child in multiprocessing.active_children() if child in _processes]
        for child in left:
            child.kill()
        deadline = time.monotonic() + _DIES_WITHIN_S
        while left and time.monotonic() < deadline:
            time.sleep(0.005)
            left = [child for child in left if not _is_dead(child)]
        # A disk that is gone may hold them in the kernel: multiprocessing would wait for them at our end, for ever.
        multiprocessing.process._children.difference_update(left)  # type: ignore[attr-defined]


def _is_dead(child: BaseProcess) -> bool:
    """Leave the dead to DataLoader and multiprocessing, which ask for them."""
    assert child.pid is not None
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


@contextmanager
def without_child_signal() -> Iterator[None]:
    """Keep DataLoader's handler, which would raise again at whatever is being done, from hearing of a death."""
    if threading.current_thread() is not threading.main_thread():  # which alone runs handlers
        yield
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)
