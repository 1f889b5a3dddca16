"""What is broken, twice there or unusual in a data set is found and named."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swin_train.data.formats.image_folder import ImageFolder
from swin_train.prepare.sources import open_splits
from swin_train.prepare.verify import Report, verify


def check(path: Path, workers: int = 2) -> Report:
    return verify(open_splits(path, None, None), workers)


def save(path: Path, image: Image.Image, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, kind)


def test_neither_this_nor_preparing_waits_for_torch() -> None:
    command = (
        "import sys, swin_train.prepare.job, swin_train.prepare.verify; sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", command], cwd=Path(__file__).parents[3]).returncode == 0


def test_an_orderly_set_is_clean(folder: Path) -> None:
    report = check(folder)

    train = report.splits["train"]
    assert report.is_clean
    assert (train.images, train.classes) == (21, 3)
    assert train.smallest_class == ("bee", 6)
    assert train.largest_class == ("cow", 8)
    assert train.bytes == sum(path.stat().st_size for path in (folder / "train").rglob("*.*"))
    assert report.splits["val"].images == 6
    assert (report.duplicates, report.leaks, report.conflicts, report.one_split_only) == ([], [], [], {})


def test_damaged_and_unreadable_images_are_broken(folder: Path) -> None:
    cut = folder / "train/ant/ant_1.JPEG"
    cut.write_bytes(cut.read_bytes()[:-50])
    (folder / "val/bee/empty.jpg").touch()
    sources = open_splits(folder, None, None)
    (folder / "train/cow/cow_1.JPEG").unlink()

    report = verify(sources, 2)

    assert not report.is_clean
    assert list(report.splits["train"].broken) == ["train/ant/ant_1.JPEG", "train/cow/cow_1.JPEG"]
    assert report.splits["train"].broken["train/cow/cow_1.JPEG"].startswith("cannot be read (")
    assert report.splits["val"].broken == {"val/bee/empty.jpg": "cannot be decoded (the file is empty)"}


def test_a_file_that_is_larger_than_any_picture_is_told_by_its_size(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a member of an archive that claims to unpack to gigabytes."""
    name, limit = "train/ant/ant_1.JPEG", 1 << 16
    with (folder / name).open("ab") as file:
        file.truncate(limit + 1)
    monkeypatch.setattr("swin_train.data.encoded.MAX_BYTES", limit)

    assert check(folder).splits["train"].broken == {
        name: f"has {limit + 1} bytes, more than the limit of {limit}"
    }


def test_the_same_bytes_are_found_within_and_across_splits(folder: Path) -> None:
    def copy(source: str, target: str) -> None:
        (folder / target).write_bytes((folder / source).read_bytes())

    copy("train/ant/ant_0.JPEG", "train/ant/copy.JPEG")
    copy("train/ant/ant_1.JPEG", "train/bee/copy.JPEG")
    copy("train/cow/cow_0.JPEG", "val/cow/leak.JPEG")
    copy("train/cow/cow_1.JPEG", "val/ant/leak.JPEG")

    report = check(folder)

    assert report.duplicates == [
        ["train/ant/ant_0.JPEG", "train/ant/copy.JPEG"],
        ["train/ant/ant_1.JPEG", "train/bee/copy.JPEG"],
    ]
    assert report.leaks == [
        ["train/cow/cow_0.JPEG", "val/cow/leak.JPEG"],
        ["train/cow/cow_1.JPEG", "val/ant/leak.JPEG"],
    ]
    assert report.conflicts == [report.duplicates[1], report.leaks[1]]
    assert report.is_clean


def test_images_that_cannot_be_read_are_no_duplicates(folder: Path) -> None:
    sources = open_splits(folder, "train", None)
    for i in range(3):
        (folder / f"train/ant/ant_{i}.JPEG").unlink()

    assert verify(sources, 1).duplicates == []


def test_unusual_pictures_are_counted_by_what_is_unusual(tmp_path: Path) -> None:
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8))
    deep = Image.fromarray(np.random.default_rng(0).integers(0, 65536, (40, 40), dtype=np.uint16))
    folder = tmp_path / "train/c"
    save(folder / "plain.jpg", grey.convert("RGB"), "JPEG")
    save(folder / "grey.jpeg", grey, "JPEG")
    save(folder / "deep.png", deep, "PNG")
    save(folder / "cmyk.jpg", grey.convert("CMYK"), "JPEG")
    save(folder / "alpha.png", grey.convert("RGBA"), "PNG")
    save(folder / "really_png.JPEG", grey.convert("RGB"), "PNG")
    save(folder / "tiny.png", grey.convert("RGB").resize((31, 40)), "PNG")
    save(folder / "huge.png", grey.convert("RGB").resize((4097, 33)), "PNG")

    report = check(tmp_path)

    assert report.splits["train"].traits == {
        "16 bits": ["train/c/deep.png"],
        "CMYK": ["train/c/cmyk.jpg"],
        "grey": ["train/c/grey.jpeg"],
        "alpha": ["train/c/alpha.png"],
        "tiny": ["train/c/tiny.png"],
        "huge": ["train/c/huge.png"],
        "other ending": ["train/c/really_png.JPEG"],
    }
    assert report.is_clean


def test_classes_of_one_split_are_named(folder: Path) -> None:
    (folder / "val/cow").rename(folder / "val/dog")

    assert check(folder).one_split_only == {"train": ["cow"], "val": ["dog"]}


def test_a_folder_of_classes_is_one_split(folder: Path) -> None:
    report = check(folder / "train")

    assert list(report.splits) == ["train"]
    assert report.splits["train"].images == 21


def test_a_split_that_cannot_be_opened_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "val/empty").mkdir()

    report = check(folder)

    assert list(report.splits) == ["train"]
    assert "looked through without one split: " in caplog.text
    assert "1 class folder(s) hold no images: empty" in caplog.text


def test_more_workers_see_the_same(folder: Path) -> None:
    assert check(folder, 1) == check(folder, 3)


def test_an_error_stops_the_threads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ImageFolder(str(folder), "train")
    monkeypatch.setattr(source, "read", lambda _: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        verify({"train": source}, 2)
