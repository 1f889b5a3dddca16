"""What an interrupted preparation has left is neither read nor verified as a data set."""

from collections.abc import Callable
from pathlib import Path

import pytest

from swin_train.data.formats.image_folder import ImageFolder
from swin_train.errors import DataError, StorageError, UserError
from swin_train.prepare.job import Settings, prepare
from swin_train.prepare.sources import open_source, open_splits
from swin_train.prepare.targets import TARGETS

SHARD = 6000  # bytes: several units
LAYOUTS = ["folder", "zip", "shards", "packed"]


def interrupt(to: str, source: ImageFolder, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full in the middle."""
    target = TARGETS[to]
    write = target.write  # type: ignore[attr-defined]

    def refuse(self: object, unit: int, images: object, temporary: Path) -> dict:
        if unit == 2:
            raise OSError(28, "No space left on device")
        return write(self, unit, images, temporary)

    with monkeypatch.context() as patch:
        patch.setattr(target, "write", refuse)
        with pytest.raises(StorageError):
            prepare(source, out, Settings(to, "train", SHARD), 1)


@pytest.mark.usefixtures("fake_tiles")
@pytest.mark.parametrize("to", LAYOUTS)
def test_a_disk_full_in_the_middle_leaves_nothing_that_is_read(
    to: str, folder: Path, source: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    prepare(ImageFolder(str(folder), "val"), out, Settings(to, "val", SHARD), 1)
    interrupt(to, source, out, monkeypatch)

    for read in (open_source, open_splits):
        with pytest.raises(UserError, match=r"out: holds only a part of train: prepare-data was interrupted"):
            read(out, "train", None)  # type: ignore[operator]
    with pytest.raises(UserError, match="holds only a part of train"):
        open_splits(out, None, None)
    assert open_source(out, "val").num_images == 6
    prepare(source, out, Settings(to, "train", SHARD), 1)
    assert open_source(out, "train").num_images == 21


def test_the_folder_of_an_unfinished_split_itself_is_refused(
    source: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt("folder", source, tmp_path / "out", monkeypatch)

    with pytest.raises(UserError, match="holds only a part of train"):
        open_source(tmp_path / "out/train", "train")


@pytest.mark.usefixtures("fake_tiles")
@pytest.mark.parametrize("to", LAYOUTS)
@pytest.mark.parametrize("is_same_size", [True, False])
def test_after_a_lost_class_was_mended_the_same_command_works(
    to: str, is_same_size: bool, folder: Path, tmp_path: Path, content: Callable
) -> None:
    settings = Settings(to, "train", SHARD, skip_bad=True)
    prepare(ImageFolder(str(folder), "train"), tmp_path / "whole", settings, 1)
    good = {path: path.read_bytes() for path in (folder / "train/bee").iterdir()}
    for path, data in good.items():
        path.write_bytes(bytes(len(data) if is_same_size else 3))
    with pytest.raises(DataError) as error:
        prepare(ImageFolder(str(folder), "train"), tmp_path / "out", settings, 1)
    assert str(error.value) == (
        f"{tmp_path}/out: no image is left of 1 classes: bee; what was written of train is removed. Mend SOURCE and "
        "give the same command again"
    )
    assert content(tmp_path / "out") == {}
    for path, data in good.items():
        path.unlink()
        path.write_bytes(data)

    prepare(ImageFolder(str(folder), "train"), tmp_path / "out", settings, 1)

    assert content(tmp_path / "out") == content(tmp_path / "whole")
