"""Tar shards as webdataset writes them.

DATA_PATH/train/*.tar and DATA_PATH/val/*.tar (or validation/), or all in DATA_PATH with the split in their names:
imagenet1k-train-0000.tar, imagenet1k-validation-00.tar. DATA_PATH may be a URL of object storage.

The files of a sample follow from their names: all that comes before the first dot of the last part is its key.
A sample has one image (.jpg, .jpeg, .png or .webp) and its label (.cls, a number in ASCII, or "label" in .json).
"""

import json
import os
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from swin_train.data.formats.names import printable
from swin_train.data.formats.sharded import Contents, ShardedImages, ShardFormat
from swin_train.errors import UserError

_IMAGES = ("jpg", "jpeg", "png", "webp")
_KEY = re.compile(r"((?:.*/|)[^./]+)\.([^/]*)", re.DOTALL)  # webdataset's
_META = re.compile(r"__[^/]*__($|/)")  # webdataset passes over them
_NUMBER = re.compile(rb"\s*([0-9]{1,18})\s*")
_BLOCK = 512  # bytes; a tar file consists of them
_MAX_LABEL = 1 << 20  # bytes of a .json
_COPY_AGAIN = "copy or write the shard again"
_PACKED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ\0": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
_COMPRESSED = "is compressed, so its images cannot be read in any order; unpack it first ({})."


class TarShards(ShardedImages):
    """The images of one split, in the order of the shards' names and of the samples in each.

    Args:
        root: folder or URL that holds the shards.
        split: "train" or "val".
        cache_dir: folder of this machine for shards from object storage.
        cache_gb: what they may take there; 0 for as much as the disk has.

    Raises:
        UserError: there are no shards, one is missing, truncated, compressed or cannot be fetched, or a sample has
            no label, no image, or two.
    """

    def __init__(self, root: str, split: str, cache_dir: str = "", cache_gb: float = 0.0) -> None:
        super().__init__(root, split, _TAR, cache_dir, cache_gb)


def scan_tar(path: str, where: str) -> Contents:
    """List the images of a tar file, in its order, with their labels.

    Args:
        path: of the local file.
        where: what messages call it.

    Raises:
        UserError: the file is compressed, damaged or truncated, or a sample is not one image with a label.
    """
    contents = Contents([], [], [], [])
    ignored = []
    with open(path, "rb") as file:  # noqa: PTH123
        _check_plain(file, where)
        for key, parts in _samples(file, where).items():
            images = [parts[kind] for kind in _IMAGES if kind in parts]
            if not images and "cls" not in parts:
                ignored += [printable(member.name) for member in parts.values()]
                continue
            contents.names.append(os.fsencode(_only(images, key, where).name))
            contents.labels.append(_label(file, key, parts, where))
            contents.offsets.append(images[0].offset_data)
            contents.sizes.append(images[0].size)
    return contents._replace(ignored=tuple(ignored))


def _samples(file: BinaryIO, where: str) -> dict[str, dict[str, tarfile.TarInfo]]:
    """The members of a tar file by key and extension."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in _members(file, where):
        match = None if member.isdir() or _META.match(member.name) else _KEY.fullmatch(member.name)
        if not match:
            continue
        parts, extension = samples.setdefault(match[1], {}), match[2].lower()
        if extension in parts:
            raise UserError(
                f"{where}: {printable(member.name)} is there twice; a key belongs to one sample, so write the shard "
                "again with another key for each."
            )
        if not member.isreg() or member.issparse():
            raise UserError(
                f"{where}: {printable(member.name)} is a link or a device, not a file; store files."
            )
        parts[extension] = member
    return samples


def _members(file: BinaryIO, where: str) -> Iterator[tarfile.TarInfo]:
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            yield from tar
            end = tar.offset
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{where}: is truncated or no tar file ({error}); {_COPY_AGAIN}.") from None
    _check_end(file, end, where)


def _check_end(file: BinaryIO, end: int, where: str) -> None:
    """Refuse what tarfile takes for an end: a header that is damaged or missing, or an archive behind another."""
    file.seek(end)
    mark = file.read(_BLOCK)
    if len(mark) < _BLOCK:
        raise UserError(f"{where}: is truncated after {end:,} bytes, before its end mark; {_COPY_AGAIN}.")
    if mark.strip(b"\0"):
        raise UserError(f"{where}: is damaged at byte {end:,}, where a header should be; {_COPY_AGAIN}.")
    while block := file.read(_BLOCK << 10):
        if block.strip(b"\0"):
            raise UserError(
                f"{where}: goes on behind its end mark at byte {end:,}, as tar files do that were joined; write one "
                "archive, or keep them apart."
            )


def _check_plain(file: BinaryIO, where: str) -> None:
    start = file.read(8)
    for magic, program in _PACKED.items():
        if start.startswith(magic):
            raise UserError(f"{where}: {_COMPRESSED.format(program)}")


def _only(images: list[tarfile.TarInfo], key: str, where: str) -> tarfile.TarInfo:
    if len(images) == 1:
        return images[0]
    found = f"two images ({', '.join(printable(member.name) for member in images)})" if images else "no image"
    kinds = ", ".join(f".{kind}" for kind in _IMAGES)
    raise UserError(f"{where}: the sample {printable(key)} has {found}; each has one file of {kinds}.")


def _label(file: BinaryIO, key: str, parts: dict[str, tarfile.TarInfo], where: str) -> int:
    member = parts.get("cls") or parts.get("json")
    if member is None:
        raise UserError(f"{where}: the sample {printable(key)} has no label; each has one in .cls or .json.")
    file.seek(member.offset_data)
    text = file.read(min(member.size, _MAX_LABEL))
    if "cls" in parts:
        number = _NUMBER.fullmatch(text)
        label = int(number[1]) if number else None
    else:
        label = _label_in_json(text)
    if label is None:
        raise UserError(
            f"{where}: {printable(member.name)} gives no label: {text[:40]!r}; a .cls holds a number from 0, a .json "
            'such a number under "label".'
        )
    return label


def _label_in_json(text: bytes) -> int | None:
    try:
        label = json.loads(text)["label"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return label if type(label) is int and label >= 0 else None


_TAR = ShardFormat(
    kind="shards",
    extensions=(".tar",),
    layout="Expected: DATA_PATH/train/*.tar and DATA_PATH/val/*.tar, or DATA_PATH/NAME-train-0000.tar and so on",
    scan=scan_tar,
    refused={
        ".tar.gz": _COMPRESSED.format("gunzip"),
        ".tgz": _COMPRESSED.format("gunzip -S .tgz"),
        ".tar.bz2": _COMPRESSED.format("bunzip2"),
        ".tar.xz": _COMPRESSED.format("unxz"),
        ".tar.zst": _COMPRESSED.format("unzstd"),
    },
)
