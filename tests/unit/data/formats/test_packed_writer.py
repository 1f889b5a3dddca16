"""Writing packed sets: a run that is killed anywhere goes on and ends with the same files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from swin_train.data.formats.packed import PackedFolder
from swin_train.data.formats.packed_records import INDEX_NAME
from swin_train.data.formats.packed_writer import PackedWriter
from swin_train.errors import UserError

CLASSES = ("a", "b", "c")
IMAGES = [(f"c/{number}.JPEG", number % 3, bytes([number]) * (10 + number)) for number in range(10)]


def pack(folder: Path, count: int = len(IMAGES)) -> PackedWriter:
    """Pack what is missing of the first images, and do not finish."""
    writer = PackedWriter(folder, CLASSES, shard_bytes=40)
    for position, (name, label, data) in enumerate(IMAGES[:count]):
        if not writer.holds(position, name, label, len(data)):
            writer.add(name, label, data, len(data))
    return writer


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """The files of a run that nobody has stopped."""
    pack(tmp_path / "whole").finish()
    return contents(tmp_path / "whole")


def test_shards_end_before_they_become_too_large(whole: dict[str, bytes]) -> None:
    sizes = {name: len(data) for name, data in whole.items() if name != INDEX_NAME}

    assert sizes == {"00000.bin": 33, "00001.bin": 27, "00002.bin": 31, "00003.bin": 35, "00004.bin": 19}


def test_an_image_larger_than_a_shard_has_one_of_its_own(tmp_path: Path) -> None:
    writer = PackedWriter(tmp_path / "train", CLASSES, shard_bytes=4)
    for data in (b"large" * 9, b"tiny", b"large" * 8):
        writer.add(f"{len(data)}", 0, data, len(data))
    writer.finish()

    source = PackedFolder(str(tmp_path), "train")

    assert [len(source.read(index)) for index in range(3)] == [45, 4, 40]


class Killed(BaseException):
    pass


def kill_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """Make the ``step``-th call end the run that flushes, renames or deletes a file; so does every later one."""
    calls = 0

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls >= step:
                raise Killed
            return function(*arguments, **options)

        return call

    patch.setattr(os, "fsync", counted(os.fsync))
    for name in ("rename", "replace", "unlink"):
        patch.setattr(Path, name, counted(getattr(Path, name)))


def test_a_run_killed_anywhere_goes_on_and_ends_with_the_same_files(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    killed = 0
    for step in range(1, 100):
        folder = tmp_path / str(step)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(step, patch)
            try:
                pack(folder).finish()
            except Killed:
                killed += 1
        pack(folder).finish()
        assert contents(folder) == whole, step

    assert 30 < killed < 99  # every step was met


def test_what_is_finished_is_not_asked_for_again(tmp_path: Path) -> None:
    pack(tmp_path, 6)  # two shards, and one image in a third

    assert PackedWriter(tmp_path, CLASSES, shard_bytes=40).num_finished == 5
    assert sorted(contents(tmp_path)) == ["00000.bin", "00000.bin.records", "00001.bin", "00001.bin.records"]


@pytest.mark.parametrize("lost", ["00001.bin", "00001.bin.records"])
def test_shards_behind_one_that_is_lost_are_written_again(
    tmp_path: Path, whole: dict[str, bytes], lost: str
) -> None:
    folder = tmp_path / "train"
    pack(folder)
    (folder / lost).unlink()

    writer = pack(folder)
    writer.finish()

    assert writer.num_finished == 3
    assert contents(folder) == whole


def test_a_shard_of_another_size_is_written_again(tmp_path: Path, whole: dict[str, bytes]) -> None:
    folder = tmp_path / "train"
    pack(folder)
    (folder / "00000.bin").write_bytes(b"short")

    pack(folder).finish()

    assert contents(folder) == whole


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.bin").write_text("mine")
    (tmp_path / "00009.bin.part").write_text("of a killed run")

    pack(tmp_path).finish()

    assert (tmp_path / "notes.bin").read_text() == "mine"
    assert not (tmp_path / "00009.bin.part").exists()


def test_closing_leaves_the_finished_shards(tmp_path: Path) -> None:
    pack(tmp_path, 6).close()

    assert sorted(contents(tmp_path)) == ["00000.bin", "00000.bin.records", "00001.bin", "00001.bin.records"]


@pytest.mark.parametrize(
    "image", [("other", 0, len(IMAGES[0][2])), (IMAGES[0][0], 1, len(IMAGES[0][2])), (IMAGES[0][0], 0, 1)]
)
def test_a_source_that_has_changed_meanwhile_is_refused(tmp_path: Path, image: tuple[str, int, int]) -> None:
    pack(tmp_path)

    with pytest.raises(
        UserError, match=r"image 0 is c/0.JPEG there \(label 0, 10 bytes\) and .* delete the folder"
    ):
        PackedWriter(tmp_path, CLASSES).holds(0, *image)


def test_a_finished_set_is_complete(tmp_path: Path) -> None:
    pack(tmp_path).finish()

    writer = pack(tmp_path)

    assert writer.is_complete
    assert writer.num_finished == len(IMAGES)
    writer.finish()
    with pytest.raises(
        UserError, match="holds a finished set of 10 images, without one more; delete the folder"
    ):
        writer.add("one more", 0, b"", 0)


@pytest.mark.parametrize("finished", [True, False])
def test_a_set_of_other_classes_is_refused(tmp_path: Path, finished: bool) -> None:
    writer = pack(tmp_path)
    if finished:
        writer.finish()

    with pytest.raises(UserError, match="holds a packed set of other classes; delete the folder"):
        PackedWriter(tmp_path, ("a", "b", "d"))


def test_a_damaged_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / INDEX_NAME).write_bytes(b"")

    with pytest.raises(
        UserError, match=r"packed\.index: is damaged \(it has only 0 bytes\); delete the folder"
    ):
        PackedWriter(tmp_path, CLASSES)


def test_a_label_without_a_class_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="label 3 of x is not below 3"):
        PackedWriter(tmp_path, CLASSES).add("x", 3, b"", 0)


def test_a_set_without_images_cannot_be_finished(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no images"):
        PackedWriter(tmp_path, CLASSES).finish()
