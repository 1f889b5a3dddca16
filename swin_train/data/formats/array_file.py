"""Arrays and JSON facts in one file that processes map into memory, and share."""

import json
import os
import struct
import zlib
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEAD = struct.Struct("<8sQI")  # magic, length of the JSON header, CRC-32 of all that follows
_MAGIC = b"SWINARR\n"
_ALIGNMENT = 64


class DamagedFile(Exception):
    """The file was not written by ``write_arrays``, or has changed since; the text says how that shows."""


def write_arrays(path: Path, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write one-dimensional arrays and JSON values; the file appears whole, and on disk, or not at all.

    Raises:
        OSError: it cannot be written.
    """
    places, blocks, position = {}, [], 0
    for name, array in arrays.items():
        places[name] = [array.dtype.str, position, len(array)]
        blocks.append(array.tobytes() + bytes(-array.nbytes % _ALIGNMENT))
        position += len(blocks[-1])
    header = json.dumps({"facts": facts, "arrays": places}).encode("ascii")
    header += b" " * (-(_HEAD.size + len(header)) % _ALIGNMENT)
    checksum = reduce(lambda crc, block: zlib.crc32(block, crc), blocks, zlib.crc32(header))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.writelines([_HEAD.pack(_MAGIC, len(header), checksum), header, *blocks])
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Facts and arrays of a file; the arrays are read-only and lie in the file.

    Raises:
        OSError: it cannot be read.
        DamagedFile: it does not hold what was written.
    """
    try:
        raw = np.asarray(np.memmap(path, np.uint8, "r"))
        magic, length, checksum = _HEAD.unpack_from(raw.data)
    except (ValueError, struct.error):  # ValueError: no bytes cannot be mapped
        raise DamagedFile(f"it has only {path.stat().st_size} bytes") from None
    if magic != _MAGIC:
        raise DamagedFile("it begins with other bytes")
    if zlib.crc32(raw[_HEAD.size :].data) != checksum:
        raise DamagedFile("its checksum is another")
    start = _HEAD.size + length
    try:
        header = json.loads(raw[_HEAD.size : start].tobytes())
        arrays = {
            name: np.frombuffer(raw, dtype, count, start + position)
            for name, (dtype, position, count) in header["arrays"].items()
        }
        return dict(header["facts"]), arrays
    except (ValueError, KeyError, TypeError, AttributeError):  # a checksum is no proof of good faith
        raise DamagedFile("its header is not as it is written here") from None
