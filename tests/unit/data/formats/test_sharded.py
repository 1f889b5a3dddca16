import os
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from swin_train.data.formats import fingerprint, remote, shard_cache, sharded
from swin_train.data.formats.shards import TarShards
from swin_train.errors import UserError

SIZE = 10_240  # of each shard: tar files are filled up to it


@pytest.fixture
def folder(tmp_path: Path, write_tar: Callable[..., Path]) -> Path:
    """Five shards of two images."""
    for shard in range(5):
        members: dict[str, bytes] = {}
        for number in range(2):
            members |= {f"{number}.jpg": b"%d %d" % (shard, number), f"{number}.cls": b"%d" % number}
        write_tar(tmp_path / "data" / "train" / f"{shard}.tar", members)
    return tmp_path / "data"


@pytest.fixture
def bucket(folder: Path) -> Iterator[str]:
    """The same in object storage."""
    memory = fsspec.filesystem("memory")
    for shard in folder.glob("train/*.tar"):
        memory.pipe(f"/bucket/train/{shard.name}", shard.read_bytes())
    yield "memory://bucket"
    memory.store.clear()


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that were fetched."""
    names: list[str] = []
    fetch = remote.fetch

    def count(file: remote.StoredFile, *arguments: object) -> None:
        names.append(file.name)
        fetch(file, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sharded, "fetch", count)
    return names


def opened(source: TarShards) -> list[tuple[str, bytes, int]]:
    return [(source.name(i), source.read(i), int(source.labels[i])) for i in range(source.num_images)]


def test_object_storage_gives_what_a_folder_gives(folder: Path, bucket: str, tmp_path: Path) -> None:
    local = TarShards(str(folder), "train")
    for url in (bucket, f"file://{folder}"):
        far = TarShards(url, "train", str(tmp_path / "cache"))

        assert opened(far) == opened(local)
        assert fingerprint(far) == fingerprint(local)
        path, offset, length, _ = far.span(9)
        assert Path(os.fsdecode(path)).read_bytes()[offset : offset + length] == b"4 1"


def test_a_shard_that_shrank_in_the_cache_is_an_error_of_the_image(bucket: str, tmp_path: Path) -> None:
    far = TarShards(bucket, "train", str(tmp_path / "cache"))
    path, offset, _, _ = far.span(9) or pytest.fail("no span")
    os.truncate(path, offset + 1)

    with pytest.raises(OSError, match="its shard ends 2 bytes before it should; it was changed"):
        far.read(9)


def test_each_shard_is_fetched_once_and_the_index_is_kept(
    bucket: str, tmp_path: Path, fetches: list[str]
) -> None:
    first = opened(TarShards(bucket, "train", str(tmp_path / "cache")))
    assert sorted(fetches) == [f"{shard}.tar" for shard in range(5)]

    assert opened(TarShards(bucket, "train", str(tmp_path / "cache"))) == first
    assert len(fetches) == 5

    again = TarShards(bucket, "train", str(tmp_path / "other"))
    assert len(fetches) == 5
    assert again.read(4) == b"2 0"
    assert fetches[5:] == ["2.tar"]


def test_a_shard_that_changed_in_the_store_is_fetched_and_indexed_anew(
    bucket: str, tmp_path: Path, write_tar: Callable[..., Path], fetches: list[str]
) -> None:
    opened(TarShards(bucket, "train", str(tmp_path / "cache")))
    new = write_tar(tmp_path / "new.tar", {"n.jpg": b"new", "n.cls": b"0"})
    fsspec.filesystem("memory").pipe("/bucket/train/2.tar", new.read_bytes())

    source = TarShards(bucket, "train", str(tmp_path / "cache"))

    assert fetches[5:] == ["2.tar"]
    assert source.num_images == 9
    assert source.read(4) == b"new"


def test_a_small_cache_gives_the_same_images(
    bucket: str, tmp_path: Path, fetches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = TarShards(bucket, "train", str(tmp_path / "large"))
    assert whole.is_near
    monkeypatch.setattr(shard_cache, "_HELD", 1)

    small = TarShards(bucket, "train", str(tmp_path / "small"), cache_gb=3.5 * SIZE / 1e9)
    assert not small.is_near
    for _ in range(2):
        assert opened(small) == opened(whole)

    assert len(fetches) == 5 + 2 * 5
    assert len(list((tmp_path / "small").glob("*.data"))) == 3


def test_a_cache_for_less_than_is_used_at_once_is_refused(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"DATA.CACHE_GB is 5e-05; a process may use 5 shards at once, here 5.12e-05 GB"
    ):
        TarShards(bucket, "train", str(tmp_path / "cache"), cache_gb=5e-5)
    assert TarShards(bucket, "train", str(tmp_path / "cache"), cache_gb=6e-5).is_near


def test_object_storage_needs_a_cache_folder(bucket: str) -> None:
    with pytest.raises(UserError, match=r"DATA.CACHE_DIR is empty; name a folder on a disk of this machine"):
        TarShards(bucket, "train")


def test_a_truncated_shard_in_the_store_is_named(bucket: str, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/train/3.tar", memory.cat("/bucket/train/3.tar")[:1500])

    with pytest.raises(UserError, match=r"memory://bucket/train/3.tar: is truncated"):
        TarShards(bucket, "train", str(tmp_path / "cache"))


def test_an_unreadable_local_shard_is_named(folder: Path) -> None:
    (folder / "train" / "0.tar").unlink()
    (folder / "train" / "0.tar").symlink_to("/proc/self/mem")

    with pytest.raises(UserError, match=r"0.tar: cannot be read \(Input/output error\)"):
        TarShards(str(folder), "train")
