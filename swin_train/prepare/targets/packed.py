"""OUT/SPLIT/*.bin with an index: losslessly tiled JPEGs, classes mixed. See data/formats/packed.py."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from swin_train.data.formats.array_file import read_arrays
from swin_train.data.formats.packed import INDEX_NAME
from swin_train.data.formats.packed_writer import PackedWriter
from swin_train.errors import UserError
from swin_train.prepare.disk import sha256_of
from swin_train.prepare.plan import Files, Image, Indices, Layout, Record, by_size, mixed

_UNIT = 64 << 20  # bytes of images that a thread tiles at once
_HEAD = struct.Struct("<4Q")  # label, bytes of the original, of the name, of the data


class Packed:
    """A packed split. Threads tile the images of a unit, and one writer puts them into shards in order.

    Raises:
        UserError: the native extension cannot be used.
    """

    overhead = 128  # bytes: a name and three numbers

    def __init__(self, layout: Layout) -> None:
        from swin_train.data.native import library  # brings torch, which takes seconds to import

        if (reason := library.unavailable()) is not None:
            raise UserError(
                f"--to packed: needs the native extension, which {reason}; other layouts do without"
            )
        self._layout = layout
        self._folder = layout.out / layout.split

    def units(self) -> list[Indices]:
        """Stretches of a fixed mixed order, smaller than shards."""
        order, unit_bytes = mixed(len(self._layout.labels)), min(_UNIT, self._layout.unit_bytes)
        return by_size(order, self._layout.sizes, unit_bytes)

    def begin(self, part: Path, records: list[Record]) -> int:
        """Go on behind the shards that are finished; a unit of which a part is missing is done again."""
        self._writer = PackedWriter(self._folder, self._layout.classes, self._layout.unit_bytes)
        self._position, stand = 0, 0
        for record in records:
            after = self._position + sum(record["images"].values())
            if after > self._writer.num_finished:
                break
            self._position, stand = after, stand + 1
        return stand

    def write(self, unit: int, images: Iterator[Image], temporary: Path) -> Record:
        """Tile the images of a unit; what cannot be tiled stays as it is."""
        from swin_train.data.native.tiling import NotTileable, tile

        tiled = 0
        with (temporary / f"unit-{unit}").open("wb") as file:
            for image in images:
                data = image.data
                try:
                    data = tile(data)
                    tiled += 1
                except NotTileable:
                    pass
                name = f"{image.folder}/{image.file}".encode()
                file.write(_HEAD.pack(image.label, len(image.data), len(name), len(data)) + name)
                file.write(data)
        return {"tiled": tiled}

    def accept(self, unit: int, temporary: Path) -> Record:
        """Hand the images of a unit to the writer."""
        path = temporary / f"unit-{unit}"
        with path.open("rb") as file:
            for label, size, name, data in _images(file):
                if not self._writer.holds(self._position, name, label, size):
                    self._writer.add(name, label, data, size)
                self._position += 1
        path.unlink()
        return {}

    def finish(self, records: list[Record]) -> Files:
        """Write the last shard and the index."""
        self._writer.finish()
        facts, _ = read_arrays(self._folder / INDEX_NAME)
        split, path = self._layout.split, self._folder / INDEX_NAME
        index = {f"{split}/{INDEX_NAME}": (path.stat().st_size, sha256_of(path))}
        return index | {f"{split}/{name}": (size, digest) for name, size, _, digest in facts["shards"]}


def _images(file: IO[bytes]) -> Iterator[tuple[int, int, str, bytes]]:
    """Label, bytes of the original, name and data of what ``Packed.write`` wrote."""
    while head := file.read(_HEAD.size):
        label, size, name, data = _HEAD.unpack(head)
        yield label, size, file.read(name).decode(), file.read(data)
