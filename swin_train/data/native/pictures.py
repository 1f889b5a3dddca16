"""What goes to the C threads and comes back: pictures, and what is looked at in each."""

import ctypes
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from swin_train.data.formats.source import FileSpan

Item = FileSpan | bytes | NDArray[np.uint8]

# sw_picture of picture.h
_RECORD = np.dtype(
    [
        ("path", np.uintp),
        ("offset", np.int64),
        ("length", np.int64),
        ("data", np.uintp),
        ("reason", np.uintp),
        ("kind", np.int32),
        ("state", np.int32),
        ("error", np.int32),
        ("is_owned", np.int32),
        ("width", np.int32),
        ("height", np.int32),
        ("channels", np.int32),
        ("is_whole", np.int32),
    ],
    align=True,
)
_FILE, _BYTES, _PIXELS = range(3)
_READY, _UNREADABLE, _OTHER_DECODER = range(3)


class Pictures:
    """The pictures of a batch in memory, encoded or as pixels; ``Pool.load`` makes them.

    Attributes:
        sizes: [B, 2] int32: width and height; 0 where they are not known.
        problems: by picture, why it could not be read, or None.
        needs_pillow: [B] bool: read, but not a whole baseline or progressive JPEG of 8 bits, grey or of three
            colours, of at most 50 million pixels; another decoder must tell.
        records: [B], the C structs.
    """

    def __init__(self, items: Sequence[Item], library: ctypes.CDLL) -> None:
        count = len(items)
        self.records = np.zeros(count, _RECORD)
        self.sizes = np.zeros((count, 2), np.int32)
        self.problems: list[str | None] = [None] * count
        self.needs_pillow = np.zeros(count, np.bool_)
        self._library = library
        self._items = list(items)
        spans = [(row, item) for row, item in enumerate(items) if isinstance(item, FileSpan)]
        self._paths = _addresses(count, {row: span.path for row, span in spans})
        encoded = {row: item for row, item in enumerate(items) if isinstance(item, bytes)}
        self._encoded = _addresses(count, encoded)
        self.records["path"], self.records["data"] = self._paths, self._encoded
        self.records["kind"] = _BYTES
        for row, data in encoded.items():
            self.records[row]["length"] = len(data)
        for row, span in spans:
            record = self.records[row]
            record["kind"], record["offset"], record["length"] = _FILE, span.offset, span.length
            record["is_whole"] = span.is_whole
        for row, item in enumerate(items):
            if isinstance(item, np.ndarray):
                self.put(row, item)
        weakref.finalize(self, release, library, self.records).atexit = False

    def __len__(self) -> int:
        return len(self.records)

    def data(self, row: int) -> bytes:
        """The encoded bytes of picture ``row``; none where it could not be read."""
        item, record = self._items[row], self.records[row]
        if isinstance(item, bytes):
            return item
        if record["kind"] != _BYTES or not record["data"]:
            return b""
        return ctypes.string_at(int(record["data"]), int(record["length"]))

    def put(self, row: int, pixels: NDArray[np.uint8]) -> None:
        """Make ``row`` the picture that another decoder gave, [height, width, 1 or 3] uint8.

        Raises:
            ValueError: it has another shape or type, or no pixel.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
            raise ValueError(
                f"picture {row} is {pixels.dtype} {pixels.shape}; pixels are uint8 [height, width, 1 or 3]"
            )
        release(self._library, self.records[row : row + 1])
        own = np.ascontiguousarray(pixels)
        self._items[row] = own
        record = self.records[row]
        record["kind"], record["data"], record["length"] = _PIXELS, own.ctypes.data, own.size
        record["state"], record["reason"] = _READY, 0
        record["height"], record["width"], record["channels"] = own.shape
        self.sizes[row] = own.shape[1], own.shape[0]
        self.problems[row] = None
        self.needs_pillow[row] = False

    def note_states(self) -> None:
        """Take over what the threads have found out."""
        self.sizes[:, 0], self.sizes[:, 1] = self.records["width"], self.records["height"]
        self.needs_pillow[:] = self.records["state"] == _OTHER_DECODER
        for row in np.flatnonzero(self.records["state"] == _UNREADABLE).tolist():
            self.problems[row] = _explain(self.records[row])

    def reason(self, row: int) -> str | None:
        """Why ``row`` cannot be rendered as it is, or None."""
        if self.needs_pillow[row]:
            return f"cannot be decoded ({_text(self.records[row])})"
        return self.problems[row]


@dataclass(frozen=True)
class Crops:
    """What is shown of each picture; the order is crop, shift, mirror.

    Attributes:
        limits: [B, 4] int32: left, top, right and bottom of the pixels that may be read. All 0: nothing is shown.
        boxes: [B, 4] float64: left, top, width and height of what becomes the result; within the limits.
        filters: [B] uint8: 0 bilinear, 1 bicubic.
        flips: [B] bool: mirrored.
        shifts: [B, 2] int32: to the right and down; black comes in.
    """

    limits: NDArray[np.int32]
    boxes: NDArray[np.float64]
    filters: NDArray[np.uint8]
    flips: NDArray[np.bool_]
    shifts: NDArray[np.int32]

    @classmethod
    def empty(cls, count: int) -> Self:
        """Crops of ``count`` pictures that show nothing yet."""
        return cls(
            limits=np.zeros((count, 4), np.int32),
            boxes=np.zeros((count, 4)),
            filters=np.ones(count, np.uint8),
            flips=np.zeros(count, np.bool_),
            shifts=np.zeros((count, 2), np.int32),
        )


def release(library: ctypes.CDLL, records: NDArray[Any]) -> None:
    """Free the bytes that the threads have read for these records."""
    library.sw_release(records.ctypes.data, len(records))


def _addresses(count: int, values: Mapping[int, bytes]) -> NDArray[np.uintp]:
    """Addresses of bytes by row, 0 where there are none; the result keeps the bytes alive."""
    pointers = (ctypes.c_char_p * max(count, 1))()
    for row, value in values.items():
        pointers[row] = value
    return np.frombuffer(memoryview(pointers), np.uintp)[:count]


def _explain(record: np.void) -> str:
    error = int(record["error"])
    return f"cannot be read ({os.strerror(error) if error else _text(record)})"


def _text(record: np.void) -> str:
    return ctypes.string_at(int(record["reason"])).decode()
