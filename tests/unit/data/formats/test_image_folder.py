import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder as TorchvisionImageFolder

from swin_train.data.formats import check_same_classes, fingerprint, open_split
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.errors import UserError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def test_classes_order_and_labels_are_torchvisions(tmp_path: Path) -> None:
    touch(
        tmp_path / "train",
        "b/10.jpg", "b/9.JPEG", "b/a/deep/1.png", "b/Z/2.webp", "b/notes.txt", "B/x.tif", "a b/1.bmp",
        "\u00e9/1.pgm",
    )  # fmt: skip
    theirs = TorchvisionImageFolder(str(tmp_path / "train"))

    ours = ImageFolder(str(tmp_path), "train")

    assert list(ours.classes) == theirs.classes
    assert ours.labels.dtype == np.int64
    assert ours.labels.tolist() == theirs.targets
    names = [os.path.relpath(path, tmp_path) for path, _ in theirs.samples]
    assert [ours.name(i) for i in range(ours.num_images)] == names
    assert ours.num_images == 7
    assert ours.num_classes == 4


def test_read_gives_the_bytes_of_each_file(tmp_path: Path) -> None:
    source = ImageFolder(str(touch(tmp_path, "val/a/1.png", "val/a/2.png", "val/b/1.png")), "val")

    assert [source.read(i) for i in range(3)] == [b"val/a/1.png", b"val/a/2.png", b"val/b/1.png"]


def test_names_that_are_not_utf8_are_read_and_shown_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "train" / os.fsdecode(b"caf\xe9")
    folder.mkdir(parents=True)
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"data")

    source = ImageFolder(str(tmp_path), "train")

    assert source.read(0) == b"data"
    assert source.name(0).encode("ascii") == rb"train/caf\xe9/\xff.png"
    assert source.classes == (r"caf\xe9",)


def test_hidden_and_other_files_are_ignored_with_a_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(
        tmp_path / "train",
        ".DS_Store", "a/.x.png", ".cache/1.png", "a/.t/1.png", "a/1.png", "a/list.csv", "stray.png",
    )  # fmt: skip

    with caplog.at_level(logging.WARNING):
        source = ImageFolder(str(tmp_path), "train")

    assert source.num_images == 1
    assert source.classes == ("a",)
    hidden, others = [record.getMessage() for record in caplog.records]
    assert 'ignored 4 names that start with ".": ' in hidden
    assert others.endswith("are no images or stand beside the class folders: stray.png, list.csv")


def test_an_orderly_folder_gives_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ImageFolder(str(touch(tmp_path, "train/a/1.png")), "train")

    assert not caplog.records


def test_an_empty_data_path_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^DATA\.DATA_PATH is empty; give the data folder \(--data-path DIR\)"
    ):
        ImageFolder("", "train")


def test_a_missing_data_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"DATA\.DATA_PATH: .*/nowhere does not exist\. Expected: DATA_PATH/train"
    ):
        ImageFolder(str(tmp_path / "nowhere"), "train")


def test_a_file_as_data_path_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train.zip")

    with pytest.raises(UserError, match=r"train\.zip is not a folder"):
        ImageFolder(str(tmp_path / "train.zip"), "train")


def test_a_missing_split_is_refused_and_the_error_says_what_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "cats/1.png", "dogs/1.png")

    with pytest.raises(UserError, match=r"has no folder train/; it holds cats, dogs\."):
        ImageFolder(str(tmp_path), "train")


def test_a_split_without_class_folders_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.png")

    with pytest.raises(UserError, match=r"train: there are no class folders"):
        ImageFolder(str(tmp_path), "train")


def test_all_empty_classes_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/readme.md")
    (tmp_path / "train/c").mkdir()

    with pytest.raises(UserError, match=r"2 class folder\(s\) hold no images: b, c\. Add images \(\.jpg"):
        ImageFolder(str(tmp_path), "train")


def test_long_lists_of_names_are_cut(tmp_path: Path) -> None:
    touch(tmp_path, "train/z/1.png")
    for number in range(13):
        (tmp_path / f"train/{number:02d}").mkdir()

    with pytest.raises(UserError, match=r"13 class folder\(s\) .* 09 and 3 more\."):
        ImageFolder(str(tmp_path), "train")


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "train/a/1.png", "train/a/locked/2.png")
    scandir = os.scandir

    def refuse(path: str) -> object:  # the tests may run as root, whom permissions do not stop
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)

    with pytest.raises(UserError, match=r"locked: cannot be listed \(Permission denied\)"):
        ImageFolder(str(tmp_path), "train")


def test_a_data_path_that_cannot_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)

    with pytest.raises(UserError, match=r"0: cannot be listed \(Permission denied\); make the folder"):
        ImageFolder(str(tmp_path), "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=r"train: cannot be listed \(Permission denied\); make the folder"):
        ImageFolder(str(tmp_path), "train")


@pytest.mark.parametrize("link", ["train/x", "train/a/x", "train/a/x.png"])
def test_a_link_to_itself_is_refused(tmp_path: Path, link: str) -> None:
    touch(tmp_path, "train/a/1.png")
    (tmp_path / link).symlink_to(tmp_path / link)

    with pytest.raises(UserError, match=rf"{link}: cannot be followed \(Too many levels of symbolic links\)"):
        ImageFolder(str(tmp_path), "train")


@pytest.mark.parametrize(
    ("link", "target", "met_again"),
    [
        ("train/a/self", ".", "train/a/self: is a link to .*/train/a, "),
        ("train/a/up", "..", "train/a/up: is a link to .*/train, "),
        ("train/all", ".", "train/all: is a link to .*/train, "),
        ("train/c", "a", "train/c: is a link to .*/train/a, "),
        ("train/b/a", "../a/deep", "train/b/a: is a link to .*/train/a/deep, "),
        ("train/a/root", "../..", "train/a/root/train: is a link to .*/train, "),
    ],
)
def test_a_folder_that_links_show_twice_is_refused(
    tmp_path: Path, link: str, target: str, met_again: str
) -> None:
    touch(tmp_path, "train/a/1.png", "train/a/deep/1.png", "train/b/1.png")
    (tmp_path / link).symlink_to(target)

    with pytest.raises(UserError, match=f"{met_again}which is part of the same split; its images would be"):
        ImageFolder(str(tmp_path), "train")


def test_links_to_folders_and_files_elsewhere_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/deep/1.png", "train/b/2.png", "val/b/3.png")
    (tmp_path / "train/a").symlink_to("../elsewhere")
    (tmp_path / "train/b/c").symlink_to("../../val/b")
    (tmp_path / "train/b/4.png").symlink_to("2.png")

    source = ImageFolder(str(tmp_path), "train")

    names = [source.name(index) for index in range(source.num_images)]
    assert names == ["train/a/deep/1.png", "train/b/2.png", "train/b/4.png", "train/b/c/3.png"]


def test_the_fingerprint_follows_from_names_and_labels_alone(tmp_path: Path) -> None:
    names = ["train/a/1.png", "train/a/2.png", "train/b/1.png"]
    first, second = touch(tmp_path / "one", *names), touch(tmp_path / "two", *reversed(names))
    (second / "train/a/1.png").write_bytes(b"changed")

    printed = fingerprint(ImageFolder(str(first), "train"))

    assert printed == fingerprint(ImageFolder(str(second), "train"))
    lines = b"train/a/1.png\x000\0train/a/2.png\x000\0train/b/1.png\x001\0"
    assert printed == hashlib.sha256(lines).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "train/a/1.png").rename(root / "train/a/3.png"),
        lambda root: (root / "train/a/1.png").rename(root / "train/b/0.png"),
        lambda root: (root / "train/a/1.png").unlink(),
        lambda root: touch(root, "train/0/1.png"),
    ],
    ids=["renamed", "relabelled", "deleted", "a class before the others"],
)
def test_the_fingerprint_sees_other_images(tmp_path: Path, change: Callable[[Path], object]) -> None:
    touch(tmp_path, "train/a/1.png", "train/a/2.png", "train/b/1.png")
    before = fingerprint(ImageFolder(str(tmp_path), "train"))

    change(tmp_path)

    assert fingerprint(ImageFolder(str(tmp_path), "train")) != before


def test_the_fingerprint_takes_any_name_and_any_order() -> None:
    class Source(ImageFolder):
        def __init__(self, *labels: int) -> None:
            self.labels = np.array(labels)

        def name(self, index: int) -> str:
            return f"{self.labels[index]}\ud800"

    assert fingerprint(Source(0, 1)) == fingerprint(Source(1, 0)) != fingerprint(Source(0, 2))


def test_splits_with_different_classes_are_refused_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/1.png", "val/b/1.png", "val/c/1.png", "val/d/1.png")
    train, val = (open_split("imagenet", str(tmp_path), split) for split in ("train", "val"))

    check_same_classes(train, train)
    with pytest.raises(UserError, match=r"different classes; only in train/: a; only in val/: c, d\."):
        check_same_classes(train, val)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"DATA\.DATASET is 'imagenet22K'; .* image folders only: imagenet\."):
        open_split("imagenet22K", str(tmp_path), "train")
