"""OUT/SPLIT/CLASS/FILE: a unit is a class, whose folder appears when it is complete."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from swin_train.prepare.disk import GrowingFile, flush, flush_all
from swin_train.prepare.plan import Files, Image, Indices, Layout, Record, by_class


class Folder:
    """An image folder, and ``SPLIT.sha256``, which ``sha256sum -c`` reads."""

    overhead = 2048  # half a block

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folder = layout.out / layout.split
        self._sums = layout.out / f"{layout.split}.sha256"

    def units(self) -> list[Indices]:
        """One for each class."""
        return by_class(self._layout.labels, len(self._layout.classes))

    def begin(self, part: Path, records: list[Record]) -> int:
        """Let the checksums grow in ``part``."""
        self._folder.mkdir(exist_ok=True)
        self._growing = GrowingFile(part, records[-1]["end"] if records else 0, self._sums)
        return len(records)

    def write(self, unit: int, images: Iterator[Image], temporary: Path) -> Record:
        """Write a class."""
        beside, name = temporary / f"class-{unit}", self._layout.folders[unit]
        beside.mkdir()
        sums = []
        for image in images:
            (beside / image.file).write_bytes(image.data)
            digest = hashlib.sha256(image.data).hexdigest()
            sums.append(f"{digest}  {self._layout.split}/{name}/{image.file}\n")
        (temporary / f"sums-{unit}").write_text("".join(sums), encoding="utf-8")
        flush_all(temporary)
        final = self._folder / name
        if final.exists():  # complete, but not remembered
            final.rename(temporary / f"before-{unit}")
        beside.rename(final)
        flush(self._folder)
        return {}

    def accept(self, unit: int, temporary: Path) -> Record:
        """Append the checksums of a class."""
        return {"end": self._growing.append_file(temporary / f"sums-{unit}")}

    def finish(self, records: list[Record]) -> Files:
        """Give the checksums their name; they stand for the files that they list."""
        return {self._sums.name: self._growing.commit()}
