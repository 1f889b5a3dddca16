"""A URL of weights -> a file on this machine, downloaded once and there whole or not at all."""

import fcntl
import hashlib
import http.client
import logging
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import torch

from swin_train.errors import StorageError, UserError
from swin_train.redact import redacted
from swin_train.weights.damage import text_at
from swin_train.weights.manifest import sha256_of
from swin_train.weights.write import put_in_place

logger = logging.getLogger(__name__)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # two characters or more: C: is a drive
_DATE = r"20\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\."
_HASH = re.compile(rf".*-(?!{_DATE})([0-9a-f]{{8,64}})\.[^.]+")  # name-f4a2b1c8.pth: the start of its SHA-256
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MAX_FILE = 64 << 30  # bytes; the largest Swin, of 3 billion parameters, takes 12 GB
_MAX_NAME = 200  # characters; file systems take 255 bytes, and some are added
_BLOCK = 1 << 20  # bytes
_TIMEOUT = 30.0  # seconds without a byte
_PROGRESS = 10.0  # seconds between two lines of the log
_ONE_THREAD = threading.Lock()  # locks of files keep out other processes only
_BY_HAND = "download the file by hand on a machine with network, and give its path here"


def is_url(path: str | Path) -> bool:
    """Whether ``local_file`` would look for ``path`` on the network."""
    return str(path).lower().startswith(("http://", "https://"))


def local_file(path_or_url: str | Path) -> Path:
    """Return a path as it is, and for an http or https URL the path of its file in torch.hub's cache.

    What is in the cache is not downloaded again; threads and processes of one machine that ask at once download
    once. A file called ``NAME-HASH.pth``, with 8 digits or more of its SHA-256, is checked against them, from the
    cache too, and lies where torch.hub keeps it. Other names are no identity, not those with a date either: every
    repository of Hugging Face has a ``model.safetensors``. Their files lie in a folder for each URL, and the log
    gives their SHA-256.

    Raises:
        UserError: the URL is not encrypted, cannot be reached, gives something else than a file, breaks off, or
            gives a file that is too large or of another hash than its name says.
        StorageError: the cache cannot be written.
    """
    if not is_url(path_or_url):
        _check_path(str(path_or_url))
        return Path(path_or_url)
    url = str(path_or_url)
    file = _place(url)
    digest = None
    if not file.is_file():
        with _one_at_a_time(file):
            if not file.is_file():  # nobody was faster
                digest = _download(url, file)
    if digest is None:
        digest = sha256_of(file)
        _check_copy(url, file, digest)
        _say_which(f"{redacted(url)} was downloaded before:", file, digest)
    else:
        _say_which(f"{redacted(url)} is now", file, digest)
    return file


def _check_path(path: str) -> None:
    if not path:
        raise UserError("the path of the weights is empty; give that of a file, a folder of a run, or a URL")
    scheme = _SCHEME.match(path)
    if scheme and scheme[1].lower() in ("http", "https"):
        raise UserError(
            f"{path}: a URL begins with {scheme[1]}:// and two slashes; give it as text, for a Path drops one"
        )
    if scheme and path[scheme.end() :].startswith("/"):
        raise UserError(
            f"{path}: {scheme[1]}:// cannot be read from; give an http or https URL, or the path of a file"
        )


def _place(url: str) -> Path:
    """Where in torch.hub's cache the file of ``url`` belongs."""
    try:
        name = urlsplit(url).path.rpartition("/")[2]
    except ValueError as error:
        raise UserError(f"{url}: is no URL ({error}); give the address of a file of weights") from None
    if name in ("", ".", "..") or len(name) > _MAX_NAME:
        raise UserError(
            f"{url}: names no file ({name!r}); give the whole address, such as https://HOST/FOLDER/NAME.pth"
        )
    folder = Path(torch.hub.get_dir()) / "checkpoints"  # noqa: TID251  (where it is, and nothing from it)
    if not _hash_in(name):
        folder /= f"url-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    return folder / name


def _hash_in(name: str) -> str | None:
    found = _HASH.fullmatch(name)
    return found[1] if found else None


@contextmanager
def _one_at_a_time(file: Path) -> Iterator[None]:
    # It stays there: removed, it would be one file for who waits and another for who comes.
    lock = file.with_name(f".{file.name}.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _ONE_THREAD, lock.open("w") as holder:  # with the process, if killed, its lock goes too
            _wait_for(holder, lock)
            yield
    except OSError as error:  # those of the network are UserErrors by now
        raise _unwritable(file, error) from None


def _wait_for(holder: IO[str], lock: Path) -> None:
    try:
        fcntl.lockf(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        logger.info("waiting for another process that downloads (%s)", lock)
        fcntl.lockf(holder, fcntl.LOCK_EX)


def _download(url: str, file: Path) -> str:
    """Write what ``url`` gives to ``file``, and return its SHA-256."""
    part = file.with_name(
        f".{file.name}.part"
    )  # under the lock there is one; what a crash left is overwritten
    logger.info("downloading %s", redacted(url))
    try:
        with part.open("wb") as sink:
            digest = _receive(url, sink)
        _check_hash(url, file.name, digest)
        put_in_place(part, file)
    finally:
        part.unlink(missing_ok=True)
    return digest


def _receive(url: str, sink: BinaryIO) -> str:
    sha256, received, said = hashlib.sha256(), 0, time.monotonic()
    for block, total in _blocks(url):
        if not received:
            _check_no_text(url, block)
        sink.write(block)
        sha256.update(block)
        received += len(block)
        if time.monotonic() - said > _PROGRESS:
            said = time.monotonic()
            logger.info("%s of %s received", _megabytes(received), _megabytes(total))
    return sha256.hexdigest()


def _blocks(url: str) -> Iterator[tuple[bytes, int | None]]:
    """Yield the content of a URL piece by piece, each with the number of bytes in all where it is known."""
    received, total = 0, None
    try:
        with _open(url) as response:
            _check_is_file(url, response)
            total = response.length
            _check_size(url, total or 0)
            while block := response.read(_BLOCK):
                received += len(block)
                _check_size(url, received)
                yield block, total
    except HTTPError as error:
        error.close()
        raise UserError(
            f"{url}: the server answers {error.code} {error.reason}; check the address, or {_BY_HAND}"
        ) from None
    except (http.client.InvalidURL, ValueError) as error:
        raise UserError(f"{url}: is no URL ({error}); give the address of a file of weights") from None
    except URLError as error:
        raise UserError(f"{url}: cannot be reached ({error.reason}); {_BY_HAND}") from None
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"{url}: the connection broke after {_megabytes(received)} of {_megabytes(total)} "
            f"({error or type(error).__name__}); try again, or {_BY_HAND}"
        ) from None
    if not received or received < (total or 0):  # http.client takes an early end for the end
        raise UserError(
            f"{url}: the connection ended after {_megabytes(received)} of {_megabytes(total)}; try again, or {_BY_HAND}"
        )


def _open(url: str) -> http.client.HTTPResponse:
    _check_encrypted(url)
    agent = {"User-Agent": "swin_train"}  # some servers refuse Python's own
    request = urllib.request.Request(url, headers=agent)  # noqa: S310  (http or https, as is_url says)
    opener = urllib.request.build_opener(_Redirects)
    return opener.open(request, timeout=_TIMEOUT)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, answer, code, reason, headers, url):  # type: ignore[no-untyped-def]
        """Hold the next address to what the first one is held to."""
        _check_encrypted(url)
        return super().redirect_request(request, answer, code, reason, headers, url)


def _check_encrypted(url: str) -> None:
    address = urlsplit(url)
    if address.scheme.lower() != "https" and address.hostname not in _LOOPBACK:
        raise UserError(
            f"{url}: is not encrypted, so that anybody on the way could give other weights; give its https:// address, "
            f"or {_BY_HAND}"
        )


def _check_size(url: str, size: int) -> None:
    if size > _MAX_FILE:
        raise UserError(
            f"{url}: is larger than the limit of {_megabytes(_MAX_FILE)}; check the address, or {_BY_HAND}"
        )


def _check_is_file(url: str, response: http.client.HTTPResponse) -> None:
    if response.headers.get_content_type() == "text/html":
        raise UserError(
            f"{url}: the server sends a web page, not a file; give the address that the page's download link has"
        )
    if response.status != http.HTTPStatus.OK:  # such as 206, a part of the file
        raise UserError(
            f"{url}: the server answers {response.status} {response.reason}, which is not the whole file; check the "
            f"address, or {_BY_HAND}"
        )
    packing = response.headers.get("Content-Encoding", "identity")
    if packing.lower() != "identity":
        raise UserError(
            f"{url}: the server sends the file packed ({packing}), which was not asked for; {_BY_HAND}"
        )


def _check_no_text(url: str, start: bytes) -> None:
    """Look at the content: servers that do not know a kind of file call it text/plain."""
    if text := text_at(start):
        raise UserError(
            f"{url}: what came is text, not weights; it begins with {text!r}. Check the address, or {_BY_HAND}"
        )


def _check_hash(url: str, name: str, digest: str) -> None:
    expected = _hash_in(name)
    if expected and not digest.startswith(expected):
        raise UserError(
            f"{url}: what came has the SHA-256 {digest}, and by its name it must begin with {expected}: it is "
            f"damaged or another file. It was not kept; try again, or {_BY_HAND}"
        )


def _check_copy(url: str, file: Path, digest: str) -> None:
    expected = _hash_in(file.name)
    if expected and not digest.startswith(expected):
        raise UserError(
            f"{file}: the copy of {url} has the SHA-256 {digest}, and by its name it must begin with {expected}: "
            f"it is damaged; delete it, and it is downloaded again"
        )


def _say_which(origin: str, file: Path, digest: str) -> None:
    logger.info(
        "%s %s, SHA-256 %s%s",
        origin,
        file,
        digest,
        ", as its name says" if _hash_in(file.name) else "; its name holds no hash to check it against",
    )


def _megabytes(count: int | None) -> str:
    return "an unknown number of MB" if count is None else f"{count / 1e6:.1f} MB"


def _unwritable(file: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{file}: cannot be written ({error}); see to space and permissions, or set TORCH_HOME to another folder"
    )
