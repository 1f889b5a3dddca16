"""Images, readers and worker processes that fail while batches are made."""

import logging
import os
import random
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from PIL import Image

from swin_train.data import draws
from swin_train.data.augment import (
    ResizedCrop,
)
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.errors import DataError

MakeFolder = Callable[..., Path]


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


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_is_replaced_by_a_fixed_one_of_its_class_and_reported_once(
    train_feed: Callable, same: Callable, source: ImageFolder, workers: int, caplog: pytest.LogCaptureFixture
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


def test_a_substitute_that_is_bad_is_replaced_too(train_feed: Callable, source: ImageFolder) -> None:
    damage(source, *range(6))  # of class a, image 6 is left

    feed = train_feed(source, max_bad_images=6)
    views = torch.cat([batch.images for epoch in range(3) for batch in feed.batches(epoch)])

    assert torch.isfinite(views).all()
    assert {image.image for image in feed.bad_images} <= set(range(6))


@pytest.mark.parametrize("workers", [0, 1])
def test_more_bad_images_than_allowed_stop_the_run(
    train_feed: Callable, source: ImageFolder, workers: int
) -> None:
    first, second = draws.permutation(21, 1, 0).tolist()[2:7:4]
    damage(source, first, second)

    message = error_of(train_feed(source, workers=workers, max_bad_images=1).batches(0))

    assert message.startswith(f"{source.name(second)}: cannot be decoded (")
    assert "2 training image(s) cannot be used so far, and DATA.MAX_BAD_IMAGES is 1." in message


@pytest.mark.parametrize("workers", [0, 1])
def test_a_class_without_any_good_image_stops_the_run(
    train_feed: Callable, source: ImageFolder, workers: int
) -> None:
    damage(source, *range(7))

    with pytest.raises(
        DataError, match=r"^train/a/.*: neither it nor any other image of class 'a' can be used"
    ):
        list(train_feed(source, workers=workers, max_bad_images=100).batches(0))


def test_a_file_that_has_vanished_counts_as_bad(train_feed: Callable, source: ImageFolder) -> None:
    index = int(draws.permutation(21, 1, 0)[0])
    (Path(os.fsdecode(source._folder)) / os.fsdecode(source._name(index))).unlink()

    with pytest.raises(DataError, match=r"cannot be read \(No such file or directory\); 1 training image"):
        list(train_feed(source).batches(0))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_the_recipe_cannot_take_counts_as_bad(
    train_feed: Callable,
    source: ImageFolder,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
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


def test_a_worker_that_dies_is_one_clear_error(train_feed: Callable, make_folder: MakeFolder) -> None:
    source = _KilledReader(str(make_folder({"a": 8})), "train")

    with pytest.raises(
        DataError, match=r"^Data loading: a worker process was lost \(.*lower DATA\.NUM_WORKERS"
    ):
        list(train_feed(source, workers=1).batches(0))


def test_a_bug_keeps_its_own_error(train_feed: Callable, make_folder: MakeFolder) -> None:
    source = _BrokenReader(str(make_folder({"a": 8})), "train")

    with pytest.raises(RuntimeError, match="a bug in a format"):
        list(train_feed(source).batches(0))


class _LostPipe(ImageFolder):
    def read(self, index: int) -> bytes:
        raise EOFError("of the format's own")


def test_without_workers_a_lost_pipe_is_not_one_to_a_worker(
    train_feed: Callable, make_folder: MakeFolder
) -> None:
    source = _LostPipe(str(make_folder({"a": 8})), "train")

    with pytest.raises(EOFError, match="of the format's own"):
        list(train_feed(source).batches(0))
