"""The index of a split: names, labels and sizes of its images and where they lie, kept from run to run.

Listing a million files takes minutes on a network disk, so what was found is kept in a cache folder
($SWIN_TRAIN_CACHE, else swin_train/ in $XDG_CACHE_HOME or ~/.cache) as one file that all processes map into
memory. It is used again only while every folder and file that it was built from is as it was.
"""

import fcntl
import functools
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swin_train.data.formats.array_file import DamagedFile, read_arrays, write_arrays
from swin_train.data.formats.names import printable

logger = logging.getLogger(__name__)

_VERSION = 2  # of what an index holds; another one is built anew
_COLUMN = "column "  # before the names of columns in the file
# A folder may change twice within one tick of its file system's clock, up to 2 s: the time of a change that
# is younger says nothing yet about the next one.
_SETTLED_S = 2.0


class Seen(NamedTuple):
    """A file or folder as an index saw it; all 0 where there was none."""

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def see(path: str) -> Seen:
    """What ``path`` is now."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return Seen(path, 0, 0, 0, 0, 0)
    return Seen(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True)
class Index:
    """What is known of the images of a split.

    Attributes:
        classes: names of the classes, by label.
        labels, sizes: [num_images].
        names: bytes of all names, one after the other; a list of a million strings would be copied into every
            worker, page by page, as its reference counts are touched.
        ends: [num_images], where each name ends in ``names``.
        columns: what else a format keeps of each image, by name, such as offsets.
        notes: warnings to give whenever the split is opened.
        file: where it is kept.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    names: NDArray[np.uint8]
    ends: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    file: Path | None = None

    def name(self, index: int) -> bytes:
        """Name of image ``index``, as the file system or the archive has it."""
        start = int(self.ends[index - 1]) if index else 0
        return self.names[start : int(self.ends[index])].tobytes()

    def drop(self) -> None:
        """Keep it no longer: the next run builds another."""
        if self.file:
            with suppress(OSError):
                self.file.unlink(missing_ok=True)


def make_index(
    classes: Iterable[str],
    labels: Iterable[int] | NDArray[np.int64],
    sizes: Iterable[int],
    names: Iterable[bytes],
    columns: Mapping[str, NDArray[Any]] | None = None,
    notes: Iterable[str] = (),
) -> Index:
    """Index of images whose labels, sizes and names are given one by one."""
    names = list(names)
    return Index(
        classes=tuple(classes),
        labels=np.fromiter(labels, np.int64),
        sizes=np.fromiter(sizes, np.int64),
        names=np.frombuffer(b"".join(names), np.uint8),
        ends=np.cumsum([len(name) for name in names], dtype=np.int64),
        columns=columns or {},
        notes=tuple(notes),
    )


def cache_folder(*parts: str) -> Path:
    """Folder for what can be made again, which need not exist yet.

    Raises:
        OSError: neither SWIN_TRAIN_CACHE nor XDG_CACHE_HOME is set, and the user has no home.
    """
    if own := os.environ.get("SWIN_TRAIN_CACHE"):
        return Path(own, *parts)
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise OSError(str(error)) from error
    return Path(caches, "swin_train", *parts)


def kept(kind: str, path: str, build: Callable[[], tuple[Index, list[Seen]]]) -> Index:
    """The index of ``path`` as a run before has kept it, else one that is built now and kept.

    The processes of a node build it once: the others wait. Where nothing can be kept, which is said once, each
    builds its own.

    Args:
        kind: of the format; the same path may have an index in several.
        path: of the folder or archive.
        build: makes the index, and says what it looked at, each thing seen before it was read.
    """
    path = os.path.realpath(path)
    try:
        file = _place(kind, path)
        index = _read(file, kind, path)
        if index is None:
            with _one_at_a_time(file):
                index = _read(file, kind, path) or _build(file, kind, path, build)
    except OSError as error:
        _say_nothing_is_kept(str(error))
        index, _ = build()
    for note in index.notes:
        logger.warning("%s", note)
    return index


def _place(kind: str, path: str) -> Path:
    # With the inode, so that nodes that share a home do not take turns over the same path on their own disks.
    seen = see(path)
    identity = hashlib.sha256(os.fsencode(f"{path}\0{seen.device}\0{seen.inode}")).hexdigest()
    return cache_folder("indexes") / f"{kind}-{identity[:24]}.index"


@contextmanager
def _one_at_a_time(file: Path) -> Iterator[None]:
    # It stays there: removed, it would be one file for who waits and another for who comes.
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as holder:  # with a killed process its lock goes too
        fcntl.lockf(holder, fcntl.LOCK_EX)
        yield


def _build(file: Path, kind: str, path: str, build: Callable[[], tuple[Index, list[Seen]]]) -> Index:
    logger.info("indexing %s", printable(path))
    started = time.time()
    index, seen = build()
    newest = max(thing.mtime_ns for thing in seen)
    is_dated = all(thing.mtime_ns for thing in seen if thing.inode)  # not so on some object stores
    if is_dated and newest < (started - _SETTLED_S) * 1e9:
        try:
            _write(file, kind, path, index, seen)
        except OSError as error:
            _say_nothing_is_kept(str(error))
        return _read(file, kind, path) or index  # one copy in memory for all processes
    return index


@functools.cache
def _say_nothing_is_kept(reason: str) -> None:
    logger.warning(
        "the index of the data is not kept (%s), so every start reads all names again; "
        "set SWIN_TRAIN_CACHE to a folder that can be written",
        reason,
    )


def _write(file: Path, kind: str, path: str, index: Index, seen: list[Seen]) -> None:
    facts: dict[str, Any] = {"version": _VERSION, "kind": kind, "path": path, "seen": seen}
    facts |= {"classes": index.classes, "notes": index.notes}
    arrays: dict[str, NDArray[Any]] = {
        "labels": index.labels,
        "sizes": index.sizes,
        "names": index.names,
        "ends": index.ends,
    }
    arrays |= {f"{_COLUMN}{name}": column for name, column in index.columns.items()}
    write_arrays(file, facts, arrays)


def _read(file: Path, kind: str, path: str) -> Index | None:
    """The index that is kept, None where there is none, or it is damaged or no longer true."""
    try:
        facts, arrays = read_arrays(file)
    except (FileNotFoundError, DamagedFile):
        return None
    if (facts["version"], facts["kind"], facts["path"]) != (_VERSION, kind, path):
        return None
    if any(see(thing[0]) != tuple(thing) for thing in facts["seen"]):
        return None
    columns = {name: arrays.pop(name) for name in list(arrays) if name.startswith(_COLUMN)}
    return Index(
        classes=tuple(facts["classes"]),
        columns={name.removeprefix(_COLUMN): column for name, column in columns.items()},
        notes=tuple(facts["notes"]),
        file=file,
        **arrays,
    )
