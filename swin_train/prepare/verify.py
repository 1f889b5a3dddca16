"""Every image of a data set is decoded; what is wrong or unusual is counted and named."""

from contextlib import closing
from dataclasses import asdict, dataclass, field
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_train.data.decode import DecodeError
from swin_train.data.encoded import read
from swin_train.data.formats.source import ImageSource
from swin_train.prepare.in_order import Stopped, in_order
from swin_train.prepare.look import Look, look
from swin_train.prepare.progress import ProgressLine

_AT_ONCE = 64  # images for one thread
Digests = NDArray[np.uint64]
"""SHA-256 of each image, [n, 4]; zeros where it could not be read."""


@dataclass
class SplitReport:
    """What a split holds.

    Attributes:
        images, classes: how many.
        bytes: of all images.
        smallest_class, largest_class: name and number of images.
        broken: why, by name, for every image that cannot be used.
        traits: names of the images, by what is unusual about them.
    """

    images: int
    classes: int
    bytes: int
    smallest_class: tuple[str, int]
    largest_class: tuple[str, int]
    broken: dict[str, str] = field(default_factory=dict)
    traits: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Report:
    """What a data set holds.

    Attributes:
        splits: by name.
        duplicates: groups of images of one split that have the same bytes.
        conflicts: those groups of ``duplicates`` and ``leaks`` whose images have different classes.
        leaks: groups of images with the same bytes in more than one split.
        one_split_only: classes that a split has alone, by split.
        damaged_files: what is wrong, by path, with files that prepare-data wrote; None when not looked at.
    """

    splits: dict[str, SplitReport]
    duplicates: list[list[str]] = field(default_factory=list)
    leaks: list[list[str]] = field(default_factory=list)
    conflicts: list[list[str]] = field(default_factory=list)
    one_split_only: dict[str, list[str]] = field(default_factory=dict)
    damaged_files: dict[str, str] | None = None

    @property
    def is_clean(self) -> bool:
        """Whether every image can be used and every file is what it was."""
        return not self.damaged_files and not any(split.broken for split in self.splits.values())

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"clean": self.is_clean, **asdict(self)}


def verify(sources: dict[str, ImageSource], workers: int) -> Report:
    """Read and decode every image of the splits."""
    splits, digests = {}, []
    for split, source in sources.items():
        splits[split], seen = _verify_split(split, source, workers)
        digests.append(seen)
    report = Report(splits)
    _add_duplicates(report, sources, np.concatenate(digests))
    names = {split: set(source.classes) for split, source in sources.items()}
    for split, own in names.items():
        others = set().union(*(other for name, other in names.items() if name != split))
        if len(names) > 1 and own - others:
            report.one_split_only[split] = sorted(own - others)
    return report


def _verify_split(split: str, source: ImageSource, workers: int) -> tuple[SplitReport, Digests]:
    counts = np.bincount(source.labels, minlength=source.num_classes)
    low, high = int(counts.argmin()), int(counts.argmax())
    report = SplitReport(
        images=source.num_images,
        classes=source.num_classes,
        bytes=0,
        smallest_class=(source.classes[low], int(counts[low])),
        largest_class=(source.classes[high], int(counts[high])),
    )
    digests = np.zeros((source.num_images, 4), np.uint64)  # a dict of a million would take 300 bytes each

    def work(start: int, stop: Event) -> list[Look]:
        return [
            _look(source, index, stop) for index in range(start, min(start + _AT_ONCE, source.num_images))
        ]

    starts = range(0, source.num_images, _AT_ONCE)
    with (
        ProgressLine(split, source.num_images) as progress,
        closing(in_order(work, starts, workers)) as looks,
    ):
        for start, batch in zip(starts, looks, strict=True):
            for index, one in enumerate(batch, start):
                _add(report, one, source.name(index))
                digests[index] = np.frombuffer(one.digest, np.uint64)
            progress.advance(len(batch))
    return report, digests


def _look(source: ImageSource, index: int, stop: Event) -> Look:
    if stop.is_set():
        raise Stopped
    name = source.name(index)
    try:
        data = read(source, index, name)
    except DecodeError as error:
        return Look(bytes(32), 0, error.reason)
    return look(data, name)


def _add(report: SplitReport, one: Look, name: str) -> None:
    report.bytes += one.size
    if one.problem is not None:
        report.broken[name] = one.problem
    for trait in one.traits:
        report.traits.setdefault(trait, []).append(name)


def _add_duplicates(report: Report, sources: dict[str, ImageSource], digests: Digests) -> None:
    """Find images with the same bytes; ``digests`` are those of all splits, one after the other."""
    for group in _equal_rows(digests):
        if not digests[group[0]].any():  # could not be read
            continue
        images = [_locate(sources, place) for place in group]
        names = [sources[split].name(index) for split, index in images]
        classes = {sources[split].classes[int(sources[split].labels[index])] for split, index in images}
        (report.leaks if len({split for split, _ in images}) > 1 else report.duplicates).append(names)
        if len(classes) > 1:
            report.conflicts.append(names)


def _equal_rows(rows: Digests) -> list[list[int]]:
    """Groups of at least two rows that are equal, in the order of their first ones."""
    order = np.lexsort(rows.T)
    is_first = np.r_[True, (rows[order][1:] != rows[order][:-1]).any(axis=1)]
    starts = np.flatnonzero(is_first)
    lengths = np.diff(starts, append=len(rows))
    several = lengths > 1
    groups = zip(starts[several].tolist(), lengths[several].tolist(), strict=True)
    return sorted(sorted(order[start : start + length].tolist()) for start, length in groups)


def _locate(sources: dict[str, ImageSource], place: int) -> tuple[str, int]:
    """Split and index of the image at ``place`` of all."""
    for split, source in sources.items():
        if place < source.num_images:
            return split, place
        place -= source.num_images
    raise IndexError(place)
