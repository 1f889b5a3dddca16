import errno
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pytest

from swin_train.data.formats import remote
from swin_train.data.formats.remote import StoredFile, fetch, files_in, is_url, read_file, shown_path
from swin_train.errors import StorageError, UserError

BUCKET = "memory://bucket/data"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Attempts follow each other at once; gives the waits that would have been."""
    waits: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", waits.append)
    yield waits
    fsspec.filesystem("memory").store.clear()


def put(url: str, content: bytes) -> StoredFile:
    with fsspec.open(url, "wb") as file:
        file.write(content)
    return next(file for file in files_in(url.rpartition("/")[0]) or [] if file.path == url)


class Failing:
    """Makes the first openings fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
        self.errors = list(errors)
        self._real = remote._opened
        monkeypatch.setattr(remote, "_opened", self._opened)

    def _opened(self, path: str) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return self._real(path)


def fetched(file: StoredFile) -> bytes:
    sink = io.BytesIO()
    fetch(file, sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("path", "is_one"),
    [("s3://bucket/data", True), ("memory://x", True), ("/data", False), ("data", False), ("C:/data", False)],
)
def test_what_is_a_url(path: str, is_one: bool) -> None:
    assert is_url(path) == is_one


def test_listing_is_the_same_for_folders_and_urls(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name, content in (("b", b"12"), ("a", b"1"), ("below/c", b"")):
        (tmp_path / name).write_bytes(content)
        put(f"{BUCKET}/{name}", content)

    for folder in (str(tmp_path), f"file://{tmp_path}", BUCKET, BUCKET + "/"):
        files = files_in(folder) or []
        assert [(file.name, file.size) for file in files] == [("a", 1), ("b", 2)]
        assert [file.path for file in files] == [f"{folder.rstrip('/')}/{name}" for name in "ab"]
        assert read_file(files[1]) == b"12"
        assert files_in(f"{folder}/nowhere") is None


def test_the_version_changes_with_the_content() -> None:
    first = put(f"{BUCKET}/a", b"1")

    assert first == files_in(BUCKET)[0]  # type: ignore[index]
    assert put(f"{BUCKET}/a", b"2").version != first.version


def test_the_version_of_a_local_file_changes_with_the_content_where_its_time_does_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    [first] = files_in(str(tmp_path)) or []

    for write in ((tmp_path / "a").write_bytes, lambda data: replace_by_another(tmp_path / "a", data)):
        write(b"2")
        os.utime(tmp_path / "a", ns=(0, int(first.version.split()[0])))
        [second] = files_in(str(tmp_path)) or []
        assert second.version != first.version
        first = second


def replace_by_another(path: Path, data: bytes) -> None:
    path.with_name(".new").write_bytes(data)
    path.with_name(".new").rename(path)


def test_a_fetch_is_tried_again_from_the_beginning(
    monkeypatch: pytest.MonkeyPatch, no_waiting: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    file = put(f"{BUCKET}/a", b"content")
    Failing(monkeypatch, TimeoutError("slow"), RuntimeError("503 https://key:word@host/x?sig=abc"))

    with caplog.at_level(logging.WARNING):
        assert fetched(file) == b"content"

    assert no_waiting == [1, 2]
    first, second = [record.getMessage() for record in caplog.records]
    assert first == f"{BUCKET}/a: attempt 1 failed (slow); again in 1 s"
    assert "(503 https://host/x)" in second


def test_what_a_failed_attempt_wrote_is_written_over() -> None:
    sink = io.BytesIO()
    attempts: list[int] = []

    def copy(source: Any, sink: BinaryIO, where: str) -> None:
        attempts.append(1)
        sink.write(source.read(3))
        if len(attempts) == 1:
            raise TimeoutError("slow")
        sink.write(source.read())

    fetch(put(f"{BUCKET}/a", b"content"), sink, copy)

    assert sink.getvalue() == b"content"


def test_a_fetch_gives_up_with_the_url_and_no_credentials(
    monkeypatch: pytest.MonkeyPatch, no_waiting: list[float]
) -> None:
    url = "memory://key:word@bucket/a?X-Amz-Signature=abc"
    Failing(monkeypatch, *[RuntimeError(f"no route to {url}")] * 10)

    with pytest.raises(UserError) as caught:
        fetched(StoredFile(url, 1, ""))

    assert str(caught.value) == (
        "memory://bucket/a: cannot be read (no route to memory://bucket/a), tried 7 times; check the path, the "
        "permissions and the network."
    )
    assert caught.value.__suppress_context__  # the library's own error names the URL as it is
    assert no_waiting == [1, 2, 4, 8, 16, 32]


def test_fewer_bytes_than_listed_are_no_file(no_waiting: list[float]) -> None:
    file = put(f"{BUCKET}/a", b"content")

    with pytest.raises(
        UserError, match=r"cannot be read \(7 bytes came, and the store lists 8\), tried 7 times"
    ):
        fetched(StoredFile(file.path, 8, ""))


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (FileNotFoundError("x"), UserError, "memory://b/a: is not there; check the path"),
        (PermissionError("denied"), UserError, r"memory://b/a: may not be read \(denied\); check"),
        (
            ImportError("Install s3fs"),
            UserError,
            "memory://b/a: needs a package that is not installed: Install s3fs",
        ),
        (
            OSError(errno.ENOSPC, "full"),
            StorageError,
            "memory://b/a: cannot be kept on this machine.*DATA.CACHE_GB",
        ),
    ],
)
def test_what_waiting_does_not_mend_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch,
    no_waiting: list[float],
    error: Exception,
    kind: type[Exception],
    message: str,
) -> None:
    Failing(monkeypatch, error)

    with pytest.raises(kind, match=message):
        fetched(StoredFile("memory://b/a", 1, ""))
    assert no_waiting == []


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(UserError, match=r"nothing://a: Protocol not known: nothing; give a folder, or a URL"):
        files_in("nothing://a")


def test_local_files_are_not_tried_again(tmp_path: Path, no_waiting: list[float]) -> None:
    with pytest.raises(UserError, match="is not there"):
        read_file(StoredFile(str(tmp_path / "a"), 1, ""))
    with pytest.raises(UserError, match="tried once"):
        read_file(StoredFile(str(tmp_path), 1, ""))
    assert no_waiting == []


def test_shown_paths_are_printable_and_have_no_secrets() -> None:
    assert shown_path("s3://id:key@bucket/a?token=x") == "s3://bucket/a"
    assert shown_path("caf\udce9") == r"caf\xe9"
