import logging
import os
import random
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from swin_train.data import draws
from swin_train.data.augment import (
    FILTERS,
    Normalize,
    RandomErasing,
    ResizedCrop,
    TrainTransform,
)
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.loader import Batch, TrainFeed
from swin_train.data.mixing import Mixer
from swin_train.data.rand_augment import RandAugment, parse_policy
from swin_train.data.sampler import BatchGeometry
from swin_train.data.workers import TrainImages, WorkerOptions
from swin_train.errors import DataError

_CPU = torch.device("cpu")
_NORMALIZE = Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
MakeFolder = Callable[..., Path]


def train_feed(
    source: ImageFolder,
    *,
    workers: int = 0,
    mixing: bool = False,
    max_bad_images: int = 0,
    device: torch.device = _CPU,
    **changes: int,
) -> TrainFeed:
    settings: dict[str, Any] = {
        "num_images": source.num_images,
        "global_batch": 8,
        "world_size": 1,
        "rank": 0,
        "micro_batch": 4,
        "mix_group": 4 if mixing else 0,
        "seed": 1,
    }
    transform = TrainTransform(
        crop=ResizedCrop((12, 12), (0.08, 1.0), (3 / 4, 4 / 3), FILTERS["bicubic"]),
        hflip=0.5,
        colour=RandAugment(parse_policy("rand-m9-mstd0.5-inc1"), (128, 128, 128), FILTERS["bicubic"]),
        normalize=_NORMALIZE,
        erase=RandomErasing(0.25, "pixel", 1),
    )
    mixer = Mixer(0.8, 1.0, None, 1.0, 0.5, "batch", 0.1, source.num_classes, 4, seed=1) if mixing else None
    return TrainFeed(
        TrainImages(source, transform, 3, seed=1),
        BatchGeometry(**{**settings, **changes}),
        mixer=mixer,
        max_bad_images=max_bad_images,
        device=device,
        options=WorkerOptions(workers, 2, pin_memory=device.type == "cuda"),
    )


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.targets, b.targets)
        and torch.equal(a.drop_path_keys, b.drop_path_keys)
        for a, b in zip(first, second, strict=True)
    )


def damage(source: ImageFolder, *indices: int) -> None:
    for index in indices:
        path = Path(os.fsdecode(source._folder)) / os.fsdecode(source._name(index))
        path.write_bytes(path.read_bytes()[:100])


def error_of(batches: Iterable[object]) -> str:
    """Message of the error in which a pass ends; pytest.raises would keep its frames, and so the workers."""
    try:
        list(batches)
    except DataError as error:
        return str(error)
    raise AssertionError("the pass ended without an error")


def test_batches_hold_images_labels_and_drop_path_keys(source: ImageFolder) -> None:
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
def test_batches_do_not_depend_on_the_number_of_workers(source: ImageFolder, mixing: bool) -> None:
    feeds = [train_feed(source, workers=workers, mixing=mixing) for workers in (0, 1, 2)]

    for epoch in (0, 1, 4):
        alone, one, two = [list(feed.batches(epoch)) for feed in feeds]
        assert same(alone, one)
        assert same(alone, two)


def test_epochs_differ(source: ImageFolder) -> None:
    feed = train_feed(source)

    assert not same(list(feed.batches(0)), list(feed.batches(1)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pass_that_starts_at_a_step_gives_the_batches_from_there_on(
    source: ImageFolder, workers: int
) -> None:
    whole = list(train_feed(source, mixing=True).batches(3))

    rest = list(train_feed(source, mixing=True, workers=workers).batches(3, first_step=1))

    assert same(rest, whole[2:])


def test_a_pass_that_was_abandoned_leaves_nothing_behind(source: ImageFolder) -> None:
    feed = train_feed(source, workers=2)
    next(feed.batches(0))

    assert same(list(feed.batches(1)), list(train_feed(source).batches(1)))


def test_processes_together_give_the_batches_of_one(source: ImageFolder) -> None:
    whole = list(train_feed(source, mixing=True).batches(0))

    halves = [list(train_feed(source, mixing=True, world_size=2, rank=rank).batches(0)) for rank in (0, 1)]

    assert same(whole, [batch for step in zip(*halves, strict=True) for batch in step])


def test_mixed_targets_are_distributions(source: ImageFolder) -> None:
    for batch in train_feed(source, mixing=True).batches(0):
        assert batch.targets.shape == (4, 3)
        torch.testing.assert_close(batch.targets.sum(1), torch.ones(4))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mixing", [False, True])
def test_batches_on_a_gpu_equal_those_on_the_cpu_and_are_never_waited_for(
    source: ImageFolder, mixing: bool
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
def test_no_global_generator_advances(source: ImageFolder, workers: int) -> None:
    random.seed(5)
    torch.manual_seed(5)
    states = random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()

    list(train_feed(source, workers=workers, mixing=True).batches(0))

    assert states == (random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_is_replaced_by_a_fixed_one_of_its_class_and_reported_once(
    source: ImageFolder, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    order = draws.permutation(21, 1, 0).tolist()
    bad = order[5]
    damage(source, bad)
    feed = train_feed(source, workers=workers, max_bad_images=1)

    with caplog.at_level(logging.WARNING):
        batches = list(feed.batches(0))
        list(feed.batches(1))

    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"{source.name(bad)}: cannot be decoded (")
    assert warning.endswith("; replaced by another image of its class")
    assert same(batches, list(train_feed(source, max_bad_images=1).batches(0)))
    assert torch.cat([batch.targets for batch in batches]).tolist() == source.labels[order[:16]].tolist()
    assert [(image.image, image.name) for image in feed.bad_images] == [(bad, source.name(bad))]


def test_a_substitute_that_is_bad_is_replaced_too(source: ImageFolder) -> None:
    damage(source, *range(6))  # of class a, image 6 is left

    feed = train_feed(source, max_bad_images=6)
    views = torch.cat([batch.images for epoch in range(3) for batch in feed.batches(epoch)])

    assert torch.isfinite(views).all()
    assert {image.image for image in feed.bad_images} <= set(range(6))


@pytest.mark.parametrize("workers", [0, 1])
def test_more_bad_images_than_allowed_stop_the_run(source: ImageFolder, workers: int) -> None:
    first, second = draws.permutation(21, 1, 0).tolist()[2:7:4]
    damage(source, first, second)

    message = error_of(train_feed(source, workers=workers, max_bad_images=1).batches(0))

    assert message.startswith(f"{source.name(second)}: cannot be decoded (")
    assert "2 training image(s) cannot be used so far, and DATA.MAX_BAD_IMAGES is 1." in message


@pytest.mark.parametrize("workers", [0, 1])
def test_a_class_without_any_good_image_stops_the_run(source: ImageFolder, workers: int) -> None:
    damage(source, *range(7))

    with pytest.raises(
        DataError, match=r"^train/a/.*: neither it nor any other image of class 'a' can be used"
    ):
        list(train_feed(source, workers=workers, max_bad_images=100).batches(0))


def test_a_file_that_has_vanished_counts_as_bad(source: ImageFolder) -> None:
    index = int(draws.permutation(21, 1, 0)[0])
    (Path(os.fsdecode(source._folder)) / os.fsdecode(source._name(index))).unlink()

    with pytest.raises(DataError, match=r"cannot be read \(No such file or directory\); 1 training image"):
        list(train_feed(source).batches(0))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_the_recipe_cannot_take_counts_as_bad(
    source: ImageFolder, workers: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad = int(draws.permutation(21, 1, 0)[5])
    Image.new("RGB", (1, 20)).save(Path(os.fsdecode(source._folder)) / os.fsdecode(source._name(bad)))
    crop = ResizedCrop.__call__

    def choosy(self: ResizedCrop, image: Image.Image, rng: random.Random) -> Image.Image:
        if image.width == 1:
            raise ValueError("of one\ncolumn")
        return crop(self, image, rng)

    monkeypatch.setattr(ResizedCrop, "__call__", choosy)
    feed = train_feed(source, workers=workers, max_bad_images=1)

    with caplog.at_level(logging.WARNING):
        list(feed.batches(0))

    assert caplog.messages == [
        f"{source.name(bad)}: cannot be transformed (ValueError: of one column);"
        " replaced by another image of its class"
    ]
    assert [image.image for image in feed.bad_images] == [bad]


class _KilledReader(ImageFolder):
    def read(self, index: int) -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""


class _BrokenReader(ImageFolder):
    def read(self, index: int) -> bytes:
        raise RuntimeError("a bug in a format")


def test_a_worker_that_dies_is_one_clear_error(make_folder: MakeFolder) -> None:
    source = _KilledReader(str(make_folder({"a": 8})), "train")

    with pytest.raises(
        DataError, match=r"^Data loading: a worker process was lost \(.*lower DATA\.NUM_WORKERS"
    ):
        list(train_feed(source, workers=1).batches(0))


def test_a_bug_keeps_its_own_error(make_folder: MakeFolder) -> None:
    source = _BrokenReader(str(make_folder({"a": 8})), "train")

    with pytest.raises(RuntimeError, match="a bug in a format"):
        list(train_feed(source).batches(0))


class _LostPipe(ImageFolder):
    def read(self, index: int) -> bytes:
        raise EOFError("of the format's own")


def test_without_workers_a_lost_pipe_is_not_one_to_a_worker(make_folder: MakeFolder) -> None:
    source = _LostPipe(str(make_folder({"a": 8})), "train")

    with pytest.raises(EOFError, match="of the format's own"):
        list(train_feed(source).batches(0))
