"""Which errors say that a worker process was lost."""

import multiprocessing
import time

import pytest

import swin_train.data.watch
from swin_train.data.watch import kill_workers, starting_workers
from swin_train.data.workers import reported_worker_losses, worker_loss
from swin_train.errors import WorkerLost


@pytest.mark.parametrize("error", [EOFError(), BrokenPipeError(), ConnectionError(), RuntimeError("other")])
def test_around_a_run_errors_that_are_not_dataloaders_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, reported_worker_losses():
        raise error

    assert caught.value is error


def test_around_a_run_dataloaders_own_words_are_a_lost_worker() -> None:
    words = "DataLoader worker (pid 7) is killed by signal: Killed."

    with (
        pytest.raises(WorkerLost, match=r"lost \(DataLoader worker \(pid 7\)") as lost,
        reported_worker_losses(),
    ):
        raise RuntimeError(words)
    assert lost.value.exit_status == 1  # which a launcher starts again: no image is at fault


def test_workers_that_do_not_die_are_waited_for_once_and_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those that a dead disk holds in the kernel, which multiprocessing would wait for at the end, for ever."""
    monkeypatch.setattr(swin_train.data.watch, "_DIES_WITHIN_S", 0.3)
    monkeypatch.setattr(swin_train.data.watch, "_is_dead", lambda child: False)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=time.sleep, args=(60,)) for _ in range(3)]
    with starting_workers():
        for worker in workers:
            worker.start()

    begun = time.monotonic()
    kill_workers()

    assert time.monotonic() - begun < 0.6
    assert not set(workers) & set(multiprocessing.active_children())
    for worker in workers:
        worker.join()


def test_worker_loss_recognises_a_hanging_worker_and_leaves_other_errors_alone() -> None:
    assert "no batch came for 300 s, which is DATA.TIMEOUT_S; waiting for a worker." in (
        worker_loss(RuntimeError("DataLoader timed out after 300 seconds")) or ""
    )
    assert "EOFError" in (worker_loss(EOFError()) or "")
    assert worker_loss(RuntimeError("CUDA error: out of memory")) is None
    assert worker_loss(RuntimeError("x: DataLoader worker (pid 1) is killed")) is None
    assert worker_loss(RuntimeError("Caught RuntimeError in DataLoader worker process 0.")) is None
    assert worker_loss(ConnectionError("Caught ConnectionError in DataLoader worker process 0.")) is None
