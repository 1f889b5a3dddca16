"""What a worker process makes of itself: one that only its parent ends, and that never outlives it."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time

import torch

# SLURM signals every process of a job and torchrun the whole group, a terminal too. What becomes of the run is
# for the main process to decide, which needs its workers to finish the batch and to save.
LEFT_TO_PARENT = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_LOOK_EVERY_S = 0.5


def become_worker() -> None:
    """Ignore signals that are for the parent, end when it ends, and compute with one thread."""
    for number in LEFT_TO_PARENT:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEFT_TO_PARENT)  # they were held while it was started
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid is not None
    end_with(parent.pid)
    torch.set_num_threads(1)


def end_with(parent: int, *, by_kernel: bool = sys.platform == "linux") -> None:
    """Have this process killed when its parent is gone.

    Args:
        parent: number of the process that is or was the parent.
        by_kernel: at once, and even if stopped, but also when only the thread ends that forked; otherwise a
            thread looks after the parent twice a second.
    """
    if by_kernel:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it was gone before the kernel was asked
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os._exit(1)
