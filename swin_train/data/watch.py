"""Which image each worker process is at: what is asked first when one of them dies or hangs."""

import multiprocessing
import os
import re
import signal
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils.data import get_worker_info

from swin_train.data.formats import ImageSource

_NAMED = 5  # images in a message


class Watch:
    """Memory that workers share with the main process, in which each notes the image it is at.

    Args:
        source: of the images.
        num_workers: processes; without any, nothing is noted.
    """

    def __init__(self, source: ImageSource, num_workers: int) -> None:
        self._source = source
        self._notes = torch.full((num_workers, 2), -1).share_memory_()  # process and image, by worker
        _watches.add(self)

    def __call__(self, image: int) -> None:
        """Note, in a worker process, that it goes on to this image."""
        worker = get_worker_info()
        if worker is not None:
            self._notes[worker.id, 0] = os.getpid()
            self._notes[worker.id, 1] = image

    def images(self) -> dict[int, str]:
        """The name of the image that each process is at, by its number."""
        return {pid: self._source.name(image) for pid, image in self._notes.tolist() if image >= 0}


_watches: "weakref.WeakSet[Watch]" = weakref.WeakSet()


def at_work(words: str) -> str:
    """What the processes were at that ``words`` of DataLoader name, or all of them where it names none.

    Returns:
        A part of a sentence, empty where nothing is known.
    """
    named = {int(pid) for pid in re.findall(r"\d+", " ".join(re.findall(r"\(pid[^)]*\)?[ \d,]*", words)))}
    images = {pid: name for watch in _watches for pid, name in watch.images().items()}
    names = [name for pid, name in images.items() if pid in named] or list(images.values())
    shown = ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
    return f"; at work on {shown}" if names else ""


def kill_workers() -> None:
    """End every watched process that may hang; one that is stopped would keep this one from ending."""
    watched = {pid for watch in _watches for pid in watch.images()}
    with _without_child_signal():
        for child in multiprocessing.active_children():  # a number alone could be another's by now
            if child.pid in watched:
                child.kill()
                os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


@contextmanager
def _without_child_signal() -> Iterator[None]:
    """Keep DataLoader's handler, which would raise again at whatever is being done, from hearing of a death."""
    if threading.current_thread() is not threading.main_thread():  # which alone runs handlers
        yield
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)
