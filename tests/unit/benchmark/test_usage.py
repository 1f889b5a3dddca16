"""CPU time and memory of all processes: nothing is lost when a worker ends, and nothing counts twice."""

import multiprocessing
import sys
import threading
import time
from multiprocessing.connection import Connection

import numpy as np
import pytest

from swin_train.benchmark.usage import cpu_seconds, memory_mb
from swin_train.errors import UserError

_BUSY_S = 0.3
_SLACK_S = 0.15  # of the interpreter's start in a process, and of this test's own work


def burn(cpu_s: float) -> None:
    start = time.thread_time()
    while time.thread_time() - start < cpu_s:
        pass


def work_and_wait(connection: Connection) -> None:
    burn(_BUSY_S)
    connection.send("worked")
    connection.recv()


def hold_and_wait(connection: Connection) -> None:
    kept = np.ones(50_000_000 // 8)
    connection.send("worked")
    connection.recv()
    assert kept[-1] == 1


def start(work: object) -> tuple[multiprocessing.Process, Connection]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs,))
    process.start()
    assert ours.recv() == "worked"
    return process, ours


def stop(process: multiprocessing.Process, connection: Connection) -> None:
    connection.send("end")
    process.join()


def test_a_running_worker_counts() -> None:
    before = cpu_seconds()
    worker = start(work_and_wait)

    used = cpu_seconds() - before

    stop(*worker)
    assert _BUSY_S <= used < _BUSY_S + _SLACK_S


def test_a_worker_that_has_ended_counts_once() -> None:
    before = cpu_seconds()
    stop(*start(work_and_wait))

    used = cpu_seconds() - before

    assert _BUSY_S <= used < _BUSY_S + _SLACK_S


def test_threads_of_this_process_count() -> None:
    before = cpu_seconds()
    threads = [threading.Thread(target=burn, args=(_BUSY_S / 2,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert _BUSY_S <= cpu_seconds() - before < _BUSY_S + _SLACK_S


def test_waiting_costs_nothing() -> None:
    before = cpu_seconds()
    time.sleep(_BUSY_S)

    assert cpu_seconds() - before < 0.05


def test_memory_of_a_worker_counts() -> None:
    before = memory_mb()
    worker = start(hold_and_wait)

    added = memory_mb() - before

    stop(*worker)
    assert 45 < added < 100  # 50 MB, and what a forked interpreter changes of its pages


def test_elsewhere_than_on_linux_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    with pytest.raises(UserError, match="cannot be read on darwin; run it on Linux"):
        cpu_seconds()
