import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder as TorchvisionImageFolder

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


def test_names_cannot_speak_to_a_terminal_or_forge_lines_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "train/a").mkdir(parents=True)
    (tmp_path / "train/a/x\x1b[2J\nERROR\u0085 all is lost\u3000.png").write_bytes(b"data")

    source = ImageFolder(str(tmp_path), "train")

    assert source.read(0) == b"data"
    assert source.name(0) == "train/a/x\\x1b[2J\\x0aERROR\\x85 all is lost\u3000.png"


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


def settle(root: Path) -> None:
    """Make all of it look a year old, so that its index is kept."""
    for folder, _, _ in os.walk(root):
        os.utime(folder, (1e9, 1e9))


def test_a_folder_is_listed_once_and_its_warnings_are_given_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settle(touch(tmp_path, "train/a/1.png", "train/a/2.png", "train/b/.x", "train/b/1.png", "train/stray"))
    first = ImageFolder(str(tmp_path), "train")
    warned = caplog.messages[:]
    monkeypatch.setattr(os, "scandir", lambda path: pytest.fail(f"{path} is listed again"))
    caplog.clear()

    second = ImageFolder(str(tmp_path), "train")

    assert len(warned) == 2
    assert caplog.messages == warned
    assert [second.name(i) for i in range(3)] == [first.name(i) for i in range(3)]
    assert second.classes == first.classes
    assert second.labels.tolist() == first.labels.tolist()
    assert second.sizes.tolist() == [len(name) for name in ("train/a/1.png",) * 3]


def test_a_relative_data_path_is_that_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(touch(tmp_path, "data/train/a/1.png"))
    monkeypatch.chdir(tmp_path)
    first = ImageFolder("data", "train")

    monkeypatch.chdir(tmp_path / "data")
    second = ImageFolder("../data", "train")
    monkeypatch.chdir("/")

    assert first.read(0) == second.read(0) == b"data/train/a/1.png"


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "train/a/1.png").unlink(),
        lambda root: touch(root, "train/a/deep/3.png"),
        lambda root: touch(root, "train/0/1.png"),
        lambda root: (root / "train/b/1.png").rename(root / "train/a/1.png"),
        lambda root: (root / "train/b").rename(root / "train/c"),
    ],
    ids=["deleted", "added below", "another class", "replaced", "renamed class"],
)
def test_a_folder_that_changed_is_listed_again(tmp_path: Path, change: Callable[[Path], object]) -> None:
    settle(
        touch(
            tmp_path, "train/a/1.png", "train/a/2.png", "train/a/deep/1.png", "train/b/1.png", "train/b/2.png"
        )
    )
    ImageFolder(str(tmp_path), "train")

    change(tmp_path)

    source = ImageFolder(str(tmp_path), "train")
    expected = TorchvisionImageFolder(str(tmp_path / "train"))
    assert [source.name(i) for i in range(source.num_images)] == [
        os.path.relpath(path, tmp_path) for path, _ in expected.samples
    ]
    assert [len(source.read(i)) for i in range(source.num_images)] == source.sizes.tolist()
    assert list(source.classes) == expected.classes


def test_a_file_that_changed_in_place_cannot_be_read_until_the_folder_is_indexed_anew(tmp_path: Path) -> None:
    settle(touch(tmp_path, "train/a/1.png"))
    ImageFolder(str(tmp_path), "train")
    (tmp_path / "train/a/1.png").write_bytes(b"longer than before")  # the folder's time stays

    stale = ImageFolder(str(tmp_path), "train")

    with pytest.raises(
        OSError, match=r"^it has 18 bytes and had 13 when the folder was indexed; start again"
    ):
        stale.read(0)
    assert ImageFolder(str(tmp_path), "train").read(0) == b"longer than before"


def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png")
    (tmp_path / "train/a/2.png").symlink_to("gone")

    source = ImageFolder(str(tmp_path), "train")

    assert source.sizes.tolist() == [13, -1]
    with pytest.raises(FileNotFoundError):
        source.read(1)


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"]
)
def test_what_is_no_regular_file_cannot_be_read(tmp_path: Path, make: Callable[[Path], object]) -> None:
    touch(tmp_path, "train/a/1.png")
    make(tmp_path / "train/a/2.png")

    source = ImageFolder(str(tmp_path), "train")

    with pytest.raises(OSError, match=r"^it is not a regular file$"):
        source.read(1)


def test_a_span_is_the_whole_file_at_its_indexed_length(tmp_path: Path) -> None:
    source = ImageFolder(str(touch(tmp_path, "train/a/1.png")), "train")

    path, offset, length, is_whole = source.span(0)

    assert Path(os.fsdecode(path)).read_bytes() == source.read(0)
    assert (offset, length, is_whole) == (0, 13, True)
