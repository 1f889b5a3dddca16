"""The official archives are read where they lie; whatever else a tar archive may hold does nothing."""

import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from swin_train.errors import UserError
from swin_train.prepare.tar_source import TarSource


def tar_of(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                tar.addfile(data)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member


@pytest.fixture
def train(tmp_path: Path) -> Path:
    """Two classes, of 2 and 1 images, as ILSVRC2012_img_train.tar has a thousand."""
    classes = {
        "n02.tar": tar_of({"n02_9.JPEG": b"nine"}),
        "n01.tar": tar_of({"n01_2.JPEG": b"two", "n01_10.JPEG": b"ten"}),
    }
    path = tmp_path / "ILSVRC2012_img_train.tar"
    path.write_bytes(tar_of(classes))  # type: ignore[arg-type]
    return path


def test_an_archive_of_archives_gives_sorted_classes_and_names(train: Path, images_of: Callable) -> None:
    source = TarSource(train, "train")

    assert source.classes == ("n01", "n02")
    assert images_of(source) == {
        "n01/n01_10.JPEG": ("n01", 0, b"ten"),
        "n01/n01_2.JPEG": ("n01", 0, b"two"),
        "n02/n02_9.JPEG": ("n02", 1, b"nine"),
    }
    assert source.sizes.tolist() == [3, 3, 4]
    assert source.name(0) == "train/n01/n01_10.JPEG"
    path, offset, size, _ = source.span(2)
    assert train.read_bytes()[offset : offset + size] == b"nine"
    assert path == str(train).encode()


def test_an_archive_of_images_takes_their_classes_from_labels(tmp_path: Path, images_of: Callable) -> None:
    (tmp_path / "val.tar").write_bytes(tar_of({"./v_1.JPEG": b"1", "./v_2.JPEG": b"2", "./v_3.JPEG": b"3"}))

    source = TarSource(tmp_path / "val.tar", "val", {"v_1": "n09", "v_2": "n01", "v_3": "n09", "v_4": "n01"})

    assert images_of(source) == {
        "n01/v_2.JPEG": ("n01", 0, b"2"),
        "n09/v_1.JPEG": ("n09", 1, b"1"),
        "n09/v_3.JPEG": ("n09", 1, b"3"),
    }


def test_an_image_without_a_label_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "val.tar").write_bytes(tar_of({"v_1.JPEG": b"1", "v_2.JPEG": b"2"}))

    with pytest.raises(
        UserError, match=r"val.tar: the labels name no class for 1 images, such as v_2.JPEG; give"
    ):
        TarSource(tmp_path / "val.tar", "val", {"v_1": "n01"})


def test_links_devices_and_other_files_are_ignored_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inner = tar_of(
        {
            "link.JPEG": special("link.JPEG", tarfile.SYMTYPE),
            "hard.JPEG": special("hard.JPEG", tarfile.LNKTYPE),
            "null.JPEG": special("null.JPEG", tarfile.CHRTYPE),
            "pipe.JPEG": special("pipe.JPEG", tarfile.FIFOTYPE),
            "folder": special("folder", tarfile.DIRTYPE),
            "notes.txt": b"notes",
            "../../../x.JPEG": b"x",
            "/etc/y.JPEG": b"y",
        }
    )
    (tmp_path / "t.tar").write_bytes(tar_of({"n01.tar": inner, "readme.txt": b"hello"}))

    source = TarSource(tmp_path / "t.tar", "train")

    assert [source.name(i) for i in range(source.num_images)] == ["train/n01/x.JPEG", "train/n01/y.JPEG"]
    assert caplog.messages == [
        f"{tmp_path}/t.tar: ignored 6 members that are no files or no images: link.JPEG, hard.JPEG, null.JPEG, "
        "pipe.JPEG, notes.txt, readme.txt"
    ]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.85])
def test_a_download_that_broke_off_is_noticed(share: float, train: Path) -> None:
    data = train.read_bytes().rstrip(b"\0") + bytes(1024)
    train.write_bytes(data[: int(len(data) * share)])

    with pytest.raises(UserError, match=r"is cut short|is no tar archive"):
        TarSource(train, "train")


def test_a_cut_between_two_members_is_noticed(train: Path) -> None:
    with tarfile.open(train) as tar:
        second = tar.getmembers()[1]
    train.write_bytes(train.read_bytes()[: second.offset])

    with pytest.raises(
        UserError, match=r"train.tar: is cut short: it has no end mark behind its last member; copy"
    ):
        TarSource(train, "train")


def test_an_inner_archive_that_is_damaged_is_named(tmp_path: Path) -> None:
    good = tar_of({"n01_1.JPEG": b"1" * 2000, "n01_2.JPEG": b"2"})
    (tmp_path / "t.tar").write_bytes(tar_of({"n01.tar": good[:1024] + b"x" * 4096}))

    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/t.tar/n01.tar: is cut short")):
        TarSource(tmp_path / "t.tar", "train")


@pytest.mark.parametrize("data", [b"", b"text", b"\x1f\x8b compressed", bytes(300)])
def test_something_else_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(data)

    with pytest.raises(
        UserError, match=r"x.tar: (is no tar archive, or a compressed one|is cut short|holds no images)"
    ):
        TarSource(tmp_path / "x.tar", "train")


def test_images_without_labels_ask_for_labels(tmp_path: Path) -> None:
    (tmp_path / "val.tar").write_bytes(tar_of({"v_1.JPEG": b"1"}))

    with pytest.raises(
        UserError, match=r"but 'v_1.JPEG' and the like; give the class of each image with --labels"
    ):
        TarSource(tmp_path / "val.tar", "val")


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(tar_of({"n01.tar": tar_of({"a/1.JPEG": b"1", "b/1.JPEG": b"2"})}))

    with pytest.raises(
        UserError, match=r"t.tar: holds train/n01/1.JPEG twice; copy or make the archive again"
    ):
        TarSource(tmp_path / "t.tar", "train")


def test_an_archive_of_a_class_without_images_is_refused(tmp_path: Path) -> None:
    classes = {"n01.tar": tar_of({"1.JPEG": b"1"}), "n02.tar": tar_of({}), "n03.tar": tar_of({"3.txt": b"3"})}
    (tmp_path / "t.tar").write_bytes(tar_of(classes))  # type: ignore[arg-type]

    with pytest.raises(UserError) as error:
        TarSource(tmp_path / "t.tar", "train")

    assert str(error.value) == (
        f"{tmp_path}/t.tar: 2 classes have no images: n02, n03; without them labels would mean other classes. Copy "
        "the archive again"
    )


def test_labels_of_a_class_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "val.tar").write_bytes(tar_of({"v_1.JPEG": b"1", "v_2.JPEG": b"2"}))

    with pytest.raises(UserError, match=r"val.tar: 1 classes have no images: n02; without them labels would"):
        TarSource(tmp_path / "val.tar", "val", {"v_1": "n01", "v_2": "n03", "v_3": "n02"})


def test_there_must_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"none.tar: cannot be read \(No such file or directory\); give another SOURCE"
    ):
        TarSource(tmp_path / "none.tar", "train")
