"""Writing a packed set (see packed.py), so that a killed run goes on behind its last finished shard."""

import hashlib
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from swin_train.data.formats.array_file import DamagedFile
from swin_train.data.formats.index import make_index
from swin_train.data.formats.names import printable
from swin_train.data.formats.packed_records import (
    INDEX_NAME,
    Records,
    Shard,
    join,
    read_records,
    write_records,
)
from swin_train.errors import UserError

_GIB = 2**30
# What may lie there from a killed run: the names of shards, of their records, and of both before they are whole.
_OURS = re.compile(r"\d{5,}\.bin(\.records|\.part)?|\.(packed\.index|\d{5,}\.bin\.records)\.\d+\.part")


class PackedWriter:
    """Writes the images of one split, in the order in which they come.

    A shard appears under its name when it is whole and on disk, with its records in a file beside it; the index
    of all comes last. What an earlier run has finished is kept, and is what the first images must be.

    Args:
        folder: of the split; made where it is not there.
        classes: names of the classes, by label.
        shard_bytes: an image with which a shard would become larger begins the next one.

    Attributes:
        num_finished: images that an earlier run has finished, which need not be added.
        is_complete: whether these are all, because the index is written.

    Raises:
        UserError: the folder holds a part of a set with other classes, or a damaged one.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, classes: Sequence[str], shard_bytes: int = _GIB) -> None:
        self._folder = folder
        self._where = printable(str(folder))
        self._classes = tuple(classes)
        self._shard_bytes = shard_bytes
        self._open: _OpenShard | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.is_complete = (folder / INDEX_NAME).exists()
        self._parts = [self._index()] if self.is_complete else self._finished_shards()
        if any(part.images.classes != self._classes for part in self._parts):
            raise UserError(
                f"{self._where}: holds a packed set of other classes; delete the folder, or give another one."
            )
        self._found = join(self._parts, self._classes).images
        self.num_finished = len(self._found.labels)
        self._sweep()

    def holds(self, position: int, name: str, label: int, size: int) -> bool:
        """Whether an earlier run has finished the image at ``position``, described as in ``add``.

        Raises:
            UserError: it has finished another one there: the source is not what it was.
        """
        if position >= self.num_finished:
            return False
        found = self._found
        there = (found.name(position).decode(), int(found.labels[position]), int(found.sizes[position]))
        if there != (name, label, size):
            raise UserError(
                f"{self._where}: image {position} is {there[0]} there (label {there[1]}, {there[2]} bytes) and "
                f"{name} now (label {label}, {size} bytes); what was begun with other data cannot be finished: "
                "delete the folder, or give another one."
            )
        return True

    def add(self, name: str, label: int, data: bytes, size: int) -> None:
        """Append an image.

        Args:
            name: path of the image in its split, such as CLASS/FILE.
            label: of its class.
            data: what is kept: the image as it is, or as a tiled JPEG.
            size: bytes of the image as it is.

        Raises:
            UserError: the set is complete.
            OSError: it cannot be written.
        """
        if self.is_complete:
            raise UserError(
                f"{self._where}: holds a finished set of {self.num_finished} images, without {name}; "
                "delete the folder, or give another one."
            )
        if not 0 <= label < len(self._classes):
            raise ValueError(f"label {label} of {name} is not below {len(self._classes)}")
        if self._open and self._open.size + len(data) > self._shard_bytes:
            self._finish_shard(self._open)
        if self._open is None:
            self._open = _OpenShard(self._folder / _shard_name(len(self._parts)), self._classes)
        self._open.add(name, label, data, size)

    def finish(self) -> None:
        """Write the last shard and the index.

        Raises:
            ValueError: there are no images.
            OSError: it cannot be written.
        """
        if self.is_complete:
            return
        if self._open:
            self._finish_shard(self._open)
        if not self._parts:
            raise ValueError(f"{self._where}: there are no images to pack")
        write_records(self._folder / INDEX_NAME, join(self._parts, self._classes))
        _flush(self._folder)
        self.is_complete = True
        self._sweep()

    def close(self) -> None:
        """Give up what is in no finished shard; a later run begins there."""
        if self._open:
            self._open.abandon()
            self._open = None

    def _finish_shard(self, shard: "_OpenShard") -> None:
        records = shard.finish()
        write_records(self._folder / f"{records.shards[0].file}.records", records)
        shard.publish()  # last: a shard under its own name has its records
        _flush(self._folder)
        self._parts.append(records)
        self._open = None

    def _index(self) -> Records:
        try:
            return read_records(self._folder / INDEX_NAME)
        except DamagedFile as error:
            raise UserError(
                f"{self._where}/{INDEX_NAME}: is damaged ({error}); delete the folder and pack again."
            ) from error

    def _finished_shards(self) -> list[Records]:
        found: list[Records] = []
        while True:
            path = self._folder / _shard_name(len(found))
            try:
                records = read_records(path.with_name(f"{path.name}.records"))
                size = path.stat().st_size
            except (FileNotFoundError, DamagedFile):
                return found
            if [(shard.file, shard.size) for shard in records.shards] != [(path.name, size)]:
                return found
            found.append(records)

    def _sweep(self) -> None:
        """Delete what is no part of the set: unfinished shards, and records that the index holds."""
        kept = {shard.file for part in self._parts for shard in part.shards}
        if not self.is_complete:
            kept |= {f"{name}.records" for name in kept}
        for path in self._folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in kept:
                path.unlink()


class _OpenShard:
    """A shard that is being written, under another name than its own."""

    def __init__(self, path: Path, classes: tuple[str, ...]) -> None:
        self._path = path
        self._classes = classes
        self._part = path.with_name(f"{path.name}.part")
        self._file = self._part.open("wb")
        self._sha256 = hashlib.sha256()
        self._names: list[bytes] = []
        self._labels: list[int] = []
        self._sizes: list[int] = []
        self._ends: list[int] = []
        self._checksums: list[int] = []
        self.size = 0

    def add(self, name: str, label: int, data: bytes, size: int) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self.size += len(data)
        self._names.append(name.encode())
        self._labels.append(label)
        self._sizes.append(size)
        self._ends.append(self.size)
        self._checksums.append(zlib.crc32(data))

    def finish(self) -> Records:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        shard = Shard(self._path.name, self.size, len(self._ends), self._sha256.hexdigest())
        images = make_index(self._classes, self._labels, self._sizes, self._names)
        return Records((shard,), images, np.array(self._ends, np.int64), np.array(self._checksums, np.uint32))

    def publish(self) -> None:
        self._part.rename(self._path)

    def abandon(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


def _shard_name(number: int) -> str:
    return f"{number:05}.bin"


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
