import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swin_train.data.formats import index as module
from swin_train.data.formats.index import Index, Seen, cache_folder, kept, make_index, see

Build = Callable[[], tuple[Index, list[Seen]]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWIN_TRAIN_CACHE", str(tmp_path / "cache"))
    module._say_nothing_is_kept.cache_clear()
    return tmp_path / "cache/indexes"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(b"data")
    os.utime(path, (1e9, 1e9))
    return path


class Builder:
    """Builds the index of two images, and counts how often."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.times = 0

    def __call__(self) -> tuple[Index, list[Seen]]:
        self.times += 1
        columns = {"offsets": np.array([7, 9])}
        seen = [see(str(self.data))]
        return make_index(
            ["x", "\udce9"], [1, 0], [10, 20], [b"\xe9.png", b"b/c.png"], columns, ["note"]
        ), seen


def test_an_index_is_built_once_and_comes_back_whole(
    cache: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build = Builder(data)

    first, second = kept("folder", str(data), build), kept("folder", str(data), build)

    assert build.times == 1
    for index in (first, second):
        assert index.classes == ("x", "\udce9")
        assert index.labels.tolist() == [1, 0]
        assert index.sizes.tolist() == [10, 20]
        assert [index.name(0), index.name(1)] == [b"\xe9.png", b"b/c.png"]
        assert index.columns["offsets"].tolist() == [7, 9]
    assert caplog.messages == ["note", "note"]
    assert [path for path in cache.iterdir() if not path.name.endswith(".lock")] == [second.file]


def test_another_kind_and_another_path_have_their_own(cache: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"data")
    build = Builder(data)

    kept("folder", str(data), build)
    kept("archive", str(data), build)
    kept("folder", str(tmp_path / "other"), build)

    assert build.times == 3


def test_a_path_through_a_link_is_the_same(cache: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data)
    build = Builder(data)

    kept("folder", str(data), build)
    kept("folder", str(tmp_path / "link"), build)

    assert build.times == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.utime(path, (1e9, 1e9 + 1)),
        lambda path: os.utime(path, (1e9, 1e9)),  # only the time of the change of the times
        lambda path: path.write_bytes(b"more data"),
        lambda path: path.unlink(),
        lambda path: (path.rename(path.with_name("old")), path.write_bytes(b"data")),
    ],
    ids=["mtime", "ctime", "size", "gone", "another file"],
)
def test_what_changed_is_built_anew(cache: Path, data: Path, change: Callable[[Path], object]) -> None:
    build = Builder(data)
    kept("folder", str(data), build)

    change(data)

    kept("folder", str(data), build)
    assert build.times == 2


def test_what_was_not_there_may_come(cache: Path, data: Path, tmp_path: Path) -> None:
    build = Builder(data)

    def and_absent() -> tuple[Index, list[Seen]]:
        index, seen = build()
        return index, [*seen, see(str(tmp_path / "absent"))]

    kept("folder", str(data), and_absent)
    kept("folder", str(data), and_absent)
    assert build.times == 1
    (tmp_path / "absent").touch()
    kept("folder", str(data), and_absent)
    assert build.times == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"X" + data[1:],
        lambda data: data[:-70] + bytes([data[-70] ^ 1]) + data[-69:],
    ],
    ids=["truncated", "empty", "magic", "bit"],
)
def test_a_damaged_index_is_built_anew(cache: Path, data: Path, damage: Callable[[bytes], bytes]) -> None:
    build = Builder(data)
    file = kept("folder", str(data), build).file
    assert file is not None
    file.write_bytes(damage(file.read_bytes()))

    assert kept("folder", str(data), build).labels.tolist() == [1, 0]
    assert kept("folder", str(data), build).labels.tolist() == [1, 0]
    assert build.times == 2


def test_an_index_of_another_version_is_built_anew(
    cache: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Builder(data)
    kept("folder", str(data), build)
    monkeypatch.setattr(module, "_VERSION", module._VERSION + 1)

    kept("folder", str(data), build)

    assert build.times == 2


@pytest.mark.parametrize("is_dated", [True, False], ids=["just now", "no date"])
def test_what_its_time_says_nothing_of_is_not_kept(cache: Path, data: Path, is_dated: bool) -> None:
    seconds = time.time() if is_dated else 0
    os.utime(data, (seconds, seconds))
    build = Builder(data)

    assert kept("folder", str(data), build).file is None
    kept("folder", str(data), build)

    assert build.times == 2


def test_a_dropped_index_is_built_anew(cache: Path, data: Path) -> None:
    build = Builder(data)
    index = kept("folder", str(data), build)

    index.drop()
    index.drop()

    kept("folder", str(data), build)
    assert build.times == 2


def test_a_cache_that_cannot_be_written_is_said_once(
    cache: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.write_bytes(b"")  # a file where the folder should be
    build = Builder(data)

    first, second = kept("folder", str(data), build), kept("folder", str(data), build)

    assert first.file is None
    assert second.name(1) == b"b/c.png"
    [warning] = [text for text in caplog.messages if text != "note"]
    assert warning.startswith("the index of the data is not kept ([Errno 20] Not a directory: ")
    assert warning.endswith("set SWIN_TRAIN_CACHE to a folder that can be written")


def test_a_disk_that_fills_up_costs_only_the_index(
    cache: Path, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_arrays", full)
    build = Builder(data)

    assert kept("folder", str(data), build).labels.tolist() == [1, 0]
    assert build.times == 1
    assert "(" + "[Errno 28] No space left on device)" in caplog.text


def _count(data: str, log: str) -> None:
    def build() -> tuple[Index, list[Seen]]:
        with Path(log).open("a") as file:
            file.write("built\n")
        time.sleep(0.2)
        return Builder(Path(data))()

    assert kept("folder", data, build).labels.tolist() == [1, 0]


def test_processes_that_start_together_build_it_once(cache: Path, data: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_count, args=(str(data), str(log))) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 4
    assert log.read_text() == "built\n"


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIN_TRAIN_CACHE", "/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("HOME", "/home/me")

    assert cache_folder("indexes") == Path("/own/indexes")
    monkeypatch.delenv("SWIN_TRAIN_CACHE")
    assert cache_folder("indexes") == Path("/xdg/swin_train/indexes")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("indexes") == Path("/home/me/.cache/swin_train/indexes")


def test_without_a_home_nothing_is_kept(
    cache: Path, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SWIN_TRAIN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)

    assert kept("folder", str(data), Builder(data)).labels.tolist() == [1, 0]
    assert "is not kept (Could not determine home directory.)" in caplog.text


def test_building_is_said(cache: Path, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        kept("folder", str(data), Builder(data))
        kept("folder", str(data), Builder(data))

    assert caplog.messages.count(f"indexing {data}") == 1
