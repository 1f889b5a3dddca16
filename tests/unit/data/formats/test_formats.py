"""What holds for all formats."""

import gc
import hashlib
import io
import multiprocessing
import os
import re
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import get_args, get_type_hints

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from swin_train.config.schema.data import Data
from swin_train.data.formats import (
    ARCHIVED,
    FORMATS,
    ImageSource,
    check_same_classes,
    fingerprint,
    open_split,
)
from swin_train.data.formats.packed_writer import PackedWriter
from swin_train.data.formats.zip_archive import ZipArchive
from swin_train.data.loader import TrainFeed
from swin_train.errors import UserError

Write = Callable[[dict[str, str | bytes]], Path]
SYNSETS = ("n00004475", "n00005787")


def picture(number: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (8 + number, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


IMAGES = {f"{SYNSETS[number % 2]}/{number}.JPEG": picture(number) for number in range(12)}


def folder(write: Write) -> ImageSource:
    return open_split(
        "imagenet", str(write({f"train/{name}": data for name, data in IMAGES.items()})), "train"
    )


def zipped(write: Write, dataset: str = "imagenet", method: int = zipfile.ZIP_STORED) -> ImageSource:
    lines = [f"{name}\t{SYNSETS.index(name.partition('/')[0])}\n" for name in IMAGES]
    root = write({"train_map.txt": "".join(lines)})
    with zipfile.ZipFile(root / "train.zip", "w", method) as archive:
        for name, data in IMAGES.items():
            archive.writestr(name, data)
    return open_split(dataset, str(root), "train", zip_mode=True)


def listed(write: Write) -> ImageSource:
    lines = [f'["{name}", {SYNSETS.index(name.partition("/")[0])}]' for name in IMAGES]
    files: dict[str, str | bytes] = {"ILSVRC2011fall_whole_map_train.txt": f"[{', '.join(lines)}]", **IMAGES}
    return open_split("imagenet22K", str(write(files)), "train")


def packed(write: Write) -> ImageSource:
    root = write({})
    writer = PackedWriter(root / "train", SYNSETS, shard_bytes=85 * len(IMAGES))
    for name, data in IMAGES.items():
        writer.add(name, SYNSETS.index(name.partition("/")[0]), data, len(data))
    writer.finish()
    return open_split("packed", str(root), "train")


def sharded(write: Write) -> ImageSource:
    root = write({"classes.txt": "\n".join(SYNSETS)})
    for shard in range(2):
        with tarfile.open(root / f"train-{shard:06d}.tar", "w") as archive:
            for name, data in list(IMAGES.items())[shard * len(IMAGES) // 2 :][: len(IMAGES) // 2]:
                label = str(SYNSETS.index(name.partition("/")[0])).encode()
                for member, content in ((name, data), (name.replace("JPEG", "cls"), label)):
                    info = tarfile.TarInfo(member)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return open_split("shards", str(root), "train")


def table(write: Write) -> ImageSource:
    images = [{"bytes": data, "path": name} for name, data in IMAGES.items()]
    labels = [SYNSETS.index(name.partition("/")[0]) for name in IMAGES]
    path = write({"train/x": ""}) / "train" / "0.parquet"
    (path.parent / "x").unlink()
    parquet.write_table(pyarrow.table({"image": images, "label": labels}), path)
    return open_split("parquet", str(path.parents[1]), "train", cache_dir=str(path.parents[1] / "cache"))


OPENERS: dict[str, Callable[[Write], ImageSource]] = {
    "folder": folder,
    "zip": zipped,
    "deflated": lambda write: zipped(write, method=zipfile.ZIP_DEFLATED),
    "22K in zip": lambda write: zipped(write, "imagenet22K"),
    "22K": listed,
    "packed": packed,
    "shards": sharded,
}

EVERY = {**OPENERS, "parquet": table}  # whose rows have no names


@pytest.fixture(params=OPENERS)
def source(request: pytest.FixtureRequest, write: Write) -> ImageSource:
    return EVERY[request.param](write)


def contents(source: ImageSource) -> dict[str, tuple[bytes, str]]:
    """Bytes and class by name, without the shard that a name may have."""
    return {
        re.sub(r"[^/]*\.tar/", "", source.name(index)): (
            source.read(index),
            source.classes[source.labels[index]],
        )
        for index in range(source.num_images)
    }


def test_every_format_has_the_same_images_labels_and_names(source: ImageSource) -> None:
    assert contents(source) == {
        f"train/{name}": (data, name.partition("/")[0]) for name, data in IMAGES.items()
    }
    assert source.labels.dtype == source.sizes.dtype == np.int64
    assert [len(source.read(index)) for index in range(12)] == source.sizes.tolist()
    for index in range(12):
        if span := source.span(index):
            assert Path(os.fsdecode(span.path)).read_bytes()[span.offset :][: span.length] == source.read(
                index
            )


def objects_of(thing: object) -> int:
    """How many Python objects can be reached from one, without those that it has in common with others."""
    seen: set[int] = set()
    left = [thing]
    while left:
        found = left.pop()
        if id(found) not in seen and not isinstance(found, type | ModuleType | FunctionType):
            seen.add(id(found))
            left += gc.get_referents(found)
    return len(seen)


@pytest.mark.parametrize("opener", EVERY)
def test_no_format_keeps_a_python_object_for_each_image(
    write: Write, opener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def under(name: str) -> Write:
        return lambda files: (
            write({f"{name}/{path}": data for path, data in files.items()} or {f"{name}/x": ""}) / name
        )

    few = EVERY[opener](under("few"))
    many = {f"{SYNSETS[number % 2]}/{number}.JPEG": picture(number % 3) for number in range(1000)}
    monkeypatch.setitem(globals(), "IMAGES", many)

    source = EVERY[opener](under("many"))

    assert source.num_images == 1000
    assert objects_of(source) - objects_of(few) < 500


def _touched(root: Path, when: float) -> None:
    for path in (*root.rglob("*"), root):
        os.utime(path, (when, when))


@pytest.mark.parametrize("when", [1.0, 4e9], ids=["1970", "2096"])
@pytest.mark.parametrize("opener", EVERY)
def test_no_format_knows_the_images_by_their_dates(write: Write, opener: str, when: float) -> None:
    source = EVERY[opener](write)
    before = fingerprint(source), fingerprint(source, in_order=True)
    root = write({})
    copy = root.with_name(f"{root.name} copied")

    _touched(root, when)
    shutil.copytree(root, copy)  # with the dates
    found = [reopened(opener, folder) for folder in (root, copy)]

    assert [(fingerprint(source), fingerprint(source, in_order=True)) for source in found] == [before] * 2


def reopened(opener: str, root: Path) -> ImageSource:
    """What an opener wrote, opened once more."""
    datasets = {"folder": "imagenet", "zip": "imagenet", "deflated": "imagenet", "22K": "imagenet22K"}
    dataset = datasets.get(opener, "imagenet22K" if "22K" in opener else opener)
    is_zip = opener in ("zip", "deflated", "22K in zip")
    return open_split(dataset, str(root), "train", zip_mode=is_zip, cache_dir=str(root / "cache"))


@pytest.mark.parametrize("source", [name for name in OPENERS if name != "shards"], indirect=True)
def test_every_format_has_the_same_fingerprint(source: ImageSource) -> None:
    lines = sorted(
        f"train/{name}\0{SYNSETS.index(name.partition('/')[0])}\0{len(data)}\0"
        for name, data in IMAGES.items()
    )
    assert fingerprint(source) == hashlib.sha256("".join(lines).encode()).hexdigest()


def _check(source: ImageSource, expected: list[bytes], start: int) -> None:
    for number in range(start, start + 200):
        assert source.read(number % 12) == expected[number % 12]


def test_forked_processes_with_threads_read_at_once(source: ImageSource) -> None:
    expected = [source.read(index) for index in range(12)]
    failures: list[object] = []

    def work(start: int) -> None:
        try:
            _check(source, expected, start)
        except BaseException as error:
            failures.append(error)
            raise

    def threads() -> None:
        running = [threading.Thread(target=work, args=(start,)) for start in range(3)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        assert not failures

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=threads) for _ in range(3)]
    for process in processes:
        process.start()
    threads()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0, 0]


@pytest.mark.parametrize("source", EVERY, indirect=True)
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_image_is_shown_exactly_once_in_an_epoch_whoever_shares_it(
    source: ImageSource, world_size: int, workers: int, train_feed: Callable[..., TrainFeed]
) -> None:
    feeds = [
        train_feed(source, workers=workers, global_batch=12, micro_batch=2, world_size=world_size, rank=rank)
        for rank in range(world_size)
    ]

    batches = [list(feed.host_batches(epoch)) for epoch in (0, 1) for feed in feeds]

    for epoch in (batches[:world_size], batches[world_size:]):
        shown = [image for rank in epoch for loaded in rank for image in loaded.request.indices.tolist()]
        labels = [label for rank in epoch for loaded in rank for label in loaded.labels.tolist()]
        assert sorted(shown) == list(range(12))
        assert labels == source.labels[shown].tolist()
        assert not [bad for rank in epoch for loaded in rank for bad in loaded.bad]


def test_the_configuration_names_all_formats() -> None:
    assert get_args(get_type_hints(Data)["DATASET"]) == tuple(FORMATS)
    assert set(ARCHIVED) <= set(FORMATS)


def test_the_cache_mode_reaches_the_archive(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    monkeypatch.setattr(ZipArchive, "__init__", lambda self, root, split, mode: modes.append(mode))

    open_split("imagenet", "", "train", zip_mode=True, cache_mode="full")

    assert modes == ["full"]


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^DATA\.DATASET is 'imagnet'; expected one of imagenet, imagenet22K, "
    ):
        open_split("imagnet", str(tmp_path), "train")


def test_a_format_without_archives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^DATA\.ZIP_MODE is True, but DATA\.DATASET is cifar10, which has no zip"
    ):
        open_split("cifar10", str(tmp_path), "train", zip_mode=True)


def fake(
    classes: str = "", names: str = "", labels: tuple[int, ...] = (), sizes: tuple[int, ...] = ()
) -> ImageSource:
    return SimpleNamespace(  # type: ignore[return-value]
        classes=tuple(classes),
        name=lambda index: names[index],
        labels=np.array(labels),
        sizes=np.array(sizes),
    )


def test_the_fingerprint_takes_any_name_and_any_order() -> None:
    one = fingerprint(fake(names="a\ud800", labels=(0, 1), sizes=(5, 6)))

    assert one == fingerprint(fake(names="\ud800a", labels=(1, 0), sizes=(6, 5)))
    assert one != fingerprint(fake(names="b\ud800", labels=(0, 1), sizes=(5, 6)))
    assert one != fingerprint(fake(names="a\ud800", labels=(0, 2), sizes=(5, 6)))
    assert one != fingerprint(fake(names="a\ud800", labels=(0, 1), sizes=(5, 7)))


def test_the_fingerprint_in_order_sees_other_places() -> None:
    one, other = (
        fake(names=names, labels=labels, sizes=sizes)
        for names, labels, sizes in (("ab", (0, 1), (5, 6)), ("ba", (1, 0), (6, 5)))
    )

    assert fingerprint(one) == fingerprint(one, in_order=True) == fingerprint(other)
    assert fingerprint(one, in_order=True) != fingerprint(other, in_order=True)


def test_a_map_of_other_lines_order_is_other_data_for_a_run(write: Write) -> None:
    before = zipped(write)
    lines = (write({}) / "train_map.txt").read_text().splitlines(keepends=True)

    after = open_split(
        "imagenet", str(write({"train_map.txt": "".join(reversed(lines))})), "train", zip_mode=True
    )

    assert contents(before) == contents(after)
    assert fingerprint(before) == fingerprint(after)
    assert fingerprint(before, in_order=True) != fingerprint(after, in_order=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "train/n00004475/0.JPEG").rename(root / "train/n00004475/1.JPEG"),
        lambda root: (root / "train/n00004475/0.JPEG").rename(root / "train/n00005787/0.JPEG"),
        lambda root: (root / "train/n00004475/0.JPEG").unlink(),
        lambda root: (root / "train/n00004475/0.JPEG").write_bytes(b"another length"),
    ],
    ids=["renamed", "relabelled", "deleted", "resized"],
)
def test_the_fingerprint_sees_other_images(write: Write, change: Callable[[Path], object]) -> None:
    before = fingerprint(folder(write))

    change(write({}))

    assert fingerprint(open_split("imagenet", str(write({})), "train")) != before


def test_splits_with_different_classes_are_refused_by_name() -> None:
    check_same_classes(fake("ab"), fake("ab"))
    with pytest.raises(UserError, match=r"different classes; only in train/: a; only in val/: c, d\."):
        check_same_classes(fake("ab"), fake("bcd"))


def test_the_same_classes_in_another_order_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"same classes under other labels: label 0 is a in train/ and b in val/\."
    ):
        check_same_classes(fake("ab"), fake("ba"))


def test_a_flat_validation_set_goes_with_training_folders(write: Write) -> None:
    files: dict[str, str | bytes] = {f"train/{name}": data for name, data in IMAGES.items()}
    files |= {"val/x.JPEG": picture(9), "val_map.txt": f"x.JPEG\t{SYNSETS[1]}\n"}
    root = str(write(files))

    train, val = open_split("imagenet", root, "train"), open_split("imagenet", root, "val")

    check_same_classes(train, val)
    assert val.labels.tolist() == [1]
