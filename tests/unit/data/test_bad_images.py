"""Images, readers and worker processes that fail while batches are made."""

import ctypes
import faulthandler
import io
import logging
import multiprocessing
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import get_worker_info

from swin_train.data import draws
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.recipe.crop import ResizedCrop
from swin_train.data.recipe.view import Crop
from swin_train.errors import DataError

MakeFolder = Callable[..., Path]


def damage(source: ImageFolder, *indices: int) -> None:
    for index in indices:
        overwrite(path_of(source, index), path_of(source, index).read_bytes()[:100])


def path_of(source: ImageFolder, index: int) -> Path:
    return Path(os.fsdecode(source._folder)) / os.fsdecode(source._name(index))


def overwrite(path: Path, data: bytes) -> None:
    """Keep the length, which is looked at first."""
    path.write_bytes(data.ljust(path.stat().st_size, b"\0"))


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
    assert "2 training image(s) cannot be used so far, and DATA.MAX_BAD_IMAGES allows 1." in message


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
    path_of(source, index).unlink()

    with pytest.raises(DataError, match=r"cannot be read \(No such file or directory\); 1 training image"):
        list(train_feed(source).batches(0))


def test_a_file_that_is_too_large_is_bad_before_it_is_in_memory(
    train_feed: Callable, make_folder: MakeFolder
) -> None:
    root = make_folder({"a": 4, "b": 4})
    huge = sorted((root / "train/b").iterdir())[1]
    os.truncate(huge, 1 << 40)  # of holes: it takes nothing on the disk, and would fill any memory
    feed = train_feed(ImageFolder(str(root), "train"), max_bad_images=1)

    list(feed.batches(0))

    [bad] = feed.bad_images
    assert bad.reason == f"has {1 << 40} bytes, more than the limit of {64 << 20}"


@pytest.mark.parametrize(
    "change", [lambda data: data + b"\0", lambda data: data[:-2]], ids=["longer", "shorter"]
)
def test_a_file_of_another_length_is_bad_until_the_folder_is_indexed_anew(
    train_feed: Callable, make_folder: MakeFolder, change: Callable[[bytes], bytes]
) -> None:
    root = make_folder({"a": 4, "b": 4})
    for folder in (root / "train", root / "train/a", root / "train/b"):
        os.utime(folder, (1, 1))  # settled, so that the index is kept
    source = ImageFolder(str(root), "train")
    path, length = path_of(source, 5), int(source.sizes[5])
    path.write_bytes(change(path.read_bytes()))
    feed = train_feed(source, max_bad_images=1)

    list(feed.batches(0))

    [bad] = feed.bad_images
    problem = f"it has {path.stat().st_size} bytes and had {length} when the folder was indexed"
    assert (bad.image, problem in bad.reason) == (5, True)
    assert ImageFolder(str(root), "train").sizes[5] == path.stat().st_size


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_the_recipe_cannot_take_counts_as_bad(
    train_feed: Callable,
    source: ImageFolder,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = int(draws.permutation(21, 1, 0)[5])
    narrow = io.BytesIO()
    Image.new("RGB", (1, 20)).save(narrow, "PNG")
    overwrite(path_of(source, bad), narrow.getvalue())
    draw = ResizedCrop.draw

    def choosy(self: ResizedCrop, width: int, height: int, rng: random.Random) -> Crop:
        if width == 1:
            raise ValueError("of one\ncolumn")
        return draw(self, width, height, rng)

    monkeypatch.setattr(ResizedCrop, "draw", choosy)
    feed = train_feed(source, workers=workers, max_bad_images=1)

    with caplog.at_level(logging.WARNING):
        list(feed.batches(0))

    assert caplog.messages == [
        f"{source.name(bad)}: cannot be transformed (ValueError: of one column);"
        " replaced by another image of its class"
    ]
    assert [image.image for image in feed.bad_images] == [bad]


class _LosingReader(ImageFolder):
    """Does something to its process at the last image of every batch of four."""

    def __init__(self, root: Path, do: Callable[[], object]) -> None:
        super().__init__(str(root), "train")
        self._do, self._reads = do, 0

    def read(self, index: int) -> bytes:
        self._reads += 1
        if self._reads == 4:
            faulthandler.disable()  # pytest's, which would show the stack of a crash
            self._do()
        return super().read(index)


class _BrokenReader(ImageFolder):
    def read(self, index: int) -> bytes:
        raise RuntimeError("a bug in a format")


_LOSSES: list[tuple[Callable[[], object], str]] = [
    (
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        "was killed by SIGKILL. Often memory is full: lower DATA.NUM_WORKERS or DATA.PREFETCH. DATA.NUM_WORKERS 0",
    ),
    (
        lambda: ctypes.string_at(0),
        "was killed by SIGSEGV. A library may have crashed at that image: look at it, or",
    ),
    (os.abort, "was killed by SIGABRT. A library may have crashed at that image: look at it, or"),
    (
        lambda: os._exit(3),
        "ended with status 3. DATA.NUM_WORKERS 0 loads in the main process, which shows why.",
    ),
]


@pytest.mark.parametrize(("loss", "words"), _LOSSES, ids=["killed", "segfault", "abort", "exit"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_lost_is_one_error_with_its_number_process_and_image(
    process_feed: Callable, make_folder: MakeFolder, loss: Callable[[], object], words: str, workers: int
) -> None:
    source = _LosingReader(make_folder({"a": 8}), loss)
    last = [source.name(image) for image in draws.permutation(8, 1, 0).tolist()[3::4]]

    began = time.monotonic()
    message = error_of(process_feed(source, workers=workers).batches(0))

    assert time.monotonic() - began < 60  # not only after DATA.TIMEOUT_S
    found = re.fullmatch(r"Data loading: worker (\d) \(pid (\d+)\) at (\S+) (.*)", message)
    assert found is not None, message
    assert int(found[1]) < workers
    assert found[3] == last[int(found[1])]
    assert found[4].startswith(words)


def test_a_worker_that_ends_as_if_all_was_well_is_found_within_the_timeout(
    process_feed: Callable, make_folder: MakeFolder
) -> None:
    source = _LosingReader(make_folder({"a": 8}), lambda: os._exit(0))

    message = error_of(process_feed(source, workers=1, timeout_s=1).batches(0))

    assert re.match(r"Data loading: worker 0 \(pid \d+\) at train/a/\d.png ended with status 0\.", message)


@pytest.mark.parametrize("hang", [lambda: os.kill(os.getpid(), signal.SIGSTOP), lambda: time.sleep(60)])
def test_a_worker_that_hangs_is_named_with_its_image_and_ended(
    process_feed: Callable, make_folder: MakeFolder, hang: Callable[[], object]
) -> None:
    source = _LosingReader(make_folder({"a": 8}), hang)
    at_work = source.name(int(draws.permutation(8, 1, 0)[3]))

    message = error_of(process_feed(source, workers=1, timeout_s=1).batches(0))

    words = "Data loading: no batch came for 1 s, which is DATA.TIMEOUT_S; waiting for worker 0 (pid "
    assert message.startswith(words)
    assert f") at {at_work}. Is the disk or the network that holds the images gone?" in message
    assert not multiprocessing.active_children()


def test_a_worker_that_is_at_rest_is_not_blamed_for_one_that_hangs(
    process_feed: Callable, make_folder: MakeFolder
) -> None:
    def hang_in_second() -> None:
        worker = get_worker_info()
        if worker is not None and worker.id == 1:
            os.kill(os.getpid(), signal.SIGSTOP)

    source = _LosingReader(make_folder({"a": 8}), hang_in_second)

    message = error_of(process_feed(source, workers=2, timeout_s=1).batches(0))

    assert "; waiting for worker 1 (pid " in message
    assert "worker 0" not in message


def test_a_bug_keeps_its_own_error(process_feed: Callable, make_folder: MakeFolder) -> None:
    source = _BrokenReader(str(make_folder({"a": 8})), "train")

    with pytest.raises(RuntimeError, match="a bug in a format"):
        list(process_feed(source).batches(0))


class _LostPipe(ImageFolder):
    def read(self, index: int) -> bytes:
        raise EOFError("of the format's own")


def test_without_workers_a_lost_pipe_is_not_one_to_a_worker(
    process_feed: Callable, make_folder: MakeFolder
) -> None:
    source = _LostPipe(str(make_folder({"a": 8})), "train")

    with pytest.raises(EOFError, match="of the format's own"):
        list(process_feed(source).batches(0))
