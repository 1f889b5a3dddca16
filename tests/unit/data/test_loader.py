"""The batches of a training, whatever reads them."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from swin_train.data import draws
from swin_train.data.formats.image_folder import ImageFolder


def test_batches_hold_images_labels_and_drop_path_keys(train_feed: Callable, source: ImageFolder) -> None:
    feed = train_feed(source)

    batch = list(feed.batches(epoch=2))[3]

    order = draws.permutation(21, 1, 2)
    assert batch.images.shape == (4, 3, 12, 12)
    assert batch.images.dtype == torch.float32
    assert batch.targets.tolist() == source.labels[order[12:16]].tolist()
    assert batch.drop_path_keys.tolist() == draws.drop_path_keys(1, 2, 1, np.arange(4, 8)).tolist()
    assert batch.num_images == 4
    assert (feed.num_images, feed.num_classes, feed.steps_per_epoch) == (21, 3, 2)


@pytest.mark.parametrize("mixing", [False, True])
def test_batches_do_not_depend_on_the_number_of_workers(
    train_feed: Callable, same: Callable, source: ImageFolder, mixing: bool
) -> None:
    feeds = [train_feed(source, workers=workers, mixing=mixing) for workers in (0, 1, 2)]

    for epoch in (0, 1, 4):
        alone, one, two = [list(feed.batches(epoch)) for feed in feeds]
        assert same(alone, one)
        assert same(alone, two)


def test_epochs_differ(train_feed: Callable, same: Callable, source: ImageFolder) -> None:
    feed = train_feed(source)

    assert not same(list(feed.batches(0)), list(feed.batches(1)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pass_that_starts_at_a_step_gives_the_batches_from_there_on(
    train_feed: Callable, same: Callable, source: ImageFolder, workers: int
) -> None:
    whole = list(train_feed(source, mixing=True).batches(3))

    rest = list(train_feed(source, mixing=True, workers=workers).batches(3, first_step=1))

    assert same(rest, whole[2:])


def test_a_pass_that_was_abandoned_leaves_nothing_behind(
    train_feed: Callable, same: Callable, source: ImageFolder
) -> None:
    feed = train_feed(source, workers=2)
    next(feed.batches(0))

    assert same(list(feed.batches(1)), list(train_feed(source).batches(1)))


def test_processes_together_give_the_batches_of_one(
    train_feed: Callable, same: Callable, source: ImageFolder
) -> None:
    whole = list(train_feed(source, mixing=True).batches(0))

    halves = [list(train_feed(source, mixing=True, world_size=2, rank=rank).batches(0)) for rank in (0, 1)]

    assert same(whole, [batch for step in zip(*halves, strict=True) for batch in step])


def test_mixed_targets_are_distributions(train_feed: Callable, source: ImageFolder) -> None:
    for batch in train_feed(source, mixing=True).batches(0):
        assert batch.targets.shape == (4, 3)
        torch.testing.assert_close(batch.targets.sum(1), torch.ones(4))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mixing", [False, True])
def test_batches_on_a_gpu_equal_those_on_the_cpu_and_are_never_waited_for(
    train_feed: Callable, source: ImageFolder, mixing: bool
) -> None:
    feed = train_feed(source, workers=2, mixing=mixing, device=torch.device("cuda"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = list(feed.batches(0))
    finally:
        torch.cuda.set_sync_debug_mode("default")

    on_cpu = train_feed(source, mixing=mixing).batches(0)
    for batch, expected in zip(batches, on_cpu, strict=True):
        # a GPU may fuse the multiplication and addition of Mixup
        torch.testing.assert_close(batch.images.cpu(), expected.images)
        torch.testing.assert_close(batch.targets.cpu(), expected.targets)
        assert torch.equal(batch.drop_path_keys.cpu(), expected.drop_path_keys)


@pytest.mark.parametrize("workers", [0, 1])
def test_no_global_generator_advances(train_feed: Callable, source: ImageFolder, workers: int) -> None:
    random.seed(5)
    torch.manual_seed(5)
    states = random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()

    list(train_feed(source, workers=workers, mixing=True).batches(0))

    assert states == (random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist())
