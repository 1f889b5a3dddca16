"""Files that are not what the manifest says."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from swin_train.data.formats.image_folder import ImageFolder
from swin_train.errors import UserError
from swin_train.prepare.job import Settings, prepare
from swin_train.prepare.manifest import damaged_files, miscounts, read_manifest
from swin_train.prepare.sources import open_splits


def problems(out: Path) -> dict[str, str]:
    splits = read_manifest(out)
    found = {name: problem for name, problem in damaged_files(out, splits) if problem is not None}
    return found | miscounts(splits, open_splits(out, None, None))


@pytest.fixture
def prepared(source: ImageFolder, tmp_path: Path) -> Callable[[str], Path]:
    """Writes the training images in a layout."""

    def write(to: str) -> Path:
        prepare(source, tmp_path / to, Settings(to, "train", 6000), 1)
        return tmp_path / to

    return write


def test_class_names_that_were_changed_are_found(prepared: Callable[[str], Path]) -> None:
    out = prepared("shards")
    assert problems(out) == {}
    (out / "classes.txt").write_text("bee\nant\ncow\n")

    assert problems(out) == {"classes.txt": "has another SHA-256 than when it was written"}


def test_an_image_that_was_added_is_found(prepared: Callable[[str], Path]) -> None:
    out = prepared("folder")
    shutil.copy(out / "train/ant/ant_0.JPEG", out / "train/ant/new.JPEG")
    (out / "train/.DS_Store").touch()  # no reader looks at it

    assert problems(out) == {
        "train/ant/new.JPEG": "is not in manifest.json",
        "train": "holds 22 images in 3 classes, of which manifest.json counts 21 in 3",
    }


def test_a_shard_that_was_copied_is_found(prepared: Callable[[str], Path]) -> None:
    out = prepared("shards")
    shutil.copy(out / "train-000000.tar", out / "copy-train.tar")

    assert problems(out)["copy-train.tar"] == "is not in manifest.json"


def test_images_under_another_class_than_counted_are_found(prepared: Callable[[str], Path]) -> None:
    out = prepared("zip")
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["splits"]["train"]["images_per_class"] = {"ant": 6, "bee": 7, "cow": 8}
    (out / "manifest.json").write_text(json.dumps(manifest))

    assert problems(out) == {"train": "has other numbers of images by class than manifest.json counts"}


def test_a_split_that_was_added_is_found(prepared: Callable[[str], Path], folder: Path) -> None:
    out = prepared("folder")
    shutil.copytree(folder / "val", out / "val")

    assert problems(out) == {"val": "is not in manifest.json"}


@pytest.mark.parametrize("to", ["folder", "zip", "shards"])
def test_a_finished_command_notices_what_was_removed(
    to: str, source: ImageFolder, prepared: Callable[[str], Path]
) -> None:
    out = prepared(to)
    lost = {"folder": "train/bee/bee_1.JPEG", "zip": "train_map.txt", "shards": "train-000002.tar"}[to]
    (out / lost).unlink()

    with pytest.raises(UserError) as error:
        prepare(source, out, Settings(to, "train", 6000), 1)

    assert str(error.value) == (
        f"{out}: is finished by manifest.json, but 1 files of train are missing or have another size: {lost}; put "
        "them back, or give another OUT"
    )


def test_a_finished_command_notices_a_file_that_was_cut(
    source: ImageFolder, prepared: Callable[[str], Path]
) -> None:
    out = prepared("zip")
    with (out / "train.zip").open("r+b") as file:
        file.truncate(100)

    with pytest.raises(UserError, match=r"missing or have another size: train.zip; put them back"):
        prepare(source, out, Settings("zip", "train", 6000), 1)


@pytest.mark.parametrize(
    "damage",
    [
        {"files": {"a": 3}},
        {"files": {"a": [3]}},
        {"files": {"a": ["3", "x"]}},
        {"files": []},
        {"images": "21"},
        {"images_per_class": {"ant": None}},
        {"settings": 1},
        {"settings": {}},
    ],
)
def test_a_damaged_manifest_is_refused(damage: dict, prepared: Callable[[str], Path]) -> None:
    path = prepared("zip") / "manifest.json"
    content = json.loads(path.read_text())
    content["splits"]["train"] |= damage
    path.write_text(json.dumps(content))

    with pytest.raises(
        UserError, match=re.escape(f"{path}: is damaged, or no manifest of prepare-data (")
    ) as error:
        read_manifest(path.parent)
    assert str(error.value).endswith("); move it away")
