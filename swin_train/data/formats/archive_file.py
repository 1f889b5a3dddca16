"""Archives that many processes and threads read at once, and that may be replaced meanwhile."""

import os

from swin_train.data.formats.index import Seen, see
from swin_train.data.formats.names import printable


class ArchiveFile:
    """A file that is read at given offsets: there is no position that forked processes would share.

    Attributes:
        path: of the file.
        held_path: by which the file that was opened is opened again, also when ``path`` has become another one.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115  (closed when nobody has it any more)
        # What this process and those forked from it open by this name is this file, whatever is put at its path.
        held = f"/proc/self/fd/{self._file.fileno()}"
        self.held_path = held if os.path.exists(held) else path  # noqa: PTH110

    def __reduce__(self) -> tuple[type["ArchiveFile"], tuple[str]]:
        return ArchiveFile, (self.path,)  # a process that is not forked opens its own

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset`` on.

        Raises:
            OSError: they cannot be read, or the file ends before.
        """
        data = os.pread(self._file.fileno(), length, offset)
        if len(data) != length:
            raise OSError(f"the archive ends {length - len(data)} bytes before it should; it was changed")
        return data

    def will_need_all(self) -> None:
        """Ask the system to read the whole file ahead, into the memory that all processes share."""
        os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def check_unchanged(seen: Seen) -> None:
    """Refuse a file that was replaced or written to since it was seen: an index of it is no longer true.

    Raises:
        OSError: it was, or is gone.
    """
    now = see(seen.path)
    # Not by the ctime, which a new link to the file changes too, nor by the device, which mounting again may change.
    if (now.inode, now.size, now.mtime_ns) != (seen.inode, seen.size, seen.mtime_ns):
        raise OSError(f"{printable(seen.path)} was changed or replaced since it was opened; start again")
