"""Batches that threads of this process prepare."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.images import Loaded
from swin_train.data.sampler import BatchRequest, EvalSampler
from swin_train.data.threads import Threads
from swin_train.errors import DataError, WorkerLost


class _Images:
    def __init__(self, source: ImageFolder, hangs_at: int | None = None) -> None:
        self.source = source
        self.begun: list[int] = []
        self.go_on = threading.Event()
        self._hangs_at = hangs_at

    def __call__(self, request: BatchRequest) -> Loaded | DataError:
        self.begun.append(request.step)
        if request.step == self._hangs_at:
            self.go_on.wait(10)
        return Loaded(torch.empty(0), torch.from_numpy(request.indices), None, request, ())


def test_batches_come_in_order_and_no_more_than_asked_for_are_prepared_ahead(source: ImageFolder) -> None:
    images = _Images(source)
    batches = iter(Threads(images, EvalSampler(source.num_images, 1, 0, 2), prefetch=3, timeout_s=60))

    first = next(batches)

    assert first.request.step == 0
    assert max(images.begun) <= 3
    rest = [loaded.labels for loaded in batches]
    assert torch.cat([first.labels, *rest]).tolist() == list(range(source.num_images))


def test_a_batch_that_never_comes_is_an_error_that_names_its_images(
    source: ImageFolder,
) -> None:
    images = _Images(source, hangs_at=1)

    with pytest.raises(
        WorkerLost,
        match=r"no batch came for 0\.2 s, which is DATA\.TIMEOUT_S; waiting for one of train/a/2\.png, train/a/3",
    ):
        list(Threads(images, EvalSampler(source.num_images, 1, 0, 2), prefetch=2, timeout_s=0.2))
    images.go_on.set()


def test_an_abandoned_pass_prepares_nothing_more(source: ImageFolder) -> None:
    images = _Images(source)
    batches = iter(Threads(images, EvalSampler(source.num_images, 1, 0, 1), prefetch=1, timeout_s=60))
    next(batches)

    del batches

    assert len(images.begun) <= 3


_PROCESS = """
import sys, time
import numpy as np, torch
from swin_train.data.images import Loaded
from swin_train.data.sampler import EvalSampler
from swin_train.data.threads import Threads
from swin_train.errors import DataError

class Images:
    class source:
        name = staticmethod(str)
    def __call__(self, request):
        time.sleep({seconds} if request.step == 1 else 0.3)
        print("done", request.step, flush=True)
        return Loaded(torch.empty(0), torch.empty(0), None, request, ())

batches = iter(Threads(Images(), EvalSampler(8, 1, 0, 1), prefetch=8, timeout_s=1))
try:
    next(batches), next(batches)
except DataError as error:
    print(error, flush=True)
    sys.exit(error.exit_status)
sys.exit(7)
"""


def end_of(seconds: float) -> tuple[int, str, float]:
    """Exit status and output of a process that asks for two batches, and how long its end took at most."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROCESS.format(seconds=seconds)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        output = process.stdout.readline()
        begun = time.monotonic()
        try:
            output += process.stdout.read()
            process.wait(60)
        finally:
            process.kill()
        return process.returncode, output, time.monotonic() - begun


def test_a_thread_that_hangs_does_not_keep_the_process_from_ending() -> None:
    status, output, seconds = end_of(300)

    assert status == 1
    assert "no batch came for 1 s, which is DATA.TIMEOUT_S; waiting for one of 1." in output
    assert seconds < 50


@pytest.mark.parametrize("seconds", [0, 3])
def test_a_process_that_ends_in_mid_pass_waits_for_the_batches_in_work_alone(seconds: float) -> None:
    status, output, _ = end_of(seconds)

    assert status == (1 if seconds else 7)
    assert "done 1" in output
    assert "done 7" not in output


def test_what_stops_a_batch_is_raised_where_it_is_asked_for(source: ImageFolder) -> None:
    class Broken(_Images):
        def __call__(self, request: BatchRequest) -> Loaded | DataError:
            raise RuntimeError("a bug in a pipeline")

    with pytest.raises(RuntimeError, match="a bug in a pipeline"):
        list(Threads(Broken(source), EvalSampler(source.num_images, 1, 0, 2), prefetch=2, timeout_s=60))
