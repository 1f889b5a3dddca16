"""Files that are there whole or not at all, also after a crash; their SHA-256 as they are written."""

import ctypes
import hashlib
import json
import os
from pathlib import Path

_BLOCK = 1 << 20


class HashedFile:
    """A new binary file that is hashed as it is written, from its first byte to its last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> int:
        """Append ``data``."""
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def commit(self, path: Path) -> tuple[int, str]:
        """Flush the file to the disk and give it its name; return its size and SHA-256."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.path.replace(path)
        flush(path.parent)
        return self._size, self._hash.hexdigest()

    def __enter__(self) -> "HashedFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class GrowingFile:
    """A file to which pieces are appended, until it is complete and gets its name.

    Args:
        path: where it grows.
        end: its bytes that count; what follows was not noted before a kill, and is cut off.
        final: where it will be; a file there that was completed before a kill grows again from ``end``.
    """

    def __init__(self, path: Path, end: int, final: Path) -> None:
        if end and not path.exists():
            final.replace(path)
        self._path, self._final = path, final
        self._file = path.open("r+b" if end else "w+b")
        self._file.truncate(end)
        self._hash = hashlib.file_digest(self._file, "sha256")
        self.size = end

    def append(self, data: bytes) -> None:
        """Append ``data``."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def append_file(self, path: Path) -> int:
        """Append what a file holds and remove it, when all is on the disk; return the bytes that count now."""
        with path.open("rb") as piece:
            while block := piece.read(_BLOCK):
                self.append(block)
        self._flush()
        path.unlink()
        return self.size

    def read(self, offset: int, size: int) -> bytes:
        """Bytes that were appended."""
        return os.pread(self._file.fileno(), size, offset)

    def commit(self) -> tuple[int, str]:
        """Give the file its name; return its size and SHA-256."""
        self._flush()
        self._file.close()
        self._path.replace(self._final)
        flush(self._final.parent)
        return self.size, self._hash.hexdigest()

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    flush(beside)
    beside.replace(path)
    flush(path.parent)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file for programs and people."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def sha256_of(path: Path) -> str:
    """Of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's names, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_all(folder: Path) -> None:
    """Wait until everything on the file system of ``folder`` has reached the disk.

    An fsync for each of a million files would take hours on a disk that turns.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):  # other systems than Linux
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if libc.syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(descriptor)
