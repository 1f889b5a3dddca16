"""Every way that a download can fail has its own message, with the URL and what to do, and leaves nothing."""

import hashlib
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from swin_train.errors import StorageError, UserError
from swin_train.weights import download
from swin_train.weights.download import local_file

CONTENT = b"\0weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BY_HAND = "download the file by hand on a machine with network, and give its path here"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's folder of checkpoints, which does not exist yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    return tmp_path / "torch_home/hub/checkpoints"


def left_over(cache: Path) -> list[str]:
    """Names of all files in the cache but the locks."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")


def fail(url: str, cache: Path) -> str:
    """Return the message for a URL that gives nothing, which leaves nothing in the cache."""
    with pytest.raises(UserError) as error:
        local_file(url)
    assert error.value.exit_status == 2
    assert left_over(cache) == []
    assert str(error.value).startswith(f"{url}: ")
    return str(error.value).removeprefix(f"{url}: ")


@pytest.mark.parametrize("digits", ["01234567", "20211301", "20210132", "202101011"])  # no dates
def test_a_hash_that_differs_is_an_error_and_the_file_is_not_kept(
    site: Any, cache: Path, digits: str
) -> None:
    url = site.give(f"/swin-{digits}.pth", CONTENT)

    assert fail(url, cache) == (
        f"what came has the SHA-256 {SHA256}, and by its name it must begin with {digits}: it is damaged or "
        f"another file. It was not kept; try again, or {BY_HAND}"
    )


def test_a_damaged_file_in_the_cache_is_an_error_that_names_it(site: Any) -> None:
    url = site.give(f"/swin-{SHA256[:8]}.pth", CONTENT)
    file = local_file(url)
    file.write_bytes(b"damaged")

    with pytest.raises(UserError) as error:
        local_file(url)

    found = hashlib.sha256(b"damaged").hexdigest()
    assert str(error.value) == (
        f"{file}: the copy of {url} has the SHA-256 {found}, and by its name it must begin with {SHA256[:8]}: "
        "it is damaged; delete it, and it is downloaded again"
    )


def test_an_address_that_gives_nothing(site: Any, cache: Path) -> None:
    message = fail(f"{site.address}/none.pth", cache)

    assert message == f"the server answers 404 Not Found; check the address, or {BY_HAND}"


def test_no_server_at_the_address(site: Any, cache: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x.pth"

        message = fail(url, cache)

    assert message.startswith("cannot be reached ([Errno ")
    assert message.endswith(f"] Connection refused); {BY_HAND}")


def test_no_network(site: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*arguments: object, **options: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    message = fail("https://example.org/x.pth", cache)

    assert message == f"cannot be reached ([Errno -3] Temporary failure in name resolution); {BY_HAND}"


@pytest.mark.parametrize("url", ["http://example.org/x.pth", "HTTP://192.168.0.1/swin-01234567.pth"])
def test_an_address_that_is_not_encrypted(cache: Path, url: str) -> None:
    assert fail(url, cache) == (
        "is not encrypted, so that anybody on the way could give other weights; give its https:// address, or "
        f"{BY_HAND}"
    )


@pytest.mark.parametrize("to", ["http://example.org/x.pth", "ftp://example.org/x.pth"])
def test_a_server_that_leads_on_to_an_address_that_is_not_encrypted(site: Any, cache: Path, to: str) -> None:
    with pytest.raises(UserError, match=f"^{to}: is not encrypted"):
        local_file(site.give("/x.pth", b"", status=302, location=to))
    assert left_over(cache) == []


def test_a_server_that_leads_on_is_followed(site: Any) -> None:
    to = site.give("/y.pth", CONTENT)

    assert local_file(site.give("/x.pth", b"", status=302, location=to)).read_bytes() == CONTENT


@pytest.mark.parametrize("is_said", [True, False])
def test_a_file_that_is_larger_than_any_weights(
    site: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, is_said: bool
) -> None:
    monkeypatch.setattr(download, "_MAX_FILE", 3_000_000)
    url = site.give("/x.pth", bytes(4_000_000), length=4_000_000 if is_said else -1)

    message = f"is larger than the limit of 3.0 MB; check the address, or {BY_HAND}"
    assert fail(url, cache) == message


@pytest.mark.parametrize(
    ("body", "length", "message"),
    [
        (CONTENT, 12_000_000, "the connection ended after 0.0 MB of 12.0 MB"),
        (b"", 0, "the connection ended after 0.0 MB of 0.0 MB"),
    ],
)
def test_a_connection_that_ends_early(site: Any, cache: Path, body: bytes, length: int, message: str) -> None:
    url = site.give("/x.pth", body, length=length)

    assert fail(url, cache) == f"{message}; try again, or {BY_HAND}"


def test_a_server_that_falls_silent(site: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.1)
    done = threading.Event()
    url = site.give("/x.pth", CONTENT, length=12_000_000, after=lambda: done.wait(10))

    message = fail(url, cache)
    done.set()

    assert message == f"the connection broke after 0.0 MB of 12.0 MB (timed out); try again, or {BY_HAND}"


def test_a_web_page_is_no_file(site: Any, cache: Path) -> None:
    url = site.give("/blob/main/x.pth", b"<html>", kind="text/html; charset=utf-8")

    assert fail(url, cache) == (
        "the server sends a web page, not a file; give the address that the page's download link has"
    )


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/octet-stream"])
def test_text_is_no_file_whatever_it_is_called(site: Any, cache: Path, kind: str) -> None:
    url = site.give("/x.pth", b'{"error": "not found"}', kind=kind)

    assert fail(url, cache) == (
        'what came is text, not weights; it begins with \'{"error": "not found"}\'. '
        f"Check the address, or {BY_HAND}"
    )


def test_weights_that_are_called_text_are_a_file(site: Any) -> None:
    assert local_file(site.give("/x.pth", CONTENT, kind="text/plain")).read_bytes() == CONTENT


def test_a_part_is_no_file(site: Any, cache: Path) -> None:
    url = site.give("/x.pth", CONTENT, status=206)

    assert fail(url, cache) == (
        f"the server answers 206 Partial Content, which is not the whole file; check the address, or {BY_HAND}"
    )


def test_a_packed_file_is_not_taken_for_the_file(site: Any, cache: Path) -> None:
    url = site.give("/x.pth", CONTENT, packing="gzip")

    assert fail(url, cache) == f"the server sends the file packed (gzip), which was not asked for; {BY_HAND}"


@pytest.mark.parametrize("path", ["", "/", "/folder/", "/.", "/..", f"/{'x' * 300}.pth"])
def test_a_url_without_a_file_name(path: str, cache: Path) -> None:
    assert fail(f"https://example.org{path}", cache).endswith(
        "; give the whole address, such as https://HOST/FOLDER/NAME.pth"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1/x.pth",
        "http://127.0.0.1:port/x.pth",
        "http://127.0.0.1/a b.pth",
        "http://127.0.0.1/ä.pth",
    ],
)
def test_what_is_no_url(url: str, cache: Path) -> None:
    message = fail(url, cache)

    assert message.startswith("is no URL (")
    assert message.endswith("; give the address of a file of weights")


def test_a_url_as_a_path_is_an_error() -> None:
    with pytest.raises(UserError) as error:
        local_file(Path("https://example.org/x.pth"))

    assert str(error.value) == (
        "https:/example.org/x.pth: a URL begins with https:// and two slashes; give it as text, for a Path drops one"
    )


def test_another_kind_of_url_is_an_error() -> None:
    with pytest.raises(UserError) as error:
        local_file("s3://bucket/x.pth")

    assert str(error.value) == (
        "s3://bucket/x.pth: s3:// cannot be read from; give an http or https URL, or the path of a file"
    )


def test_an_empty_path_is_an_error() -> None:
    with pytest.raises(
        UserError, match=r"^the path of the weights is empty; give that of a file, a folder of a run,"
    ):
        local_file("")


def test_a_cache_that_cannot_be_written(site: Any, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file in the way")

    with pytest.raises(
        StorageError, match=r"checkpoints/.*x.pth: cannot be written .* or set TORCH_HOME to another"
    ):
        local_file(site.give("/x.pth", CONTENT))


def test_a_disk_that_is_full(site: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(part: Path, file: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "put_in_place", fail)

    with pytest.raises(
        StorageError, match=r"x.pth: cannot be written \(\[Errno 28\] No space left on device\)"
    ):
        local_file(site.give("/x.pth", CONTENT))
    assert left_over(cache) == []
