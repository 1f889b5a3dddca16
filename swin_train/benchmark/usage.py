"""What loading costs: CPU seconds and memory of this process and of its worker processes, from Linux's clocks."""

import multiprocessing
import os
import re
import resource
import sys
import time
from pathlib import Path

from swin_train.errors import UserError

_CPU_TIME_OF_PROCESS = 2  # CPUCLOCK_SCHED of the kernel's posix-timers.h: all threads, in nanoseconds


def cpu_seconds() -> float:
    """CPU time used so far by this process, all its threads, and its worker processes, ended or running.

    Workers are those that multiprocessing started, as DataLoader does.

    Raises:
        UserError: this is not Linux.
    """
    if sys.platform != "linux":
        raise UserError(
            f"benchmark: CPU time of worker processes cannot be read on {sys.platform}; run it on Linux."
        )
    running = sum(_cpu_seconds_of(child.pid) for child in multiprocessing.active_children() if child.pid)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + running


def memory_mb() -> float:
    """Memory of this process and its workers, in MB; pages that several of them share count once in all."""
    children = (child.pid for child in multiprocessing.active_children() if child.pid)
    return sum(_proportional_mb(pid) for pid in (os.getpid(), *children))


def _cpu_seconds_of(pid: int) -> float:
    try:
        return time.clock_gettime(~pid << 3 | _CPU_TIME_OF_PROCESS)
    except OSError:  # it ended since it was listed: what it used is read from the ended ones
        return 0.0


def _proportional_mb(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0
