"""What a packed set knows of its images: the content of packed.index, and of the file beside a new shard."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swin_train.data.formats.array_file import DamagedFile, read_arrays, write_arrays
from swin_train.data.formats.index import Index
from swin_train.data.formats.names import printable
from swin_train.errors import UserError

INDEX_NAME = "packed.index"
_VERSION = 2


class Shard(NamedTuple):
    """One .bin file.

    Attributes:
        file: its name.
        size: in bytes.
        num_images: in it.
        sha256: of its content, in hexadecimal.
    """

    file: str
    size: int
    num_images: int
    sha256: str


@dataclass(frozen=True)
class Records:
    """The images of some shards.

    Attributes:
        shards: in the order of their images.
        images: names, labels and sizes (before they were packed).
        data_ends: [num_images], where each image ends in its shard; it begins where the one before ends.
        checksums: [num_images], CRC-32 of each image as it lies there.
    """

    shards: tuple[Shard, ...]
    images: Index
    data_ends: NDArray[np.int64]
    checksums: NDArray[np.uint32]


def write_records(path: Path, records: Records) -> None:
    """Write a file that ``read_records`` reads; it appears whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    images = records.images
    arrays: dict[str, NDArray[Any]] = {
        "labels": images.labels,
        "sizes": images.sizes,
        "names": images.names,
        "name_ends": images.ends,
        "data_ends": records.data_ends,
        "checksums": records.checksums,
    }
    write_arrays(path, {"version": _VERSION, "classes": images.classes, "shards": records.shards}, arrays)


def read_records(path: Path) -> Records:
    """The records in a file, none of which points outside of its shard, its names or its classes.

    Raises:
        OSError: it cannot be read.
        DamagedFile: it is not what was written.
        UserError: another release of the program wrote it.
    """
    facts, arrays = read_arrays(path)
    if facts.get("version") != _VERSION:
        raise UserError(
            f"{printable(str(path))}: is of version {facts.get('version')}, and this program reads version "
            f"{_VERSION}; take the release of swin_train that packed it, or pack it again (main.py prepare-data)."
        )
    try:
        images = Index(
            tuple(facts["classes"]), arrays["labels"], arrays["sizes"], arrays["names"], arrays["name_ends"]
        )
        shards = tuple(Shard(*shard) for shard in facts["shards"])
        records = Records(shards, images, arrays["data_ends"], arrays["checksums"])
        _check(records)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFile(f"{type(error).__name__}: {error}") from error
    return records


def join(parts: Sequence[Records], classes: tuple[str, ...]) -> Records:
    """The records of several files with the same classes, one after the other."""
    shifts = itertools.accumulate((len(part.images.names) for part in parts), initial=0)
    ends = [part.images.ends + shift for part, shift in zip(parts, shifts, strict=False)]
    images = Index(
        classes,
        _concatenated(np.int64, [part.images.labels for part in parts]),
        _concatenated(np.int64, [part.images.sizes for part in parts]),
        _concatenated(np.uint8, [part.images.names for part in parts]),
        _concatenated(np.int64, ends),
    )
    shards = tuple(shard for part in parts for shard in part.shards)
    data_ends = _concatenated(np.int64, [part.data_ends for part in parts])
    return Records(shards, images, data_ends, _concatenated(np.uint32, [part.checksums for part in parts]))


def _concatenated(dtype: Any, arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *arrays])


def _check(records: Records) -> None:
    images, num_images = records.images, sum(shard.num_images for shard in records.shards)
    columns = (images.labels, images.sizes, images.ends, records.data_ends, records.checksums)
    counts = {len(column) for column in columns}
    if counts != {num_images} or num_images == 0:
        raise DamagedFile(f"its shards have {num_images} images and its columns {sorted(counts)}")
    if images.labels.min() < 0 or images.labels.max() >= len(images.classes):
        raise DamagedFile(f"it has labels outside of 0 to {len(images.classes) - 1}")
    if not _lie_end_to_end(images.ends, len(images.names)):
        raise DamagedFile("its names overlap")
    first = 0
    for shard in records.shards:
        if "/" in shard.file or not _lie_end_to_end(
            records.data_ends[first : first + shard.num_images], shard.size
        ):
            raise DamagedFile(f"images of {shard.file} lie outside of it")
        first += shard.num_images


def _lie_end_to_end(ends: NDArray[np.int64], size: int) -> bool:
    """Whether pieces that end there fill ``size`` bytes."""
    return len(ends) > 0 and ends[0] >= 0 and ends[-1] == size and bool((ends[1:] >= ends[:-1]).all())
