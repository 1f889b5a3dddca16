"""Batches that threads of this process prepare."""

import threading

import pytest
import torch

from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.images import Loaded
from swin_train.data.sampler import BatchRequest, EvalSampler
from swin_train.data.threads import Threads
from swin_train.errors import DataError


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
        DataError,
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
