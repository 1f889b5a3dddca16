import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swin_train.data.formats import ImageFolder
from swin_train.data.images import BadImage, Loaded, TrainImages
from swin_train.data.pipelines.pipeline import Plan
from swin_train.data.pipelines.portable import PortableTrain
from swin_train.data.recipe.crop import ResizedCrop
from swin_train.data.recipe.rand_augment import RandAugment, parse_policy
from swin_train.data.recipe.view import FILTERS, Recipe
from swin_train.data.sampler import BatchGeometry, BatchRequest, EpochSampler
from swin_train.data.shared_batches import Message, Slots, _lend
from swin_train.data.workers import WorkerOptions, Workers
from swin_train.errors import DataError
from swin_train.kernels.augment import Erasures

_SHAPE = (2, 3, 4, 5)
_CROP = ResizedCrop((0.08, 1.0), (3 / 4, 4 / 3), FILTERS["bicubic"])
_POLICY = RandAugment(parse_policy("rand-m9"), FILTERS["bicubic"])


def sent(content: Loaded | DataError, slots: Slots | None = None) -> Any:
    lend = None if slots is None else partial(_lend, slots.number, slots.take() or 0)
    return pickle.loads(pickle.dumps(Message(content, lend)))


def loaded(images: torch.Tensor) -> Loaded:
    request = BatchRequest(1, 2, np.array([3, 4]), np.array([0, 1]), np.array([0, 0]))
    erasures = Erasures(torch.ones(1, 2, 4, dtype=torch.int32), torch.tensor([[-7, 9]]), "pixel")
    return Loaded(images, torch.tensor([5, 6]), Plan(None, erasures), request, (BadImage(3, "a", "b"),))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_slot_is_lent_again_when_nothing_looks_at_its_batch(dtype: torch.dtype) -> None:
    slots = Slots(1, 7 + 120 * dtype.itemsize)
    slot = slots.take()
    assert slot is not None
    slots.tensor(slot, _SHAPE, dtype).fill_(3)

    view = slots.lend(slot, _SHAPE, (60, 1, 15, 3), dtype)[1:, 0].flatten()[:2]
    assert view.tolist() == [3, 3]
    assert slots.take() is None
    del view

    assert slots.take() == slot


def test_a_batch_that_no_slot_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="a batch has 4097 bytes; the slots have 4096"):
        Slots(1, 9).tensor(0, (4097,), torch.uint8)


@pytest.mark.parametrize("with_slot", [True, False])
def test_a_message_arrives_whole(with_slot: bool) -> None:
    slots = Slots(1, 480) if with_slot else None
    images = torch.empty(_SHAPE) if slots is None else slots.tensor(0, _SHAPE, torch.float32)
    ours = loaded(images.normal_().view(2, 4, 5, 3).permute(0, 3, 1, 2))

    theirs = sent(ours, slots)

    assert torch.equal(theirs.images, ours.images)
    assert (theirs.images.data_ptr() == ours.images.data_ptr()) == with_slot
    assert theirs.labels.tolist() == [5, 6]
    assert torch.equal(theirs.plan.erasures.keys, torch.tensor([[-7, 9]]))
    assert theirs.request.indices.tolist() == [3, 4]
    assert theirs.bad == ours.bad


def test_an_error_is_a_message_too() -> None:
    assert str(sent(DataError("a: b."), Slots(1, 1))) == "a: b."


@pytest.mark.parametrize("batch_bytes", [0, 4 * 3 * 12 * 12])
def test_batches_are_the_same_with_and_without_slots_and_when_many_are_kept(
    make_folder: Any, batch_bytes: int
) -> None:
    root: Path = make_folder({"a": 24, "b": 24})
    source = ImageFolder(str(root), "train")
    sampler = EpochSampler(BatchGeometry(source.num_images, 4, 1, 0, 4, 0, seed=1))
    pipeline = PortableTrain(Recipe((12, 12), _CROP, 0.5, _POLICY, None), (1, 2, 3), "pixel", None)
    images = TrainImages(source, pipeline, 3, seed=1)
    workers = Workers(
        images, sampler, WorkerOptions(2, 2, pin_memory=False, timeout_s=60, batch_bytes=batch_bytes)
    )
    for epoch in range(2):
        sampler.start_at(epoch, 0)

        kept = list(workers)  # more than there are slots

        expected = [images(request) for request in sampler]
        assert len(kept) == 12
        for ours, theirs in zip(kept, expected, strict=True):
            assert isinstance(theirs, Loaded)
            assert torch.equal(ours.images, theirs.images)
            assert ours.plan is not None
            assert theirs.plan is not None
            assert ours.plan.operations is not None
            assert theirs.plan.operations is not None
            assert torch.equal(ours.plan.operations.matrices, theirs.plan.operations.matrices)
