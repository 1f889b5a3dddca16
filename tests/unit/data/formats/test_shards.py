import gzip
import json
import logging
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from swin_train.data.formats.shards import TarShards
from swin_train.errors import UserError

TWO = {"a.jpg": b"image a", "a.cls": b"0", "b.png": b"image b!", "b.cls": b"1"}


WriteTar = Callable[..., Path]


@pytest.fixture
def data_path(tmp_path: Path, write_tar: WriteTar) -> Callable[..., str]:
    """Writes one shard of the training set and returns the data path."""

    def write(members: Mapping[str, bytes] = TWO) -> str:
        write_tar(tmp_path / "data" / "train" / "0.tar", members)
        return str(tmp_path / "data")

    return write


def opened(source: TarShards) -> list[tuple[str, bytes, int]]:
    return [(source.name(i), source.read(i), int(source.labels[i])) for i in range(source.num_images)]


def test_samples_come_in_order_with_labels_and_names(tmp_path: Path, write_tar: WriteTar) -> None:
    root = tmp_path / "data"
    write_tar(root / "train" / "01.tar", {"c.JPEG": b"c", "c.json": b'{"label": 2, "url": "x"}'})
    write_tar(
        root / "train" / "00.tar", {"x/a.jpg": b"aa", "x/a.cls": b" 1\n", "b.cls": b"0", "b.webp": b"bbb"}
    )

    source = TarShards(str(root), "train")

    assert opened(source) == [
        ("train/00.tar/x/a.jpg", b"aa", 1),
        ("train/00.tar/b.webp", b"bbb", 0),
        ("train/01.tar/c.JPEG", b"c", 2),
    ]
    assert source.classes == ("0", "1", "2")
    assert source.num_classes == 3
    assert source.sizes.tolist() == [2, 3, 1]
    assert source.shards.tolist() == [0, 0, 1]
    assert source.labels.dtype == np.int64


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar_and_long_names(tmp_path: Path, kind: int, write_tar: WriteTar) -> None:
    key = "folder/" * 13 + "name" * (2 if kind == tarfile.USTAR_FORMAT else 60)
    write_tar(tmp_path / "train" / "0.tar", {f"{key}.jpg": b"image", f"{key}.cls": b"0"}, kind)

    assert opened(TarShards(str(tmp_path), "train")) == [(f"train/0.tar/{key}.jpg", b"image", 0)]


def test_names_that_are_not_utf8_are_escaped(tmp_path: Path, write_tar: WriteTar) -> None:
    name = os.fsdecode(b"caf\xe9")
    write_tar(
        tmp_path / "train" / "0.tar", {f"{name}.jpg": b"image", f"{name}.cls": b"0"}, tarfile.GNU_FORMAT
    )

    assert opened(TarShards(str(tmp_path), "train"))[0][0] == r"train/0.tar/caf\xe9.jpg"


def test_a_span_leads_to_the_bytes(tmp_path: Path, data_path: Callable[..., str]) -> None:
    source = TarShards(data_path(), "train")

    for index in range(2):
        path, offset, length, _ = source.span(index)
        assert Path(os.fsdecode(path)).read_bytes()[offset : offset + length] == source.read(index)


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train/0.tar", "val/0.tar"),
        ("train/0.tar", "validation/0.tar"),
        ("imagenet1k-train-0000.tar", "imagenet1k-validation-00.tar"),
        ("imagenet_train-000000-train.tar", "imagenet_val-000000-val.tar"),
    ],
)
def test_layouts(tmp_path: Path, train: str, val: str, write_tar: WriteTar) -> None:
    write_tar(tmp_path / train, {"a.jpg": b"train", "a.cls": b"0"})
    write_tar(tmp_path / val, {"a.jpg": b"val", "a.cls": b"0"})

    assert TarShards(str(tmp_path), "train").read(0) == b"train"
    assert TarShards(str(tmp_path), "val").read(0) == b"val"


def test_class_names_from_a_file(tmp_path: Path, data_path: Callable[..., str]) -> None:
    root = data_path()
    Path(root, "classes.txt").write_text("cat\ndog\nemu\n")

    assert TarShards(root, "train").classes == ("cat", "dog", "emu")

    Path(root, "classes.txt").write_text("cat\n")
    with pytest.raises(
        UserError, match=r"0.tar: b.png has the label 1; there are 1 classes, so labels go from 0 to 0"
    ):
        TarShards(root, "train")
    Path(root, "classes.txt").write_text("cat\ndog\ncat\n")
    with pytest.raises(UserError, match=r"classes.txt: names cat twice"):
        TarShards(root, "train")
    Path(root, "classes.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match=r"classes.txt: is not UTF-8"):
        TarShards(root, "train")


def test_labels_without_names_have_no_gaps(tmp_path: Path, data_path: Callable[..., str]) -> None:
    root = data_path({"a.jpg": b"a", "a.cls": b"1", "b.jpg": b"b", "b.cls": b"2"})

    with pytest.raises(
        UserError, match=r"without classes.txt.*the largest label is 2, but 1 numbers below it"
    ):
        TarShards(root, "train")


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"a.jpg": b"", "b.jpg": b"", "b.cls": b"0"}, r"the sample a has no label; each has one in .cls or .json"),
        ({"a.cls": b"0"}, r"the sample a has no image; each has one file of .jpg, .jpeg, .png, .webp"),
        ({"a.jpg": b"", "a.png": b"", "a.cls": b"0"}, r"the sample a has two images \(a.jpg, a.png\)"),
        ({"a.jpg": b"", "a.JPG": b"", "a.cls": b"0"}, r"a.JPG is there twice"),
        ({"a.jpg": b"", "a.cls": b"cat"}, r"a.cls gives no label: b'cat'; a .cls holds a number from 0"),
        ({"a.jpg": b"", "a.cls": b"-1"}, r"a.cls gives no label: b'-1'"),
        ({"a.jpg": b"", "a.json": b'{"label": true}'}, r"a.json gives no label"),
        ({"a.jpg": b"", "a.json": b'{"label": -1}'}, r"a.json gives no label"),
        ({"a.jpg": b"", "a.json": b"[" * 5000}, r"a.json gives no label"),
        ({"readme.txt": b""}, r"the shards of train hold no images"),
    ],
)  # fmt: skip
def test_samples_that_are_refused(
    tmp_path: Path, members: dict[str, bytes], problem: str, data_path: Callable[..., str]
) -> None:
    with pytest.raises(UserError, match=problem):
        TarShards(data_path(members), "train")


def test_links_are_refused(tmp_path: Path, write_tar: WriteTar) -> None:
    path = write_tar(tmp_path / "train" / "0.tar", TWO)
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("c.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "a.jpg"
        archive.addfile(link)

    with pytest.raises(UserError, match=r"0.tar: c.jpg is a link or a device, not a file"):
        TarShards(str(tmp_path), "train")


def test_files_of_no_sample_are_counted_and_meta_data_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data_path: Callable[..., str]
) -> None:
    members = {"__meta__/index.json": b"{}", "stats.json": b"", **TWO, "a.seg.png": b"mask"}
    root = data_path(members)

    with caplog.at_level(logging.WARNING):
        assert TarShards(root, "train").num_images == 2

    assert "ignored 1 files in shards that belong to no image: stats.json" in caplog.text


def test_every_truncation_is_refused(tmp_path: Path, write_tar: WriteTar) -> None:
    whole = write_tar(tmp_path / "whole.tar", TWO).read_bytes()
    shard = tmp_path / "train" / "0.tar"
    shard.parent.mkdir()
    end = 4 * 1024  # four members of a header and a block each; zeros follow
    for length in range(0, end + 1, 128):
        shard.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"0.tar: is truncated"):
            TarShards(str(tmp_path), "train")


def test_a_damaged_header_and_joined_archives_are_refused(tmp_path: Path, write_tar: WriteTar) -> None:
    whole = write_tar(tmp_path / "train" / "0.tar", TWO).read_bytes()
    shard = tmp_path / "train" / "0.tar"

    shard.write_bytes(whole[:1030] + b"\xff" + whole[1031:])
    with pytest.raises(UserError, match=r"0.tar: is damaged at byte 1,024, where a header should be"):
        TarShards(str(tmp_path), "train")
    shard.write_bytes(whole + whole)
    with pytest.raises(UserError, match=r"0.tar: goes on behind its end mark at byte 4,096"):
        TarShards(str(tmp_path), "train")


@pytest.mark.parametrize("name", ["0.tar", "0.tar.gz"])
def test_compressed_shards_are_refused(tmp_path: Path, name: str, write_tar: WriteTar) -> None:
    whole = write_tar(tmp_path / "whole.tar", TWO).read_bytes()
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / name).write_bytes(gzip.compress(whole))

    with pytest.raises(UserError, match=rf"{name}: is compressed.*unpack it first \(gunzip\)"):
        TarShards(str(tmp_path), "train")


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        (
            ["t-train-00.tar", "t-train-01.tar", "t-train-03.tar"],
            "1 of 4 shards are missing.*first being t-train-02.tar",
        ),
        (["train-0-of-3.tar", "train-1-of-3.tar"], "1 of 3 shards are missing.*first being train-2-of-3"),
    ],
)
def test_missing_shards_are_refused(
    tmp_path: Path, present: list[str], missing: str, write_tar: WriteTar
) -> None:
    for name in present:
        write_tar(tmp_path / name, TWO)

    with pytest.raises(UserError, match=missing):
        TarShards(str(tmp_path), "train")


def test_dates_in_names_are_no_series(tmp_path: Path, write_tar: WriteTar) -> None:
    for name in ("train-20260101.tar", "train-20260301.tar"):
        write_tar(tmp_path / name, TWO)

    assert TarShards(str(tmp_path), "train").num_images == 4


def test_no_shards_are_refused_with_the_layout(tmp_path: Path, write_tar: WriteTar) -> None:
    write_tar(tmp_path / "other.tar", TWO)

    with pytest.raises(
        UserError, match=r"holds no shards \(.tar\) of train. Expected: DATA_PATH/train/\*.tar"
    ):
        TarShards(str(tmp_path), "train")
    with pytest.raises(UserError, match=r"nowhere does not exist. Expected"):
        TarShards(str(tmp_path / "nowhere"), "train")


def test_the_index_is_kept_until_a_shard_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_path: Callable[..., str], write_tar: WriteTar
) -> None:
    root = data_path()
    shard = Path(root, "train", "0.tar")
    os.utime(shard, (1, 1))
    before = opened(TarShards(root, "train"))
    monkeypatch.setattr(tarfile, "open", None)

    assert opened(TarShards(root, "train")) == before

    monkeypatch.undo()
    write_tar(shard, {"n.jpg": b"new", "n.cls": b"0"})
    assert opened(TarShards(root, "train")) == [("train/0.tar/n.jpg", b"new", 0)]


@pytest.mark.parametrize(
    "change",
    [
        lambda shard, new: os.truncate(shard, 515),
        lambda shard, new: new.rename(shard),
        lambda shard, new: shard.write_bytes(new.read_bytes()),
        lambda shard, new: shard.unlink(),
    ],
    ids=["truncated", "replaced", "written", "deleted"],
)
def test_a_shard_that_changes_later_is_an_error_of_its_images(
    data_path: Callable[..., str], change: Callable[[Path, Path], object], tmp_path: Path
) -> None:
    source = TarShards(data_path(), "train")
    shard = Path(source._files[0].path)
    (tmp_path / "new").write_bytes(bytes(shard.stat().st_size))

    change(shard, tmp_path / "new")

    with pytest.raises(OSError, match=r"0\.tar was changed or replaced since it was opened; start again"):
        source.read(0)
    assert source.span(0) is None


def test_another_link_to_a_shard_is_no_change(data_path: Callable[..., str], tmp_path: Path) -> None:
    source = TarShards(data_path(), "train")
    before = source.read(0)

    (tmp_path / "link").hardlink_to(source._files[0].path)

    assert source.read(0) == before


def test_forked_processes_and_threads_read_at_once(tmp_path: Path, data_path: Callable[..., str]) -> None:
    members: dict[str, bytes] = {}
    for number in range(50):
        members |= {
            f"{number}.jpg": bytes([number]) * 5000,
            f"{number}.json": json.dumps({"label": 0}).encode(),
        }
    source = TarShards(data_path(members), "train")

    children = []
    for _ in range(4):
        child = os.fork()
        if not child:
            right = all(source.read(i % 50) == bytes([i % 50]) * 5000 for i in range(300))
            os._exit(0 if right else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
