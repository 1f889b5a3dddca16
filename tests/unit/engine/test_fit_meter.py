"""Trying a micro-batch: in a process that is killed when it takes too much, and where CUDA gives no more."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from swin_train.config import load_config
from swin_train.engine import fit_meter
from swin_train.engine.fit_meter import CudaMeter, HostMeter, Measurement, choose_meter
from swin_train.engine.plan import make_plan
from swin_train.errors import UserError

GIB = 2**30


@pytest.fixture
def measure(tiny_opts: Callable) -> Callable[..., Measurement]:
    def run(limit_bytes: int = 64 * GIB, **changes: object) -> Measurement:
        cfg = load_config(None, tiny_opts(**changes))
        plan = make_plan(cfg, world_size=1, num_images=1000, num_classes=4)
        return HostMeter(limit_bytes).measure(cfg, plan)

    return run


def kill_a_child_with(number: signal.Signals) -> threading.Thread:
    def wait() -> None:
        for _ in range(3000):
            for child in multiprocessing.active_children():
                os.kill(child.pid, number)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_more_images_take_more_memory(measure: Callable) -> None:
    wide = {"MODEL__SWIN__EMBED_DIM": 32, "DATA__IMG_SIZE": 64}

    few, many = (measure(DATA__BATCH_SIZE=size, **wide) for size in (2, 32))

    assert few.images_per_s is not None
    assert many.peak_bytes - few.peak_bytes > 2**26


def test_a_process_that_takes_too_much_is_ended_at_once(measure: Callable) -> None:
    found = measure(limit_bytes=2**24, MODEL__SWIN__EMBED_DIM=64, DATA__IMG_SIZE=96, DATA__BATCH_SIZE=64)

    assert found.images_per_s is None
    assert 2**24 < found.peak_bytes < 0.75 * GIB  # an update takes 2 GiB
    assert multiprocessing.active_children() == []


def test_memory_that_cannot_be_had_does_not_fit(measure: Callable) -> None:
    found = measure(DATA__PROGRESSIVE=[[1, 1_000_000]])  # a batch of 100 TB

    assert found.images_per_s is None
    assert 0 < found.peak_bytes < 64 * GIB


def test_a_process_that_the_system_killed_did_not_fit(measure: Callable) -> None:
    thread = kill_a_child_with(signal.SIGKILL)

    found = measure(DATA__BATCH_SIZE=2)
    thread.join()

    assert found.images_per_s is None


def test_a_trial_ends_with_the_process_that_waits_for_it() -> None:
    """Nobody else would watch over its memory."""
    options = ["--processes", "1", "--opts", "DEVICE", "cpu", "DATA.BATCH_SIZE", "64", "AUG.MIX_GROUP", "32"]
    command = [sys.executable, "main.py", "fit", "--cfg", "swin_base_patch4_window7_224", *options]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as fit:
        deadline = time.monotonic() + 60
        while not (
            trials := [pid for pid, parent in session_of(fit.pid) if parent not in (os.getpid(), fit.pid)]
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        fit.kill()
    deadline = time.monotonic() + 5  # a trial of so many images takes a minute
    while session_of(fit.pid):
        assert time.monotonic() < deadline, (trials, session_of(fit.pid))
        time.sleep(0.02)


def session_of(leader: int) -> list[tuple[int, int]]:
    """Return the processes of a session that run, each with its parent."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if session == str(leader) and state != "Z":
                found.append((int(stat.parent.name), int(parent)))
    return found


def test_a_process_that_ended_otherwise_is_an_error(measure: Callable) -> None:
    thread = kill_a_child_with(signal.SIGTERM)

    with pytest.raises(RuntimeError, match="the process that tried 2 images ended with status -15"):
        measure(DATA__BATCH_SIZE=2)
    thread.join()


def test_what_the_user_can_mend_is_said(measure: Callable) -> None:
    with pytest.raises(UserError, match=r"TRAIN\.OPTIMIZER\.NAME"):
        measure(TRAIN__OPTIMIZER__NAME="xyzzy")


def test_a_cpu_s_limit_is_what_is_given_or_a_share_of_what_is_available(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fit_meter, "available_memory", lambda: 100 * GIB)
    cpu = torch.device("cpu")

    assert choose_meter(cpu, 1.5, 4).limit_bytes == 1.5 * GIB
    assert choose_meter(cpu, None, 1).limit_bytes == 80 * GIB
    assert choose_meter(cpu, None, 4).limit_bytes == 20 * GIB


def test_a_device_whose_memory_nobody_tells_is_refused() -> None:
    with pytest.raises(UserError, match="DEVICE is mps, whose memory cannot be measured; use cuda or cpu"):
        choose_meter(torch.device("mps"), None, 1)


class FakeCuda:
    """A GPU of 10 GiB, 8 of them free, of which an image takes one; in place of torch.cuda."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fractions: list[float] = []
        self.num_emptied = 0
        self._peak = 0
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * GIB, 10 * GIB))
        monkeypatch.setattr(
            torch.cuda, "set_per_process_memory_fraction", lambda part, device: self.fractions.append(part)
        )
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: self._peak)
        monkeypatch.setattr(torch.cuda, "empty_cache", self._empty)
        monkeypatch.setattr(fit_meter, "run_updates", self._run)

    def _empty(self) -> None:
        self.num_emptied += 1

    def _run(self, cfg: object, plan: object) -> float:
        limit = round(10 * GIB * min(self.fractions[-1], 0.8))
        self._peak = min(plan.micro_batch * GIB, limit)
        if plan.micro_batch * GIB > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 5.0


@pytest.mark.parametrize(("memory_gb", "limit"), [(None, 8), (6.0, 6), (99.0, 8)])
def test_on_cuda_running_out_of_memory_is_caught_and_cleared(
    memory_gb: float | None, limit: int, monkeypatch: pytest.MonkeyPatch, tiny_opts: Callable
) -> None:
    cuda = FakeCuda(monkeypatch)
    meter = choose_meter(torch.device("cuda", 0), memory_gb, 1)
    found = []
    for size in (limit, limit + 1):
        cfg = load_config(None, tiny_opts(DATA__BATCH_SIZE=size, AUG__MIXUP=0, AUG__CUTMIX=0))
        plan = make_plan(cfg, world_size=1, num_images=1000, num_classes=4)

        found.append(meter.measure(cfg, plan))

    assert isinstance(meter, CudaMeter)
    assert meter.limit_bytes == limit * GIB
    assert found == [Measurement(limit * GIB, 5.0), Measurement(limit * GIB, None)]
    assert cuda.num_emptied == 2
    assert cuda.fractions[-1] == 1.0  # as it was
