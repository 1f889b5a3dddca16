"""Shards on a disk of this machine: made once for all its processes, whole or not at all, never deleted in use.

The files of an entry:

- ``KEY.data``, the content, appears last and by a rename; its time is when it was last taken into use
- ``KEY.json``, its size and SHA-256; its time is when the content was last verified
- ``KEY.used`` is locked shared by who uses the content, and alone by who deletes it, who never waits for it
- ``KEY.make`` is locked by who makes or verifies the content; the others wait

Locks end with their process, however it ends. The files that are locked stay: deleted, they would be one file for
who waits and another for who comes.
"""

import fcntl
import hashlib
import json
import logging
import os
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from swin_train.errors import DataError, StorageError, UserError

logger = logging.getLogger(__name__)

_TRUSTED = 24 * 3600.0  # seconds for which content is not read again only to verify it
_HELD = 64  # entries that a process keeps from deletion: those that it asked for last
_ROUNDS = 100  # in each of which another process may delete what was just made

Make = Callable[[BinaryIO], object]


class ShardCache:
    """A folder of files that are made when they are first asked for and deleted when room is needed.

    What a process asked for lately stays while others come, so its path may be handed to C threads. Threads, and
    processes forked from one that has a cache, may use it.

    Args:
        folder: on a disk of this machine, whose locks can be trusted; made where it is not there.
        limit: bytes that the files may take together, 0 for as many as the disk has. It is passed, with a
            warning, where more is in use at once.

    Raises:
        UserError: ``folder`` is empty.
        StorageError: it cannot be made.
    """

    def __init__(self, folder: str, limit: int = 0) -> None:
        if not folder:
            raise UserError(
                "DATA.CACHE_DIR is empty; name a folder on a disk of this machine, to keep shards in that come from "
                "object storage or are unpacked from Parquet."
            )
        self._folder = Path(folder)
        self._limit = limit
        self._warned = False
        self._held: OrderedDict[str, int] = OrderedDict()  # key -> descriptor that holds its lock
        weakref.finalize(self, _close_all, self._held)
        with self._storage():
            self._folder.mkdir(parents=True, exist_ok=True)

    def check_room(self, sizes: list[int]) -> None:
        """Refuse a limit that is less than what one process may use at once of entries of ``sizes`` bytes.

        Raises:
            UserError: it is.
        """
        at_once = sum(sorted(sizes)[-_HELD:])
        if 0 < self._limit < at_once:
            raise UserError(
                f"DATA.CACHE_GB is {self._limit / 1e9:g}; a process may use {min(_HELD, len(sizes))} shards at once, "
                f"here {at_once / 1e9:.3g} GB. Give more than that, or write smaller shards."
            )

    def path(self, key: str, size: int, make: Make) -> Path:
        """Return the file of an entry, made if it is not there; it stays until 63 others were asked for.

        Args:
            key: a file name; other content has another.
            size: bytes of room that it takes; an estimate will do.
            make: writes the content to the file that it is given.

        Raises:
            DataError: the content is damaged, and other processes use it.
            StorageError: the folder cannot be written.
        """
        data = self._folder / f"{key}.data"
        try:
            self._held.move_to_end(key)
        except KeyError:
            with self._storage():
                self._hold(key, self._acquire(_Entry(data), size, make))
        return data

    def _hold(self, key: str, descriptor: int) -> None:
        released = [self._held.pop(key, None)]  # another thread may have been faster
        self._held[key] = descriptor
        if len(self._held) > _HELD:
            released.append(self._held.popitem(last=False)[1])
        for other in released:
            if other is not None:
                os.close(other)  # were it unlocked, it would be so for forked processes too

    def _acquire(self, entry: "_Entry", size: int, make: Make) -> int:
        """A descriptor that holds the lock of an entry whose content is there and right."""
        for _ in range(_ROUNDS):
            if entry.is_trusted():
                descriptor = _lock(entry.used, fcntl.LOCK_SH)
                if entry.is_trusted():  # nobody deleted it in between
                    os.utime(entry.data)
                    return descriptor
                os.close(descriptor)
            with _locked(entry.making):
                self._mend(entry, size, make)
        raise OSError(f"{entry.data.name} is lost as often as it is made; is the clock wrong?")

    def _mend(self, entry: "_Entry", size: int, make: Make) -> None:
        """Verify the content or make it, while other processes wait."""
        if entry.is_trusted():
            return  # another process was faster
        if entry.data.exists() and not entry.is_right():
            logger.warning("%s: is not what was written there; it is made again", entry.data)
            if not _deleted(entry.data, entry.used):
                raise DataError(
                    f"{entry.data}: is damaged, and other processes use it; end them, and it is made again."
                )
        if not entry.data.exists():
            self._make_room(size)
            entry.make(size, make)

    def _make_room(self, size: int) -> None:
        """Delete what nobody uses, the longest unused first, until ``size`` more bytes fit."""
        if not self._limit:
            return
        with _locked(self._folder / "room.lock"):
            files = _by_last_use(self._folder)
            excess = sum(taken for _, taken in files) + size - self._limit
            for path, taken in files:
                lock = path.with_suffix(".used" if path.suffix == ".data" else ".make")
                if excess > 0 and _deleted(path, lock):
                    excess -= taken
        if excess > 0 and not self._warned:
            self._warned = True
            logger.warning(
                "%s: %.1f GB more are in use at once than DATA.CACHE_GB allows; raise it, or use fewer shards at once",
                self._folder, excess / 1e9,
            )  # fmt: skip

    @contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"DATA.CACHE_DIR: {self._folder} cannot be used ({error}); see to space and permissions, or name "
                "another folder on a disk of this machine."
            ) from None


class _Entry:
    """The files of an entry."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.record = data.with_suffix(".json")
        self.used = data.with_suffix(".used")
        self.making = data.with_suffix(".make")
        self._part = data.with_suffix(".part")

    def is_trusted(self) -> bool:
        """Whether the content is there, of the recorded size, and was verified lately."""
        try:
            verified = self.record.stat().st_mtime
            size = json.loads(self.record.read_text())["size"]
            return self.data.stat().st_size == size and abs(time.time() - verified) < _TRUSTED
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False

    def is_right(self) -> bool:
        """Whether all of the content is as recorded, which is then known for a day."""
        try:
            expected = json.loads(self.record.read_text())
            right = expected == {"size": self.data.stat().st_size, "sha256": _sha256(self.data)}
        except (FileNotFoundError, ValueError):
            return False
        if right:
            os.utime(self.record, (time.time(),) * 2)  # by the clock that it will be compared with
        return right

    def make(self, size: int, make: Make) -> None:
        """Write the content; what a crash left of an earlier attempt is written over."""
        try:
            with self._part.open("w+b") as sink:
                sink.truncate(size)  # for who counts what is taken
                make(sink)
                sink.truncate()
                sink.flush()
                os.fsync(sink.fileno())
            record = {"size": self._part.stat().st_size, "sha256": _sha256(self._part)}
            with self.record.open("w") as file:
                file.write(json.dumps(record))
                file.flush()
                os.fsync(file.fileno())
            self._part.replace(self.data)
            _flush_folder(self.data.parent)
        finally:
            self._part.unlink(missing_ok=True)


def _by_last_use(folder: Path) -> list[tuple[Path, int]]:
    """The contents in a folder, those in the making too, with their sizes, the longest unused first."""
    found = []
    for path in (*folder.glob("*.data"), *folder.glob("*.part")):
        with suppress(FileNotFoundError):  # deleted, or renamed when it was whole
            status = path.stat()
            found.append((status.st_mtime, path, status.st_size))
    return [(path, size) for _, path, size in sorted(found)]


def _deleted(path: Path, lock: Path) -> bool:
    """Whether a file could be deleted because nobody holds its lock."""
    try:
        descriptor = _lock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        path.unlink(missing_ok=True)
    finally:
        _unlock(descriptor)
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = _lock(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        _unlock(descriptor)


def _lock(path: Path, kind: int) -> int:
    """A descriptor that holds a lock until it is closed; BlockingIOError where ``kind`` does not wait."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, kind)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _unlock(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process forked meanwhile would hold on to what is only closed
    os.close(descriptor)


def _close_all(held: dict[str, int]) -> None:
    for descriptor in held.values():
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
