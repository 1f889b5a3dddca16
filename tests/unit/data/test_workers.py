"""Which errors say that a worker process was lost."""

import pytest

from swin_train.data.workers import reported_worker_losses, worker_loss
from swin_train.errors import DataError


@pytest.mark.parametrize("error", [EOFError(), BrokenPipeError(), ConnectionError(), RuntimeError("other")])
def test_around_a_run_errors_that_are_not_dataloaders_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, reported_worker_losses():
        raise error

    assert caught.value is error


def test_around_a_run_dataloaders_own_words_are_a_lost_worker() -> None:
    words = "DataLoader worker (pid 7) is killed by signal: Killed."

    with pytest.raises(DataError, match=r"lost \(DataLoader worker \(pid 7\)"), reported_worker_losses():
        raise RuntimeError(words)


def test_worker_loss_recognises_a_hanging_worker_and_leaves_other_errors_alone() -> None:
    assert "no batch came for 300 s, which is DATA.TIMEOUT_S; waiting for a worker." in (
        worker_loss(RuntimeError("DataLoader timed out after 300 seconds")) or ""
    )
    assert "EOFError" in (worker_loss(EOFError()) or "")
    assert worker_loss(RuntimeError("CUDA error: out of memory")) is None
    assert worker_loss(RuntimeError("x: DataLoader worker (pid 1) is killed")) is None
    assert worker_loss(RuntimeError("Caught RuntimeError in DataLoader worker process 0.")) is None
    assert worker_loss(ConnectionError("Caught ConnectionError in DataLoader worker process 0.")) is None
