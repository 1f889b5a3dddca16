"""One split of a data set -> another layout: in parallel, and gone on with after a kill at any moment."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from swin_train.data.decode import DecodeError
from swin_train.data.encoded import read
from swin_train.data.formats import fingerprint
from swin_train.data.formats.names import listing
from swin_train.data.formats.source import ImageSource
from swin_train.errors import DataError, StorageError, UserError
from swin_train.prepare.images import Recoding, check, suffix_of
from swin_train.prepare.in_order import Stopped, in_order
from swin_train.prepare.manifest import lost_files, read_manifest, write_manifest
from swin_train.prepare.names import FileNames, class_folders
from swin_train.prepare.plan import Files, Image, Indices, Layout, Record, Target
from swin_train.prepare.progress import ProgressLine
from swin_train.prepare.targets import TARGETS
from swin_train.prepare.workplace import Workplace, check_settings

logger = logging.getLogger(__name__)

_SPARE = 1.02  # for what is not counted


@dataclass(frozen=True)
class Settings:
    """What is asked for.

    Attributes:
        to: the layout to write, one of ``TARGETS``.
        split: "train" or "val".
        shard_bytes: of images in a shard, or in a stretch of a zip archive.
        recoding: how pictures are changed; None leaves every byte as it is.
        skip_bad: leave out what cannot be decoded; else it is copied as it is.
    """

    to: str
    split: str
    shard_bytes: int = 1 << 30
    recoding: Recoding | None = None
    skip_bad: bool = False


def prepare(source: ImageSource, out: Path, settings: Settings, workers: int) -> dict[str, Any]:
    """Write a split to ``out``, or what is still missing of it, and return its entry of the manifest.

    Raises:
        UserError: ``out`` holds something else, another process is at it, or there is not enough space.
        DataError: an image cannot be read, or a class has none left.
        StorageError: ``out`` cannot be written.
    """
    wanted = _identity(source, settings)
    job = _Job(source, out, settings)
    with Workplace(out, settings.split) as place:
        splits = read_manifest(out)
        if settings.split in splits:
            check_settings(out, splits[settings.split]["settings"], wanted)
            _check_files(out, settings.split, splits[settings.split])
            place.close()
            return splits[settings.split]
        _check_other_splits(out, splits, source, settings)
        if place.begin(wanted):
            logger.info("%s: %d units to write", out, len(job.units))
        try:
            records = job.run(place, workers)
            entry = job.finish(place, records, wanted)
        except OSError as error:
            raise StorageError(
                f"{out}: cannot be written ({error}); see to it, and give the same command again to go on"
            ) from error
        write_manifest(out, {**splits, settings.split: entry})
        place.close()
    return read_manifest(out)[settings.split]


class _Job:
    """The units of a split and what is done to each."""

    def __init__(self, source: ImageSource, out: Path, settings: Settings) -> None:
        self._source, self._out, self._settings = source, out, settings
        self._folders = class_folders(source.classes)
        self._files = FileNames(source, with_dots=settings.to != "shards")
        layout = Layout(
            out,
            settings.split,
            source.labels,
            np.maximum(source.sizes, 0),
            source.classes,
            self._folders,
            settings.shard_bytes,
        )
        self.target: Target = TARGETS[settings.to](layout)
        self.units = self.target.units()

    def run(self, place: Workplace, workers: int) -> list[Record]:
        """Write the units that are not finished; return the records of all."""
        records = place.finished()
        records = place.keep(records[: self.target.begin(place.part, records)])
        rest = range(len(records), len(self.units))
        self._check_space(rest)
        done = sum(sum(record["images"].values()) for record in records)
        if records:
            logger.info("%s: goes on after %d of %d units", self._out, len(records), len(self.units))
        write = partial(self._write, place.temporary)
        progress = ProgressLine(self._settings.split, self._source.num_images, done)
        with progress, closing(in_order(write, rest, workers)) as written:
            for record in written:
                record |= self.target.accept(record["unit"], place.temporary)
                place.remember(record)
                records.append(record)
                progress.advance(len(self.units[record["unit"]]))
        return records

    def finish(self, place: Workplace, records: list[Record], settings: Record) -> dict[str, Any]:
        """Complete the files, and tell what was written."""
        counts = dict.fromkeys(range(self._source.num_classes), 0)
        for record in records:
            for label, count in record["images"].items():
                counts[int(label)] += count
        empty = [self._source.classes[label] for label, count in counts.items() if not count]
        if empty:
            place.discard()  # once mended, SOURCE is another one, with which this cannot be gone on with
            raise DataError(
                f"{self._out}: no image is left of {len(empty)} classes: {listing(empty)}; what was written of "
                f"{place.split} is removed. Mend SOURCE and give the same command again"
            )
        files: Files = self.target.finish(records)
        return {
            "settings": settings,
            "images": sum(counts.values()),
            "images_per_class": dict(zip(self._folders, counts.values(), strict=True)),
            "bytes": sum(record["bytes"] for record in records),
            "changed": sum(record["changed"] for record in records),
            **({"tiled": sum(record["tiled"] for record in records)} if "tiled" in records[0] else {}),
            "bad": dict(sorted((name, reason) for record in records for name, reason in record["bad"])),
            "files": dict(sorted(files.items())),
        }

    def _write(self, temporary: Path, unit: int, stop: Event) -> Record:
        record: Record = {"unit": unit, "images": {}, "bytes": 0, "changed": 0, "bad": []}
        images = self._images(self.units[unit], record, stop)
        return record | self.target.write(unit, images, temporary)

    def _images(self, indices: Indices, record: Record, stop: Event) -> Iterator[Image]:
        """Read and check the images of a unit; ``record`` keeps count."""
        for index in indices.tolist():
            if stop.is_set():
                raise Stopped
            data = self._read(index, record)
            if data is None:
                continue
            checked = check(data, self._source.name(index), self._settings.recoding)
            if checked.problem is not None:
                record["bad"].append((self._source.name(index), checked.problem))
                if self._settings.skip_bad:
                    continue
            label, file = int(self._source.labels[index]), Path(self._files[index])
            suffix = checked.suffix or file.suffix or suffix_of(checked.data)
            record["images"][label] = record["images"].get(label, 0) + 1
            record["bytes"] += len(checked.data)
            record["changed"] += checked.data is not data
            name = (file.stem if file.suffix else file.name) + suffix
            yield Image(label, self._folders[label], name, checked.data, len(data))

    def _read(self, index: int, record: Record) -> bytes | None:
        """Content of an image; None when it cannot be read and may be left out."""
        name = self._source.name(index)
        try:
            return read(self._source, index, name)
        except DecodeError as error:
            if not self._settings.skip_bad:
                raise DataError(
                    f"{name}: {error.reason}; mend it and give the same command again to go on, or leave "
                    "out what is bad: with --skip-bad, into another OUT"
                ) from None
            record["bad"].append((name, error.reason))
            return None

    def _check_space(self, units: range) -> None:
        """Refuse to begin what will not fit."""
        indices = [self.units[unit] for unit in units]
        images = sum(map(len, indices))
        needed = sum(int(np.maximum(self._source.sizes[some], 0).sum()) for some in indices)
        needed = int(_SPARE * (needed + images * self.target.overhead))
        free = shutil.disk_usage(self._out).free
        if needed > free:
            raise UserError(
                f"{self._out}: {_amount(needed)} are needed and {_amount(free)} are free; see to free space, or "
                "give another OUT"
            )


def _identity(source: ImageSource, settings: Settings) -> Record:
    """What must not change between two launches, as JSON values."""
    recoding = settings.recoding
    return {
        "to": settings.to,
        "shard_bytes": settings.shard_bytes,
        "max_side": recoding and recoding.max_side,
        "quality": recoding and recoding.quality,
        "skip_bad": settings.skip_bad,
        "source_images": source.num_images,
        "source_fingerprint": fingerprint(source),
    }


def _amount(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.2f} MiB"


def _check_files(out: Path, split: str, entry: dict[str, Any]) -> None:
    """Refuse to call a split finished of which something was taken away."""
    if lost := lost_files(out, split, entry):
        raise UserError(
            f"{out}: is finished by manifest.json, but {len(lost)} files of {split} are missing or have another size: "
            f"{listing(lost)}; put them back, or give another OUT"
        )


def _check_other_splits(out: Path, splits: dict[str, Any], source: ImageSource, settings: Settings) -> None:
    """Refuse two splits that no reader could open as one data set."""
    folders = class_folders(source.classes)
    for name, entry in splits.items():
        if entry["settings"]["to"] != settings.to:
            raise UserError(
                f"{out}: its {name} is {entry['settings']['to']}, not {settings.to}; give another OUT"
            )
        other = list(entry["images_per_class"])
        if other != list(folders):
            different = sorted(set(other) ^ set(folders)) or list(folders)
            raise UserError(
                f"{out}: {settings.split} has other classes than {name}: {listing(different)}; labels would mean "
                "different classes. Give the splits of one data set"
            )
