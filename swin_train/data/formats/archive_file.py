"""An archive that many processes and threads read at once."""

import os


class ArchiveFile:
    """A file that is read at given offsets: there is no position that forked processes would share.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115  (closed when nobody has it any more)

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
