"""Files in a folder of this machine or under a URL of object storage (s3://, gs://, https://, ...), by fsspec."""

import errno
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import fsspec

from swin_train.errors import StorageError, UserError
from swin_train.redact import redacted

logger = logging.getLogger(__name__)

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "mtime", "created")
_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds before each further attempt
_BLOCK = 1 << 23  # bytes of one request
_LONGEST = 300  # characters that a message takes over from a library
_FULL = (errno.ENOSPC, errno.EDQUOT)

_T = TypeVar("_T")
Copy = Callable[[Any, BinaryIO, str], object]


@dataclass(frozen=True)
class StoredFile:
    """A file as its folder lists it.

    Attributes:
        path: of a local file, or a URL.
        size: in bytes.
        version: another one when the content is another, as far as the file system or the store tells.
    """

    path: str
    size: int
    version: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


def is_url(path: str) -> bool:
    """Whether ``path`` is looked for by fsspec (SCHEME://...), not on this machine."""
    return bool(_SCHEME.match(path))


def shown_path(text: str) -> str:
    """``text`` without the credentials that URLs in it carry, as messages show them."""
    return redacted(os.fsencode(text).decode("utf-8", "backslashreplace"))


def files_in(folder: str) -> list[StoredFile] | None:
    """Return the files right in a folder or under a URL, sorted by name; None where there is no such folder.

    Raises:
        UserError: it cannot be listed.
    """
    if is_url(folder):
        return _attempts(folder, lambda: _listed(folder))
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.path, entry.stat()) for entry in entries if entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(
            f"{shown_path(folder)}: cannot be listed ({error.strerror}); make it readable."
        ) from None
    return [StoredFile(path, status.st_size, _local_version(status)) for path, status in found]


def read_file(file: StoredFile) -> bytes:
    """Content of a small file.

    Raises:
        UserError: it cannot be read.
    """

    def content() -> bytes:
        with _opened(file.path) as source:
            return source.read()

    return _attempts(file.path, content)


def fetch(file: StoredFile, sink: BinaryIO, copy: Copy | None = None) -> None:
    """Write a file to ``sink``, from its beginning again after each failure of the store.

    Args:
        file: of this machine or in object storage.
        sink: a file; what is written ends where it then stands.
        copy: takes the opened file, ``sink`` and what messages call the file; None copies every byte.

    Raises:
        UserError: the file cannot be read, also after several attempts.
        StorageError: the disk of ``sink`` is full.
    """

    def attempt() -> None:
        sink.seek(0)
        with _opened(file.path) as source:
            if copy:
                copy(source, sink, shown_path(file.path))
            else:
                _copy_whole(source, sink, file.size)

    _attempts(file.path, attempt)


def _copy_whole(source: Any, sink: BinaryIO, size: int) -> None:
    received = 0
    while block := source.read(_BLOCK):
        received += len(block)
        sink.write(block)
    if received != size:
        raise OSError(f"{received:,} bytes came, and the store lists {size:,}")


def _opened(path: str) -> Any:
    if not is_url(path):
        return Path(path).open("rb")
    # A file system of its own for each process and thread: connections do not outlive a fork.
    system, inner = fsspec.core.url_to_fs(path)
    return system.open(inner, "rb", block_size=_BLOCK)


def _listed(url: str) -> list[StoredFile] | None:
    system, folder = fsspec.core.url_to_fs(url)
    system.invalidate_cache()
    try:
        entries = system.ls(folder, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    files = [entry for entry in entries if entry["type"] == "file" and not entry["name"].endswith("/")]
    base = url.partition("?")[0].rstrip("/")
    return [
        StoredFile(f"{base}/{entry['name'].rpartition('/')[2]}", int(entry["size"] or 0), _version(entry))
        for entry in sorted(files, key=lambda entry: str(entry["name"]))
    ]


def _local_version(status: os.stat_result) -> str:
    # The time of the content alone is kept by copies (cp -p, rsync -t) of other content.
    return f"{status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _version(entry: dict[str, Any]) -> str:
    return next((f"{name} {entry[name]}" for name in _VERSIONS if entry.get(name)), "")


def _attempts(path: str, act: Callable[[], _T]) -> _T:
    """What ``act`` gives, tried again with longer and longer waits where the store may recover."""
    for number, wait in enumerate((*_WAITS, None), 1):
        try:
            return act()
        except (UserError, StorageError):
            raise
        except Exception as error:  # each store's library has exceptions of its own
            problem = shown_path(str(error) or type(error).__name__)[:_LONGEST]
            _refuse_hopeless(path, error, problem)
            if wait is None or not is_url(path):
                raise UserError(
                    f"{shown_path(path)}: cannot be read ({problem}), tried {_times(number)}; {_CHECK}."
                ) from None
            logger.warning(
                "%s: attempt %d failed (%s); again in %g s", shown_path(path), number, problem, wait
            )
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


_CHECK = "check the path, the permissions and the network"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _refuse_hopeless(path: str, error: Exception, problem: str) -> None:
    """Raise for what no further attempt mends."""
    where = shown_path(path)
    if isinstance(error, ImportError):
        raise UserError(f"{where}: needs a package that is not installed: {problem}.") from None
    if isinstance(error, ValueError) and "rotocol not known" in problem:
        raise UserError(
            f"{where}: {problem}; give a folder, or a URL that fsspec knows, such as s3://BUCKET/FOLDER."
        ) from None
    if isinstance(error, FileNotFoundError | PermissionError):
        what = "is not there" if isinstance(error, FileNotFoundError) else f"may not be read ({problem})"
        raise UserError(f"{where}: {what}; {_CHECK}.") from None
    if isinstance(error, OSError) and error.errno in _FULL:
        raise StorageError(
            f"{where}: cannot be kept on this machine ({problem}); free space in DATA.CACHE_DIR or lower DATA.CACHE_GB."
        ) from None
