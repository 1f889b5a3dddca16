"""OUT/SPLIT-000000.tar, ...: tar shards as webdataset reads them, each image followed by its label."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from swin_train.data.formats.shard_layout import CLASSES
from swin_train.errors import UserError
from swin_train.prepare.disk import HashedFile, sha256_of, write_text
from swin_train.prepare.plan import Files, Image, Indices, Layout, Record, by_size, mixed

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")  # those that data/formats/shards.py looks for


class Shards:
    """Shards of about the same size in which the classes are mixed; a unit is a shard."""

    overhead = 2560  # bytes: two headers, a block for the label, and what fills the image's last one

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def units(self) -> list[Indices]:
        """Stretches of a fixed mixed order."""
        return by_size(mixed(len(self._layout.labels)), self._layout.sizes, self._layout.unit_bytes)

    def begin(self, part: Path, records: list[Record]) -> int:
        """Look at the names of the classes, which the splits share.

        Raises:
            UserError: they are others.
        """
        path = self._layout.out / CLASSES
        if path.exists() and path.read_text(encoding="utf-8") != self._class_names():
            raise UserError(f"{path}: names other classes than SOURCE has; give another OUT")
        return len(records)

    def write(self, unit: int, images: Iterator[Image], temporary: Path) -> Record:
        """Write a shard."""
        with HashedFile(temporary / f"shard-{unit}") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                for image in images:
                    _check_ending(image)
                    name = f"{image.folder}/{image.file}"
                    _add(tar, name, image.data)
                    _add(tar, f"{name.rpartition('.')[0]}.cls", str(image.label).encode())
            return {"files": {self._path(unit).name: file.commit(self._path(unit))}}

    def accept(self, unit: int, temporary: Path) -> Record:
        """Nothing more: the shard is there."""
        return {}

    def finish(self, records: list[Record]) -> Files:
        """Name the classes, in the order of their labels."""
        path = self._layout.out / CLASSES
        write_text(path, self._class_names())
        classes = {CLASSES: (path.stat().st_size, sha256_of(path))}
        return classes | {name: tuple(facts) for record in records for name, facts in record["files"].items()}

    def _class_names(self) -> str:
        """One a line; the names of their folders where those of the classes would not do."""
        classes = self._layout.classes
        is_fit = len(set(classes)) == len(classes) and all(
            name.isprintable() and name.strip() == name != "" for name in classes
        )
        return "".join(f"{name}\n" for name in (classes if is_fit else self._layout.folders))

    def _path(self, unit: int) -> Path:
        return self._layout.out / f"{self._layout.split}-{unit:06}.tar"


def _check_ending(image: Image) -> None:
    if not image.file.lower().endswith(_ENDINGS):
        raise UserError(
            f"{image.folder}/{image.file}: shards hold {' '.join(_ENDINGS)}; convert such images, or write another "
            "layout"
        )


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a member whose header depends on nothing but its name and size."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
