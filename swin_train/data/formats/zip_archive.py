"""Zip archives as the reference reads them: DATA_PATH/train.zip and val.zip with train_map.txt and val_map.txt.

A line of a map is ``PATH<tab>LABEL``; labels are numbers from 0. A path may begin with ``train/`` or with
``train.zip@/``, in which form the reference names images.
"""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_train.data.formats.archive_file import ArchiveFile
from swin_train.data.formats.index import Index, Seen, kept, make_index, see
from swin_train.data.formats.names import check_data_path, is_image, listing, printable, shown
from swin_train.data.formats.shard_layout import CLASSES
from swin_train.data.formats.source import FileSpan, ImageSource
from swin_train.data.formats.zip_map import ImageMap, class_names_of, read_map
from swin_train.errors import UserError

_LAYOUT = "Expected: DATA_PATH/train.zip, train_map.txt, val.zip and val_map.txt"
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature; lengths of the name and of the extra field
_MAX_RATIO = 100  # of a deflated image; JPEG files shrink by a few percent
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags


class ZipArchive(ImageSource):
    """The images of one split, in the order of its map.

    Stored and deflated members are read. What the reference calls caching is left to the operating system,
    whose page cache is shared by all processes of a node: with ``cache_mode`` "full" it is asked to read the
    whole archive at the start, with "part" and "no" it keeps what has been read while there is room.

    Args:
        root: the data path.
        split: train or val.
        cache_mode: no, part or full.

    Attributes:
        classes: by label, the lines of classes.txt where it is there, else the folders in which the images of
            the train map lie, where each class has one of its own, else those of this map, else the numbers.
        labels: [num_images].
        sizes: [num_images], in bytes, unpacked.

    Raises:
        UserError: a file is missing, the archive is damaged or holds what is not read (encrypted members,
            other methods, links, bombs, two of one name), or a map does not fit the archive.
    """

    def __init__(self, root: str, split: str, cache_mode: str = "part") -> None:
        root = check_data_path(root, _LAYOUT)
        archive = _existing(root, f"{split}.zip")
        _existing(root, f"{split}_map.txt")
        index = kept("zip_archive", archive, lambda: _build(root, split, archive))
        self.classes = index.classes
        self.labels = index.labels
        self.sizes = index.sizes
        self._split = split
        self._index = index
        self._archive = ArchiveFile(archive)
        if cache_mode == "full":
            self._archive.will_need_all()

    def read(self, index: int) -> bytes:
        """Image ``index``, unpacked.

        Raises:
            OSError: it cannot be read, or the archive is damaged there.
        """
        columns, size = self._index.columns, int(self.sizes[index])
        data = self._archive.read(self._start(index), int(columns["packed"][index]))
        if columns["deflated"][index]:
            data = _inflated(data, size)
        if zlib.crc32(data) != columns["checksums"][index]:
            raise OSError("its bytes have not the CRC-32 of the archive's directory; copy the archive again")
        return data

    def span(self, index: int) -> FileSpan | None:
        """Where image ``index`` lies in the archive; None where it is deflated."""
        if self._index.columns["deflated"][index]:
            return None
        try:
            start = self._start(index)
        except OSError:  # which read() raises again
            return None
        return FileSpan(os.fsencode(self._archive.held_path), start, int(self.sizes[index]))

    def name(self, index: int) -> str:
        """SPLIT/PATH of image ``index``, printable whatever bytes it has."""
        return f"{self._split}/{shown(self._index.name(index))}"

    def _start(self, index: int) -> int:
        """Where the bytes of an image begin: behind a header whose length only the header itself tells."""
        offset, name = int(self._index.columns["offsets"][index]), self._index.name(index)
        known = _LOCAL_HEADER.size + int(self._index.columns["name_lengths"][index])
        header = self._archive.read(offset, known)
        signature, name_length, extra_length = _LOCAL_HEADER.unpack_from(header)
        if signature != b"PK\3\4" or known != _LOCAL_HEADER.size + name_length or not header.endswith(name):
            raise OSError("the archive holds something else in its place; it is damaged or was changed")
        return offset + known + int(extra_length)


def _inflated(data: bytes, size: int) -> bytes:
    try:
        unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
    except zlib.error as error:
        raise OSError(f"cannot be unpacked: {error}") from error
    if len(unpacked) != size:
        raise OSError(f"does not unpack to the {size} bytes that the archive's directory gives")
    return unpacked


def _existing(root: str, name: str) -> str:
    path = os.path.join(root, name)  # noqa: PTH118
    if not os.path.isfile(path):  # noqa: PTH113
        raise UserError(f"DATA.DATA_PATH: {printable(root)} has no file {name}. {_LAYOUT}.")
    return path


def _build(root: str, split: str, archive: str) -> tuple[Index, list[Seen]]:
    paths = {name: os.path.join(root, f"{name}_map.txt") for name in ("train", "val")}  # noqa: PTH118
    seen = [see(path) for path in (archive, *paths.values(), os.path.join(root, CLASSES))]  # noqa: PTH118
    own = read_map(paths[split], split)
    has_train = os.path.isfile(paths["train"])  # noqa: PTH113
    train = read_map(paths["train"], "train") if has_train and split != "train" else None
    classes = class_names_of(root, own, train)
    members = _members(archive, split, own)
    found = [members.find(own, place) for place in range(len(own.names))]
    columns: dict[str, NDArray[Any]] = {
        "offsets": np.array([member.header_offset for member in found], np.int64),
        "name_lengths": np.array([len(_raw_name(member)) for member in found], np.int32),
        "packed": np.array([member.compress_size for member in found], np.int64),
        "checksums": np.array([member.CRC for member in found], np.uint32),
        "deflated": np.array([member.compress_type == zipfile.ZIP_DEFLATED for member in found]),
    }
    index = make_index(
        classes=map(printable, classes),
        labels=own.labels,
        sizes=(member.file_size for member in found),
        names=map(os.fsencode, own.names),
        columns=columns,
        notes=members.unnamed(own),
    )
    return index, seen


@dataclass(frozen=True)
class _Members:
    """What an archive holds.

    Attributes:
        archive: its path.
        by_name: its members.
        repeated: names that several of them have.
        prefix: what stands before the names of the map: nothing, or the name of the split.
    """

    archive: str
    by_name: dict[bytes, zipfile.ZipInfo]
    repeated: set[bytes]
    prefix: bytes

    def find(self, own: ImageMap, place: int) -> zipfile.ZipInfo:
        """The member of a line of the map; UserError where there is none that can be read."""
        name = os.fsencode(own.names[place])
        member = self.by_name.get(self.prefix + name)
        where = f"{own.where(place)}: {shown(name)}"
        if member is None:
            raise UserError(
                f"{where} is not in {printable(self.archive)}; archive and map must belong together."
            )
        if problem := self._problem(member):
            raise UserError(f"{where}, in {printable(self.archive)}, {problem}.")
        return member

    def unnamed(self, own: ImageMap) -> Iterator[str]:
        """What is to be said of images that the map does not name."""
        named = {self.prefix + os.fsencode(name) for name in own.names}
        rest = [os.fsdecode(name) for name in self.by_name if name not in named]
        rest = [name for name in rest if is_image(name)]
        if rest:
            yield (
                f"{printable(self.archive)}: {len(rest)} images are not in {printable(own.path)} and not "
                f"used: {listing(rest)}"
            )

    def _problem(self, member: zipfile.ZipInfo) -> str:
        if _raw_name(member) in self.repeated:
            return "is there twice; write the archive anew"
        if member.flag_bits & _ENCRYPTED:
            return "is encrypted; write the archive without a password"
        if stat.S_ISLNK(member.external_attr >> 16):
            return "is a symbolic link; write the file itself into the archive"
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return f"is packed by method {member.compress_type}; use store (zip -0) or deflate"
        if member.file_size > _MAX_RATIO * max(member.compress_size, 1):
            return f"unpacks {member.compress_size} bytes to {member.file_size}, as no image does"
        return ""


def _members(archive: str, split: str, own: ImageMap) -> _Members:
    by_name: dict[bytes, zipfile.ZipInfo] = {}
    repeated = set()
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                name = _raw_name(member)
                if name in by_name:
                    repeated.add(name)
                by_name[name] = member
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise UserError(f"{printable(archive)}: cannot be read as a zip archive ({error}).") from error
    first, folder = os.fsencode(own.names[0]), f"{split}/".encode()
    prefix = folder if first not in by_name and folder + first in by_name else b""
    return _Members(archive, by_name, repeated, prefix)


def _raw_name(member: zipfile.ZipInfo) -> bytes:
    """The name as the archive has it; zipfile decodes names that do not say they are UTF-8 as cp437."""
    return member.orig_filename.encode("utf-8" if member.flag_bits & _UTF8 else "cp437", "surrogateescape")
