import multiprocessing
import os
import pickle
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swin_train.data.formats.zip_archive import ZipArchive
from swin_train.errors import UserError

WriteZip = Callable[..., Path]
NOISE = np.random.default_rng(0).bytes(500)
MAP = "a/1.png\t0\nb/1.png\t1\n"
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def members(prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}a/1.png": b"one" + NOISE, f"{prefix}b/1.png": b"two" + NOISE}


@pytest.mark.parametrize("prefix", ["", "train/"])
@pytest.mark.parametrize("method", METHODS)
def test_images_come_in_the_order_of_the_map(write_zip: WriteZip, method: int, prefix: str) -> None:
    root = write_zip(members(prefix), "b/1.png\t1\na/1.png\t0\n", method=method)

    source = ZipArchive(str(root), "train")

    assert source.num_images == 2
    assert source.num_classes == 2
    assert source.classes == ("a", "b")
    assert source.labels.tolist() == [1, 0]
    assert source.labels.dtype == np.int64
    assert source.sizes.tolist() == [503, 503]
    assert [source.name(0), source.name(1)] == ["train/b/1.png", "train/a/1.png"]
    assert [source.read(0), source.read(1)] == [b"two" + NOISE, b"one" + NOISE]


def test_a_span_is_where_a_stored_image_lies(write_zip: WriteZip) -> None:
    source = ZipArchive(str(write_zip(members(), MAP)), "train")

    span = source.span(1)

    assert span is not None
    assert Path(os.fsdecode(span.path)).read_bytes()[span.offset :][: span.length] == source.read(1)


def test_what_other_programs_write_before_an_image_is_passed_over(write_zip: WriteZip) -> None:
    root = write_zip({}, "a/1.png\t0\n")
    with zipfile.ZipFile(root / "train.zip", "w") as archive:
        member = zipfile.ZipInfo("a/1.png")
        member.extra = struct.pack("<2sHBI", b"UT", 5, 1, 0)  # a time
        archive.writestr(member, NOISE)

    source = ZipArchive(str(root), "train")

    span = source.span(0)
    assert source.read(0) == NOISE
    assert span is not None
    assert Path(os.fsdecode(span.path)).read_bytes()[span.offset :][: span.length] == NOISE


def test_a_deflated_image_has_no_span(write_zip: WriteZip) -> None:
    root = write_zip(members() | {"a/2.png": bytes(200) + NOISE}, MAP, method=zipfile.ZIP_DEFLATED)

    assert ZipArchive(str(root), "train").span(0) is None


def test_an_archive_that_did_not_change_is_not_parsed_again(
    write_zip: WriteZip, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_zip(members(), MAP)
    for path in root.iterdir():
        os.utime(path, (1e9, 1e9))
    ZipArchive(str(root), "train")
    monkeypatch.setattr(zipfile, "ZipFile", lambda path: pytest.fail("parsed again"))

    assert ZipArchive(str(root), "train").read(1) == b"two" + NOISE
    monkeypatch.undo()
    (root / "train_map.txt").write_text("b/1.png\t0\n")
    assert ZipArchive(str(root), "train").read(0) == b"two" + NOISE


@pytest.mark.parametrize(
    ("mode", "asked"), [("no", []), ("part", []), ("full", [(0, 0, os.POSIX_FADV_WILLNEED)])]
)
def test_full_asks_the_system_for_the_whole_archive(
    write_zip: WriteZip, monkeypatch: pytest.MonkeyPatch, mode: str, asked: list[object]
) -> None:
    calls = []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *what: calls.append(what))

    source = ZipArchive(str(write_zip(members(), MAP)), "train", mode)

    assert calls == asked
    assert source.read(0) == b"one" + NOISE


def _read_all(source: ZipArchive, rounds: int) -> None:
    for number in range(rounds):
        assert source.read(number % 2) == (b"one", b"two")[number % 2] + NOISE


@pytest.mark.parametrize("method", METHODS)
def test_forked_processes_read_at_once(write_zip: WriteZip, method: int) -> None:
    source = ZipArchive(str(write_zip(members(), MAP, method=method)), "train")
    context = multiprocessing.get_context("fork")

    processes = [context.Process(target=_read_all, args=(source, 300)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 4


def test_a_process_that_is_not_forked_opens_its_own(write_zip: WriteZip) -> None:
    source = ZipArchive(str(write_zip(members(), MAP)), "train")

    assert pickle.loads(pickle.dumps(source)).read(1) == b"two" + NOISE


def test_names_that_are_no_ascii(write_zip: WriteZip) -> None:
    source = ZipArchive(str(write_zip({"\u00e9/1.png": b"data"}, "\u00e9/1.png\t0\n")), "train")

    assert (source.read(0), source.name(0), source.classes) == (b"data", "train/\u00e9/1.png", ("\u00e9",))


def test_names_that_are_no_utf8(write_zip: WriteZip) -> None:
    root = write_zip({"ab/1.png": b"data"}, "")
    archive = root / "train.zip"
    archive.write_bytes(archive.read_bytes().replace(b"ab/1.png", b"a\xe9/1.png"))
    (root / "train_map.txt").write_bytes(b"a\xe9/1.png\t0\n")

    source = ZipArchive(str(root), "train")

    assert (source.read(0), source.name(0), source.classes) == (b"data", r"train/a\xe9/1.png", (r"a\xe9",))


def test_images_that_the_map_leaves_out_are_counted(
    write_zip: WriteZip, caplog: pytest.LogCaptureFixture
) -> None:
    ZipArchive(str(write_zip(members() | {"c/1.png": b"", "c/": b"", "README": b""}, MAP)), "train")

    [warning] = caplog.messages
    assert "/train.zip: 1 images are not in /" in warning
    assert warning.endswith("/train_map.txt and not used: c/1.png")


@pytest.mark.parametrize("missing", ["train.zip", "train_map.txt"])
def test_a_missing_file_is_refused(write_zip: WriteZip, missing: str) -> None:
    root = write_zip(members(), MAP)
    (root / missing).unlink()

    with pytest.raises(
        UserError, match=rf"has no file {missing}\. Expected: DATA_PATH/train\.zip, train_map\.txt"
    ):
        ZipArchive(str(root), "train")


def test_a_missing_data_path_is_refused() -> None:
    with pytest.raises(UserError, match=r"^DATA\.DATA_PATH is empty; .* Expected: DATA_PATH/train\.zip"):
        ZipArchive("", "train")


@pytest.mark.parametrize("damage", [lambda data: data[:-30], lambda data: b"no archive"])
def test_a_damaged_archive_is_refused(write_zip: WriteZip, damage: Callable[[bytes], bytes]) -> None:
    root = write_zip(members(), MAP)
    (root / "train.zip").write_bytes(damage((root / "train.zip").read_bytes()))

    with pytest.raises(
        UserError, match=r"train\.zip: cannot be read as a zip archive \(File is not a zip file\)"
    ):
        ZipArchive(str(root), "train")


def add(
    root: Path, name: str, content: bytes, method: int = zipfile.ZIP_STORED, mode: int = 0o100644
) -> None:
    with zipfile.ZipFile(root / "train.zip", "a", method) as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr, info.compress_type = mode << 16, method
        archive.writestr(info, content)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda root: None, r" is not in .*train\.zip; archive and map must belong together"),
        (
            lambda root: [add(root, "c/1.png", text) for text in (b"1", b"2")],
            "is there twice; write the archive anew",
        ),
        (
            lambda root: add(root, "c/1.png", b"a/1.png", mode=stat.S_IFLNK | 0o777),
            "is a symbolic link; write the",
        ),
        (lambda root: add(root, "c/1.png", b"x", zipfile.ZIP_LZMA), r"is packed by method 14; use store"),
        (
            lambda root: add(root, "c/1.png", bytes(10**6), zipfile.ZIP_DEFLATED),
            r"unpacks \d+ bytes to 1000000, as no",
        ),
    ],
    ids=["missing", "duplicate", "link", "method", "bomb"],
)
def test_a_member_that_is_not_read_is_refused_with_the_line(
    write_zip: WriteZip, change: Callable[[Path], object], problem: str
) -> None:
    root = write_zip(members(), MAP + "c/1.png\t2\n")
    change(root)

    with pytest.raises(UserError, match=rf"train_map\.txt:3: c/1\.png.*{problem}"):
        ZipArchive(str(root), "train")


def test_an_encrypted_member_is_refused(write_zip: WriteZip) -> None:
    root = write_zip(members(), MAP)
    data = bytearray((root / "train.zip").read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    (root / "train.zip").write_bytes(data)

    with pytest.raises(
        UserError, match=r"train_map\.txt:1: a/1\.png, in .*train\.zip, is encrypted; write the"
    ):
        ZipArchive(str(root), "train")


@pytest.mark.parametrize("method", METHODS)
def test_a_member_that_is_damaged_later_cannot_be_read(write_zip: WriteZip, method: int) -> None:
    root = write_zip({"a/1.png": bytes(50) + NOISE}, "a/1.png\t0\n", method=method)
    source = ZipArchive(str(root), "train")
    with (root / "train.zip").open("r+b") as file:
        file.write(b"XX")

    with pytest.raises(
        OSError, match=r"^the archive holds something else in its place; it is damaged or was changed"
    ):
        source.read(0)
    assert source.span(0) is None
    (root / "train.zip").write_bytes(b"PK\3\4")
    with pytest.raises(OSError, match=r"^the archive ends \d+ bytes before it should; it was changed"):
        source.read(0)


@pytest.mark.parametrize(
    ("filler", "problem"),
    [(b"\xff", "cannot be unpacked: Error -3"), (b"\0", "cannot be unpacked|does not unpack")],
)
def test_a_damaged_deflated_image_cannot_be_read(write_zip: WriteZip, filler: bytes, problem: str) -> None:
    root = write_zip({"a/1.png": bytes(50) + NOISE}, "a/1.png\t0\n", method=zipfile.ZIP_DEFLATED)
    source = ZipArchive(str(root), "train")
    with (root / "train.zip").open("r+b") as file:
        file.seek(30 + len("a/1.png"))
        file.write(filler * 100)

    with pytest.raises(OSError, match=problem):
        source.read(0)


@pytest.mark.parametrize("method", METHODS)
def test_an_image_of_another_checksum_cannot_be_read(write_zip: WriteZip, method: int) -> None:
    root = write_zip(members(), MAP, method=method)
    data = bytearray((root / "train.zip").read_bytes())
    data[data.index(b"PK\1\2") + 16] ^= 1
    (root / "train.zip").write_bytes(data)
    source = ZipArchive(str(root), "train")

    with pytest.raises(OSError, match=r"^its bytes have not the CRC-32 of the archive's directory; copy the"):
        source.read(0)
    assert source.read(1) == b"two" + NOISE


def test_an_archive_that_is_replaced_later_is_read_on(write_zip: WriteZip) -> None:
    source = ZipArchive(str(write_zip(members(), MAP)), "train")
    root = source._archive.path.removesuffix("train.zip")
    Path(root, "train.zip").rename(Path(root, "old.zip"))
    write_zip({"a/1.png": b"new" + NOISE, "b/1.png": b"new" + NOISE}, MAP)

    span = source.span(1)

    assert span is not None
    assert Path(os.fsdecode(span.path)).read_bytes()[span.offset :][: span.length] == b"two" + NOISE
    assert source.read(1) == b"two" + NOISE


def test_a_deflated_image_of_another_length_cannot_be_read(write_zip: WriteZip) -> None:
    root = write_zip({"a/1.png": b"short"}, "a/1.png\t0\n", method=zipfile.ZIP_DEFLATED)
    data = (root / "train.zip").read_bytes()
    start = data.index(b"PK\1\2") + 24
    (root / "train.zip").write_bytes(data[:start] + struct.pack("<I", 6) + data[start + 4 :])
    source = ZipArchive(str(root), "train")

    with pytest.raises(OSError, match=r"^does not unpack to the 6 bytes that the archive's directory gives"):
        source.read(0)
