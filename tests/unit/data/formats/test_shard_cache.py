import fcntl
import json
import logging
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from swin_train.data.formats import shard_cache
from swin_train.data.formats.shard_cache import ShardCache
from swin_train.errors import DataError, StorageError, UserError

DAY = 24 * 3600.0


def put(content: bytes) -> Callable[[BinaryIO], object]:
    return lambda sink: sink.write(content)


def refuse(sink: BinaryIO) -> None:
    raise AssertionError("it is there already")


def in_child(act: Callable[[], object]) -> int:
    """Start a forked process that ends with status 0 unless ``act`` raises."""
    child = os.fork()
    if not child:
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


def status(child: int) -> int:
    return os.waitpid(child, 0)[1]


def age(cache: Path, key: str, seconds: float) -> None:
    """Make an entry seem unused, and unverified, for some time."""
    then = time.time() - seconds
    for kind in ("data", "json"):
        os.utime(cache / f"{key}.{kind}", (then, then))


def contents(cache: Path) -> set[str]:
    return {path.stem for path in cache.glob("*.data")}


def test_an_entry_is_made_once_and_kept(tmp_path: Path) -> None:
    path = ShardCache(str(tmp_path / "new" / "cache")).path("a.tar", 7, put(b"content"))

    assert path.read_bytes() == b"content"
    again = ShardCache(str(tmp_path / "new" / "cache"))
    assert again.path("a.tar", 7, refuse) == path
    assert again.path("a.tar", 7, refuse) == path
    assert json.loads(path.with_suffix(".json").read_text())["size"] == 7


def test_processes_that_ask_at_once_make_it_once(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def make(sink: BinaryIO) -> None:
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.2)
        sink.write(b"content")

    def ask() -> None:
        assert ShardCache(str(tmp_path)).path("a", 7, make).read_bytes() == b"content"

    assert [status(child) for child in [in_child(ask) for _ in range(4)]] == [0] * 4
    assert log.read_text() == "made\n"


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    cache = ShardCache(str(tmp_path))

    def fail(sink: BinaryIO) -> None:
        sink.write(b"half")
        raise UserError("no network")

    with pytest.raises(UserError, match="no network"):
        cache.path("a", 9, fail)
    assert {path.name for path in tmp_path.iterdir()} == {"a.make"}
    assert cache.path("a", 9, put(b"content")).read_bytes() == b"content"


def test_killed_at_any_time_it_never_gives_wrong_content(tmp_path: Path) -> None:
    right = random.Random(0).randbytes(1 << 16)
    draw = random.Random(1)

    def make(sink: BinaryIO) -> None:
        for start in range(0, len(right), 1 << 12):
            sink.write(right[start : start + (1 << 12)])
            sink.flush()
            time.sleep(0.001)

    whole = 0
    for number in range(8):
        key = f"{number % 2}"  # what a crash left is met again
        child = in_child(lambda key=key: ShardCache(str(tmp_path)).path(key, len(right), make))
        time.sleep(draw.uniform(0, 0.04))
        os.kill(child, signal.SIGKILL)
        status(child)
        data = tmp_path / f"{key}.data"
        if data.exists():
            whole += 1
            assert data.read_bytes() == right
    for key in "01":
        assert ShardCache(str(tmp_path)).path(key, len(right), make).read_bytes() == right
    assert whole < 8


@pytest.mark.parametrize("step", ["fsync", "replace", "_flush_folder"])
def test_a_crash_at_each_step_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def crash() -> None:
        home = {"fsync": os, "replace": Path, "_flush_folder": shard_cache}[step]
        monkeypatch.setattr(home, step, lambda *_: os._exit(9))
        ShardCache(str(tmp_path)).path("a", 100, put(b"content"))

    assert os.waitstatus_to_exitcode(status(in_child(crash))) == 9

    make = refuse if step == "_flush_folder" else put(b"content")
    assert ShardCache(str(tmp_path)).path("a", 100, make).read_bytes() == b"content"


@pytest.mark.parametrize("days", [0, 2])
def test_another_size_is_made_again(tmp_path: Path, days: int) -> None:
    ShardCache(str(tmp_path)).path("a", 7, put(b"content"))
    (tmp_path / "a.data").write_bytes(b"conten")
    age(tmp_path, "a", days * DAY)

    assert ShardCache(str(tmp_path)).path("a", 7, put(b"content")).read_bytes() == b"content"


def test_content_is_verified_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ShardCache(str(tmp_path)).path("a", 7, put(b"content"))
    age(tmp_path, "a", 2 * DAY)
    read: list[Path] = []
    sha256 = shard_cache._sha256
    monkeypatch.setattr(shard_cache, "_sha256", lambda path: read.append(path) or sha256(path))

    for _ in range(2):
        ShardCache(str(tmp_path)).path("a", 7, refuse)
    assert len(read) == 1

    age(tmp_path, "a", 2 * DAY)
    (tmp_path / "a.data").write_bytes(b"conTent")
    assert ShardCache(str(tmp_path)).path("a", 7, put(b"content")).read_bytes() == b"content"


def test_damage_in_use_is_an_error(tmp_path: Path) -> None:
    holder = ShardCache(str(tmp_path))
    holder.path("a", 7, put(b"content"))
    (tmp_path / "a.data").write_bytes(b"short")

    with pytest.raises(DataError, match=r"a.data: is damaged, and other processes use it; end them"):
        ShardCache(str(tmp_path)).path("a", 7, refuse)


def test_the_longest_unused_are_deleted_for_room(tmp_path: Path) -> None:
    cache = str(tmp_path)
    for key, days in (("a", 0.3), ("b", 0.2), ("c", 0.4)):
        ShardCache(cache).path(key, 10, put(b"0123456789"))
        age(tmp_path, key, days * DAY)
    ShardCache(cache).path("c", 10, refuse)  # taken into use

    ShardCache(cache, limit=35).path("d", 10, put(b"0123456789"))

    assert contents(tmp_path) == {"b", "c", "d"}


def test_what_is_in_use_is_never_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = ShardCache(str(tmp_path), limit=25)
    cache.path("a", 10, put(b"0123456789"))
    cache.path("b", 10, put(b"0123456789"))

    def ask() -> None:
        ShardCache(str(tmp_path), limit=25).path("c", 10, put(b"0123456789"))

    assert status(in_child(ask)) == 0
    assert contents(tmp_path) == {"a", "b", "c"}
    with caplog.at_level(logging.WARNING):
        cache.path("d", 10_000_000_000, put(b"0123456789"))
    assert contents(tmp_path) == {"a", "b", "d"}  # the child has ended
    assert "10.0 GB more are in use at once than DATA.CACHE_GB allows; raise it" in caplog.text


def test_a_process_lets_go_of_what_it_asked_for_long_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_cache, "_HELD", 2)
    cache = ShardCache(str(tmp_path), limit=30)
    for key in "abacd":
        cache.path(key, 10, put(b"0123456789"))

    assert contents(tmp_path) == {"a", "c", "d"}
    ShardCache(str(tmp_path), limit=30).path("e", 10, put(b"0123456789"))
    assert contents(tmp_path) == {"c", "d", "e"}


def test_forked_processes_keep_what_their_parent_lets_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_cache, "_HELD", 1)
    cache = ShardCache(str(tmp_path), limit=20)
    cache.path("a", 10, put(b"0123456789"))
    child = in_child(lambda: time.sleep(30))

    cache.path("b", 10, put(b"0123456789"))
    cache.path("c", 10, put(b"0123456789"))

    assert contents(tmp_path) >= {"a", "c"}
    os.kill(child, signal.SIGKILL)
    status(child)


def test_what_a_crash_left_is_deleted_for_room(tmp_path: Path) -> None:
    (tmp_path / "old.part").write_bytes(bytes(100))

    ShardCache(str(tmp_path), limit=50).path("a", 10, put(b"0123456789"))

    assert not (tmp_path / "old.part").exists()


def test_a_process_forked_meanwhile_does_not_keep_the_lock(tmp_path: Path) -> None:
    children = []

    def make(sink: BinaryIO) -> None:
        children.append(in_child(lambda: time.sleep(30)))

    ShardCache(str(tmp_path)).path("a", 0, make)

    with (tmp_path / "a.make").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.kill(children[0], signal.SIGKILL)
    status(children[0])


def test_the_folder_must_be_named_and_writable(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"DATA.CACHE_DIR is empty; name a folder on a disk of this machine"):
        ShardCache("")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"DATA.CACHE_DIR: .*file cannot be used \(.*; see to space"):
        ShardCache(str(tmp_path / "file"))
