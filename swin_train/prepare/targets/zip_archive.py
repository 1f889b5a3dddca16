"""OUT/SPLIT.zip and OUT/SPLIT_map.txt, as the reference reads them: stored, not deflated."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from swin_train.prepare.disk import GrowingFile, HashedFile
from swin_train.prepare.plan import Files, Image, Indices, Layout, Record, by_size
from swin_train.prepare.zip_headers import central_header, end_of_archive, local_header, member_at

_STRETCH = 64 << 20  # bytes of images


class ZipArchive:
    """One archive with its map of labels; a unit is a stretch of it."""

    overhead = 300  # bytes: two headers and a line

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._zip = layout.out / f"{layout.split}.zip"
        self._map = layout.out / f"{layout.split}_map.txt"

    def units(self) -> list[Indices]:
        """Stretches in the order of the source; of each, a thread writes a copy first."""
        order, unit_bytes = np.arange(len(self._layout.labels)), min(_STRETCH, self._layout.unit_bytes)
        return by_size(order, self._layout.sizes, unit_bytes)

    def begin(self, part: Path, records: list[Record]) -> int:
        """Let the archive grow in ``part``."""
        self._growing = GrowingFile(part, records[-1]["end"] if records else 0, self._zip)
        return len(records)

    def write(self, unit: int, images: Iterator[Image], temporary: Path) -> Record:
        """Write a stretch to a file of its own."""
        with (temporary / f"stretch-{unit}").open("wb") as file:
            for image in images:
                file.write(local_header(f"{image.folder}/{image.file}", image.data))
                file.write(image.data)
        return {}

    def accept(self, unit: int, temporary: Path) -> Record:
        """Append a stretch."""
        return {"end": self._growing.append_file(temporary / f"stretch-{unit}")}

    def finish(self, records: list[Record]) -> Files:
        """Write the map and the directory: the local headers tell what is in the archive."""
        labels = {folder: label for label, folder in enumerate(self._layout.folders)}
        growing, start = self._growing, self._growing.size
        count = offset = 0
        with HashedFile(self._map.with_name(f".{self._map.name}.tmp")) as lines:
            while offset < start:
                member = member_at(growing.read, offset)
                growing.append(central_header(member))
                lines.write(f"{member.name}\t{labels[member.name.rpartition('/')[0]]}\n".encode())
                count, offset = count + 1, member.end
            growing.append(end_of_archive(count, start, growing.size - start))
            map_facts = lines.commit(self._map)
        return {self._map.name: map_facts, self._zip.name: growing.commit()}
