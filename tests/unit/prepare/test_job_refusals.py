"""What prepare refuses to do, and that nothing is touched then."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from swin_train.data.formats.image_folder import ImageFolder
from swin_train.errors import StorageError, UserError
from swin_train.prepare import job
from swin_train.prepare.images import Recoding
from swin_train.prepare.job import Settings, prepare

SHARD = 6000  # bytes: several units


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        (Settings("folder", "train", SHARD), "to was zip, now folder"),
        (
            Settings("zip", "train", SHARD, Recoding(16, 90)),
            "max_side was None, now 16; quality was None, now 90",
        ),
        (Settings("zip", "train", SHARD, skip_bad=True), "skip_bad was False, now True"),
    ],
)
@pytest.mark.parametrize("is_complete", [True, False])
def test_other_settings_are_refused(
    settings: Settings,
    change: str,
    is_complete: bool,
    source: ImageFolder,
    tmp_path: Path,
    content: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not is_complete:
        monkeypatch.setattr(job, "write_manifest", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with contextlib.suppress(KeyboardInterrupt):
        prepare(source, tmp_path / "out", Settings("zip", "train", SHARD), 1)
    before = content(tmp_path / "out")

    with pytest.raises(UserError) as error:
        prepare(source, tmp_path / "out", settings, 1)

    assert str(error.value) == (
        f"{tmp_path}/out: was begun otherwise: {change}. Give the same command again, or another OUT."
    )
    assert content(tmp_path / "out") == before


def test_another_source_is_refused(folder: Path, source: ImageFolder, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out", Settings("zip", "train"), 1)
    (folder / "train/ant/ant_0.JPEG").rename(folder / "train/ant/other.JPEG")

    with pytest.raises(UserError, match=r"source_fingerprint was .*, now "):
        prepare(ImageFolder(str(folder), "train"), tmp_path / "out", Settings("zip", "train"), 1)


def test_splits_of_one_folder_have_one_layout_and_the_same_classes(folder: Path, tmp_path: Path) -> None:
    prepare(ImageFolder(str(folder), "train"), tmp_path / "out", Settings("zip", "train"), 1)

    with pytest.raises(UserError, match=r"out: its train is zip, not shards; give another OUT"):
        prepare(ImageFolder(str(folder), "val"), tmp_path / "out", Settings("shards", "val"), 1)
    (folder / "val/cow").rename(folder / "val/dog")
    with pytest.raises(UserError, match=r"out: val has other classes than train: cow, dog; "):
        prepare(ImageFolder(str(folder), "val"), tmp_path / "out", Settings("zip", "val"), 1)


@pytest.mark.parametrize(
    ("to", "name"), [("folder", "train"), ("zip", "train_map.txt"), ("shards", "train-000001.tar")]
)
def test_nothing_that_exists_is_overwritten(to: str, name: str, source: ImageFolder, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("precious")

    with pytest.raises(UserError) as error:
        prepare(source, tmp_path / "out", Settings(to, "train", SHARD), 1)

    assert str(error.value) == (
        f"{tmp_path}/out/{name}: exists already, and prepare-data did not begin it; give another OUT"
    )
    assert (tmp_path / "out" / name).read_text() == "precious"


@pytest.mark.parametrize("name", ["train", "train.zip", "train_map.txt", "train-000009.tar"])
@pytest.mark.parametrize("to", ["folder", "zip", "shards"])
def test_a_second_layout_of_the_split_is_refused(
    to: str, name: str, source: ImageFolder, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).touch()

    with pytest.raises(UserError, match=rf"out/{name}: exists already, and prepare-data did not begin it"):
        prepare(source, tmp_path / "out", Settings(to, "train", SHARD), 1)


def test_class_names_of_something_else_are_not_overwritten(source: ImageFolder, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\n")

    with pytest.raises(
        UserError, match=r"classes.txt: names other classes than SOURCE has; give another OUT"
    ):
        prepare(source, tmp_path, Settings("shards", "train"), 1)


def test_too_little_space_is_said_before_anything_is_written(
    source: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))

    with pytest.raises(
        UserError, match=r"out: 0\.0\d MiB are needed and 0\.01 MiB are free; see to free space"
    ):
        prepare(source, tmp_path / "out", Settings("zip", "train"), 1)

    assert not (tmp_path / "out/train.zip").exists()


def test_a_disk_that_refuses_is_a_storage_error_after_which_one_can_go_on(
    source: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Callable
) -> None:
    from swin_train.prepare.targets.zip_archive import ZipArchive

    prepare(source, tmp_path / "whole", Settings("zip", "train", SHARD), 1)
    write = ZipArchive.write

    def refuse(self: ZipArchive, unit: int, images: object, temporary: Path) -> dict:
        if unit == 2:
            raise OSError(28, "No space left on device")
        return write(self, unit, images, temporary)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ZipArchive, "write", refuse)
        with pytest.raises(
            StorageError, match=r"out: cannot be written \(.*No space left.*give the same command"
        ):
            prepare(source, tmp_path / "out", Settings("zip", "train", SHARD), 1)
    prepare(source, tmp_path / "out", Settings("zip", "train", SHARD), 1)

    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_packing_without_the_extension_says_how_to_build_it(
    source: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swin_train.data.native import library

    monkeypatch.setattr(library, "unavailable", lambda: "is not built; run python main.py build-native")

    with pytest.raises(UserError) as error:
        prepare(source, tmp_path / "out", Settings("packed", "train"), 1)

    assert str(error.value) == (
        "--to packed: needs the native extension, which is not built; run python main.py build-native; other layouts "
        "do without"
    )
    assert not (tmp_path / "out").exists()


def test_images_that_readers_of_shards_do_not_look_for_are_refused(
    folder: Path, tmp_path: Path, picture: Callable
) -> None:
    (folder / "train/bee/x.bmp").write_bytes(picture(1, kind="BMP"))

    with pytest.raises(UserError) as error:
        prepare(ImageFolder(str(folder), "train"), tmp_path / "out", Settings("shards", "train"), 1)

    assert str(error.value) == (
        "bee/x.bmp: shards hold .jpg .jpeg .png .webp; convert such images, or write another layout"
    )
