"""How a split is cut into units: what is written at once, and done again after a kill."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from swin_train.data.draws import permutation

Indices = NDArray[np.int64]
Record = dict[str, Any]
"""What is remembered of a finished unit, as JSON values."""
Files = dict[str, tuple[int, str]]
"""Size and SHA-256 of each file that was written, by its path below OUT."""


@dataclass(frozen=True)
class Image:
    """One image on its way.

    Attributes:
        label: its class.
        folder: the class's name as a folder.
        file: its own name, with an ending.
        data: the bytes to write.
        read_size: bytes of the image in the source.
    """

    label: int
    folder: str
    file: str
    data: bytes
    read_size: int


@dataclass(frozen=True)
class Layout:
    """What targets need to know of a split.

    Attributes:
        out: the folder to fill.
        split: "train" or "val".
        labels, sizes: of the images in the source, [n].
        classes: names of the classes, by label.
        folders: names of the classes as folders.
        unit_bytes: of images in a unit, where the format leaves it open.
    """

    out: Path
    split: str
    labels: Indices
    sizes: Indices
    classes: tuple[str, ...]
    folders: tuple[str, ...]
    unit_bytes: int


class Target(Protocol):
    """A way to write a split."""

    overhead: int  # bytes on the disk for each image beside its own, about

    def units(self) -> list[Indices]:
        """Indices of the images of each unit; the same at every call."""

    def begin(self, part: Path, records: list[Record]) -> int:
        """Called before all other work.

        Args:
            part: where a file may grow until the split is complete.
            records: of the units that were finished before.

        Returns:
            How many of these units stand; the others are done again.
        """

    def write(self, unit: int, images: Iterator[Image], temporary: Path) -> Record:
        """Write a unit, in any thread, so that it is complete on the disk; return what to remember.

        What a kill has left of the same unit is replaced. ``temporary`` is a folder for what is half written.
        """

    def accept(self, unit: int, temporary: Path) -> Record:
        """Called for each unit in order, before it is remembered; return more to remember: "end" for one."""

    def finish(self, records: list[Record]) -> Files:
        """Complete the split, also where a kill stopped that before."""


def by_size(order: Indices, sizes: Indices, unit_bytes: int) -> list[Indices]:
    """Cut a sequence of images into runs of about ``unit_bytes``; an image goes where its first byte falls."""
    starts = np.cumsum(sizes[order]) - sizes[order]
    cuts = np.flatnonzero(np.diff(starts // unit_bytes)) + 1
    return np.split(order, cuts)


def by_class(labels: Indices, num_classes: int) -> list[Indices]:
    """The images of each class."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.searchsorted(labels[order], np.arange(1, num_classes)))


def mixed(num_images: int) -> Indices:
    """A fixed order in which classes are mixed: a reader that streams shards shuffles within a window only."""
    return permutation(num_images, 0, 0)
