"""Packed set: ROOT/train/00000.bin, 00001.bin, ..., each about 1 GiB of images end to end, and packed.index.

``main.py prepare-data`` writes it. JPEGs are kept as tiled JPEGs (native/tiles.h) where they can be, which every
decoder reads, and the native pipeline only in part.
"""

import hashlib
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swin_train.data.formats.archive_file import check_unchanged
from swin_train.data.formats.array_file import DamagedFile
from swin_train.data.formats.index import see
from swin_train.data.formats.names import check_data_path, listing, printable, shown
from swin_train.data.formats.packed_records import INDEX_NAME, Records, Shard, read_records
from swin_train.data.formats.source import FileSpan, ImageSource
from swin_train.errors import UserError

_LAYOUT = f"Expected: DATA_PATH/train/{INDEX_NAME} and DATA_PATH/train/*.bin, and the same in DATA_PATH/val"
_AGAIN = "copy it again, or pack it again (main.py prepare-data)"


class PackedFolder(ImageSource):
    """The images of one split, in the order in which they were packed.

    Attributes:
        classes: names of the classes, by label.
        labels: [num_images].
        sizes: [num_images], bytes of each image before it was packed.
        shards: [num_images], number of the .bin file that an image is in.

    Raises:
        UserError: there is no packed split, it is of another version, damaged, or some of it is missing.
    """

    def __init__(self, root: str, split: str) -> None:
        check_data_path(root, _LAYOUT)
        self._folder = Path(root, split)
        records = _read_index(self._folder)
        self._split = split
        self._shards = records.shards
        self._first_images = np.cumsum([0, *(shard.num_images for shard in self._shards)])
        self._data_ends = records.data_ends
        self._images = records.images
        self.classes = self._images.classes
        self.labels: NDArray[np.int64] = self._images.labels
        self.sizes: NDArray[np.int64] = self._images.sizes
        self.shards: NDArray[np.int64] = np.repeat(np.arange(len(self._shards)), np.diff(self._first_images))
        self._checksums = records.checksums
        self._seen = [see(str(self._folder / shard.file)) for shard in self._shards]
        _check_shards(self._folder, self._shards)

    def read(self, index: int) -> bytes:
        """Image ``index`` as it was packed.

        Raises:
            OSError: its shard cannot be read, was changed since the set was opened, or is damaged there.
        """
        path, offset, length = self._place(index)
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            data = os.pread(file.fileno(), length, offset)
        if zlib.crc32(data) != self._checksums[index]:
            raise OSError(f"{printable(path)} does not hold what was packed at byte {offset}; {_AGAIN}")
        return data

    def span(self, index: int) -> FileSpan | None:
        """Where image ``index`` lies; None in a shard that was changed since the set was opened."""
        try:
            path, offset, length = self._place(index)
        except OSError:  # which read() raises again
            return None
        return FileSpan(os.fsencode(path), offset, length)

    def name(self, index: int) -> str:
        """Name of image ``index`` in the set that was packed."""
        return f"{self._split}/{shown(self._images.name(index))}"

    def _place(self, index: int) -> tuple[str, int, int]:
        """Path of the shard of an image, and where in it the image begins and how long it is."""
        shard = int(self.shards[index])
        check_unchanged(self._seen[shard])
        start = int(self._data_ends[index - 1]) if index > self._first_images[shard] else 0
        return self._seen[shard].path, start, int(self._data_ends[index]) - start

    def damaged_shards(self) -> list[str]:
        """Names of the .bin files whose content is not what was written; reads all of them."""
        return [shard.file for shard in self._shards if _sha256(self._folder / shard.file) != shard.sha256]


def _read_index(folder: Path) -> Records:
    path = folder / INDEX_NAME
    where = printable(str(path))
    try:
        return read_records(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"DATA.DATA_PATH: there is no {where}: this is no packed set, or one that is not finished. "
            f"main.py prepare-data packs, and goes on where it stopped. {_LAYOUT}."
        ) from None
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror}); make it readable.") from error
    except DamagedFile as error:
        raise UserError(f"{where}: is damaged ({error}); {_AGAIN}.") from error


def _check_shards(folder: Path, shards: tuple[Shard, ...]) -> None:
    problems = []
    for shard in shards:
        try:
            size = (folder / shard.file).stat().st_size
        except OSError as error:
            problems.append(f"{shard.file} ({error.strerror})")
            continue
        if size != shard.size:
            problems.append(f"{shard.file} ({size} bytes instead of {shard.size})")
    if problems:
        raise UserError(
            f"{printable(str(folder))}: {len(problems)} of {len(shards)} files are not as they were packed: "
            f"{listing(problems)}; {_AGAIN}."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
