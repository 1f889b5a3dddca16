"""Reading packed sets."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swin_train.data.formats import fingerprint, open_split
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.formats.packed import PackedFolder
from swin_train.data.formats.packed_records import INDEX_NAME, Records, read_records, write_records
from swin_train.data.formats.packed_writer import PackedWriter
from swin_train.errors import UserError

IMAGES = [(f"b/{number}.JPEG", number % 2, bytes([number]) * (10 + number)) for number in range(9)]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Nine images in shards of up to 40 bytes, each packed one byte smaller than it was."""
    writer = PackedWriter(tmp_path / "train", ("a", "b"), shard_bytes=40)
    for name, label, data in IMAGES:
        writer.add(name, label, data, len(data) + 1)
    writer.finish()
    return tmp_path


def test_images_come_back_in_order_from_all_shards(packed: Path) -> None:
    source = open_split("packed", str(packed), "train")

    assert sorted(path.name for path in (packed / "train").iterdir()) == [
        "00000.bin", "00001.bin", "00002.bin", "00003.bin", INDEX_NAME
    ]  # fmt: skip
    assert (source.num_images, source.num_classes, source.classes) == (9, 2, ("a", "b"))
    assert source.labels.tolist() == [label for _, label, _ in IMAGES]
    assert source.sizes.tolist() == [len(data) + 1 for _, _, data in IMAGES]
    for index in (8, 0, 3, 4, 2, 1, 7, 6, 5):
        name, _, data = IMAGES[index]
        assert source.read(index) == data
        assert source.name(index) == f"train/{name}"


def test_a_span_is_where_the_bytes_lie(packed: Path) -> None:
    source = PackedFolder(str(packed), "train")

    for index, (_, _, data) in enumerate(IMAGES):
        path, offset, length, _ = source.span(index)
        assert Path(path.decode()).read_bytes()[offset : offset + length] == data
        assert Path(path.decode()).name == f"{source.shards[index]:05}.bin"


def test_a_packed_set_has_the_fingerprint_of_its_source(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_folder({"a": 3, "b": 4})
    first = min((root / "train" / "b").iterdir())
    first.rename(first.with_stem("caf\u00e9 \udcff"))
    source = ImageFolder(str(root), "train")
    writer = PackedWriter(tmp_path / "packed" / "train", source.classes)
    for index in range(source.num_images):
        name = source.name(index).removeprefix("train/")
        writer.add(name, int(source.labels[index]), b"smaller", len(source.read(index)))
    writer.finish()

    packed = PackedFolder(str(tmp_path / "packed"), "train")

    assert fingerprint(packed) == fingerprint(source)
    assert [packed.name(index) for index in range(7)] == [source.name(index) for index in range(7)]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("val", r"there is no .*val/packed\.index: this is no packed set, or one that is not finished.*prepare-data"),
        ("train/00000.bin", r"there is no .*packed\.index"),
    ],
)  # fmt: skip
def test_a_folder_without_an_index_is_refused(packed: Path, split: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PackedFolder(str(packed), split)


@pytest.mark.parametrize(("root", "message"), [("", "is empty"), ("/nowhere", "does not exist")])
def test_a_data_path_that_is_no_folder_is_refused(root: str, message: str) -> None:
    with pytest.raises(UserError, match=f"DATA_PATH.*{message}"):
        PackedFolder(root, "train")


def test_an_index_that_cannot_be_read_is_refused(packed: Path) -> None:
    (packed / "train" / INDEX_NAME).unlink()
    (packed / "train" / INDEX_NAME).mkdir()

    with pytest.raises(UserError, match=r"packed\.index: cannot be read \(Is a directory\)"):
        PackedFolder(str(packed), "train")


def test_a_damaged_index_is_refused(packed: Path) -> None:
    index = packed / "train" / INDEX_NAME
    index.write_bytes(index.read_bytes()[:-1])

    with pytest.raises(UserError, match=r"packed\.index: is damaged \(its checksum .*copy it again"):
        PackedFolder(str(packed), "train")


def test_an_index_of_another_version_is_refused(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swin_train.data.formats.packed_records._VERSION", 3)

    with pytest.raises(
        UserError, match="is of version 2, and this program reads version 3; take the release"
    ):
        PackedFolder(str(packed), "train")


def test_shards_that_are_missing_or_of_another_size_are_named_together(packed: Path) -> None:
    (packed / "train" / "00001.bin").unlink()
    (packed / "train" / "00002.bin").write_bytes(b"short")

    with pytest.raises(
        UserError,
        match=r"train: 2 of 4 files are not as they were packed: 00001\.bin \(No such file or directory\), "
        r"00002\.bin \(5 bytes instead of 31\); copy it again, or pack it again",
    ):
        PackedFolder(str(packed), "train")


def with_labels(records: Records, *labels: int) -> Records:
    return replace(records, images=replace(records.images, labels=np.array(labels)))


DAMAGES: dict[str, tuple[Callable[[Records], Records], str]] = {
    "label": (lambda r: with_labels(r, *[0] * 8, 2), "labels outside of 0 to 1"),
    "negative label": (lambda r: with_labels(r, *[0] * 8, -1), "labels outside of 0 to 1"),
    "too few": (lambda r: with_labels(r, 0), r"9 images and its columns \[1, 9\]"),
    "too few checksums": (
        lambda r: replace(r, checksums=r.checksums[1:]),
        r"9 images and its columns \[8, 9\]",
    ),
    "no images": (lambda r: replace(with_labels(r), shards=()), "0 images"),
    "names": (
        lambda r: replace(r, images=replace(r.images, ends=r.images.ends[::-1].copy())),
        "names overlap",
    ),
    "overlap": (
        lambda r: replace(r, data_ends=r.data_ends[::-1].copy()),
        r"images of 00000\.bin lie outside",
    ),
    "beyond the shard": (
        lambda r: replace(r, data_ends=r.data_ends + 1),
        r"images of 00000\.bin lie outside",
    ),
    "another folder": (
        lambda r: replace(r, shards=(r.shards[0]._replace(file="../../x"), *r.shards[1:])),
        r"images of \.\./\.\./x lie outside",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_records_that_point_outside_are_refused(packed: Path, damage: str) -> None:
    index = packed / "train" / INDEX_NAME
    change, message = DAMAGES[damage]
    write_records(index, change(read_records(index)))

    with pytest.raises(UserError, match=f"is damaged .*{message}"):
        PackedFolder(str(packed), "train")


def test_a_shard_that_is_replaced_later_is_an_error_of_its_images(packed: Path) -> None:
    source = PackedFolder(str(packed), "train")
    shard = packed / "train" / "00000.bin"
    (packed / "new").write_bytes(bytes(shard.stat().st_size))
    (packed / "new").rename(shard)

    with pytest.raises(OSError, match=r"00000\.bin was changed or replaced since it was opened; start again"):
        source.read(0)
    assert source.span(0) is None
    assert source.read(8) == IMAGES[8][2]


def test_an_image_whose_bytes_changed_cannot_be_read(packed: Path) -> None:
    shard = packed / "train" / "00000.bin"
    shard.write_bytes(b"?" + shard.read_bytes()[1:])

    source = PackedFolder(str(packed), "train")

    with pytest.raises(OSError, match=r"00000\.bin does not hold what was packed at byte 0; copy it again"):
        source.read(0)
    assert source.read(1) == IMAGES[1][2]


def test_changed_bytes_in_a_shard_are_found(packed: Path) -> None:
    source = PackedFolder(str(packed), "train")
    assert source.damaged_shards() == []

    shard = packed / "train" / "00002.bin"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")

    assert source.damaged_shards() == ["00002.bin"]
