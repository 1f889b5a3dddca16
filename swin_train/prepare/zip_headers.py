"""The headers of a zip archive of stored members (PKWARE's APPNOTE 6.3), for one that is written in pieces."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
_UTF8 = 0x800
_STORED = 0
_DATE = 0x21  # 1 January 1980, the first there is: the same images give the same archive
_VERSION, _VERSION_64 = 20, 45
_UNIX = 3 << 8
_MODE = 0o100644 << 16
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True)
class Member:
    """A file in the archive.

    Attributes:
        name: its path.
        crc: CRC-32 of its content.
        size: bytes of its content.
        offset: of its local header.
    """

    name: str
    crc: int
    size: int
    offset: int

    @property
    def end(self) -> int:
        """Where the next member begins."""
        return self.offset + _LOCAL.size + len(self.name.encode()) + self.size


def local_header(name: str, data: bytes) -> bytes:
    """What stands before the content ``data`` of a member."""
    raw = name.encode()
    sizes = (zlib.crc32(data), len(data), len(data), len(raw), 0)
    return _LOCAL.pack(b"PK\3\4", _VERSION, _UTF8, _STORED, 0, _DATE, *sizes) + raw


def member_at(read: Callable[[int, int], bytes], offset: int) -> Member:
    """The member whose local header ``local_header`` made and ``read(offset, size)`` gives."""
    *_, crc, size, _, length, _ = _LOCAL.unpack(read(offset, _LOCAL.size))
    return Member(read(offset + _LOCAL.size, length).decode(), crc, size, offset)


def central_header(member: Member) -> bytes:
    """The member's entry in the directory at the archive's end."""
    raw, is_far = member.name.encode(), member.offset >= _MAX_32
    extra = struct.pack("<2HQ", 1, 8, member.offset) if is_far else b""
    version = _VERSION_64 if is_far else _VERSION
    fields = (_UNIX | version, version, _UTF8, _STORED, 0, _DATE, member.crc, member.size, member.size)
    offset = _MAX_32 if is_far else member.offset
    return _CENTRAL.pack(b"PK\1\2", *fields, len(raw), len(extra), 0, 0, 0, _MODE, offset) + raw + extra


def end_of_archive(count: int, start: int, size: int) -> bytes:
    """What stands behind the directory.

    Args:
        count: of members.
        start: offset of the directory.
        size: bytes of the directory.
    """
    end = _END.pack(b"PK\5\6", 0, 0, *(min(count, _MAX_16),) * 2, min(size, _MAX_32), min(start, _MAX_32), 0)
    if count < _MAX_16 and start + size < _MAX_32:
        return end
    version = (_UNIX | _VERSION_64, _VERSION_64)
    end_64 = _END_64.pack(b"PK\6\6", _END_64.size - 12, *version, 0, 0, count, count, size, start)
    return end_64 + _LOCATOR_64.pack(b"PK\6\7", 0, start + size, 1) + end
