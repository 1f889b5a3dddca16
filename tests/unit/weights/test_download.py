"""A URL is downloaded once, whole or not at all, and what is used is said."""

import hashlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from swin_train.weights.download import is_url, local_file

CONTENT = b"\0weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's folder of checkpoints, which does not exist yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    return tmp_path / "torch_home/hub/checkpoints"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="swin_train")
    return caplog


def left_over(cache: Path) -> list[str]:
    """Names of all files in the cache but the locks."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")


@pytest.mark.parametrize(
    "path", ["weights/best.safetensors", "/data/http/x.pth", "C:/x.pth", "a:b/c.pth", "~/x.pth"]
)
def test_a_path_stays_as_it_is(path: str) -> None:
    assert not is_url(path)
    assert local_file(path) == local_file(Path(path)) == Path(path)


def test_a_url_is_downloaded_into_the_cache_of_torch_hub_and_named_in_the_log(
    site: Any, cache: Path, log: pytest.LogCaptureFixture
) -> None:
    name = f"swin-{SHA256[:8]}.pth"
    url = site.give(f"/v1.0/{name}?download=1", CONTENT)

    file = local_file(url)

    assert file == cache / name
    assert file.read_bytes() == CONTENT
    assert left_over(cache) == [name]
    assert log.messages == [
        f"downloading {site.address}/v1.0/{name}",
        f"{site.address}/v1.0/{name} is now {file}, SHA-256 {SHA256}, as its name says",
    ]


def test_a_name_without_a_hash_is_said_with_the_hash_of_the_file(
    site: Any, log: pytest.LogCaptureFixture
) -> None:
    url = site.give("/swin_tiny_patch4_window7_224.pth", CONTENT)

    file = local_file(url)

    assert file.name == "swin_tiny_patch4_window7_224.pth"
    assert log.messages[-1] == (
        f"{url} is now {file}, SHA-256 {SHA256}; its name holds no hash to check it against"
    )


@pytest.mark.parametrize("name", [f"swin-{SHA256[:8]}.pth", "model.safetensors"])
def test_a_second_time_the_file_in_the_cache_is_used_and_said(
    site: Any, name: str, log: pytest.LogCaptureFixture
) -> None:
    url = site.give(f"/{name}", CONTENT)
    file = local_file(url)
    log.clear()

    assert local_file(url) == file

    assert site.requests == [f"/{name}"]
    verdict = ", as its name says" if SHA256[:8] in name else "; its name holds no hash to check it against"
    assert log.messages == [f"{url} was downloaded before: {file}, SHA-256 {SHA256}{verdict}"]


def test_a_file_that_torch_hub_downloaded_is_used(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / f"swin-{SHA256[:8]}.pth").write_bytes(CONTENT)

    file = local_file(f"http://127.0.0.1:9/elsewhere/swin-{SHA256[:8]}.pth")

    assert file == cache / f"swin-{SHA256[:8]}.pth"


@pytest.mark.parametrize(
    ("first", "second"), [("/a/model.safetensors", "/b/model.safetensors"), ("/x.pth?id=1", "/x.pth?id=2")]
)
def test_files_of_one_name_and_no_hash_are_not_taken_for_each_other(
    site: Any, first: str, second: str
) -> None:
    urls = [site.give(first, b"\0first"), site.give(second, b"\0second")]

    files = [local_file(url) for url in urls]

    assert [file.read_bytes() for file in files] == [b"\0first", b"\0second"]


@pytest.mark.parametrize(
    "name",
    ["swin-0123456.pth", "01234567.pth", "swin-01234567-v2.pth", "swin-ABCDEF01.pth", "a-01234567.tar.pth"],
)
def test_fewer_digits_or_others_are_no_hash(site: Any, name: str) -> None:
    assert local_file(site.give(f"/{name}", CONTENT)).read_bytes() == CONTENT


@pytest.mark.parametrize("date", ["20210101", "20991231"])
def test_a_date_is_no_hash(site: Any, date: str) -> None:
    assert local_file(site.give(f"/model-{date}.pth", CONTENT)).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_can_be_read(site: Any) -> None:
    url = site.give("/x.pth", CONTENT)
    file = local_file(url)
    lock = file.with_name(f".{file.name}.lock")
    lock.unlink()
    lock.mkdir()  # in the way, like a folder without the permission to write

    assert local_file(url) == file


def in_background(url: str) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=local_file, args=[url])
    process.start()
    return process  # type: ignore[return-value]


def wait_until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_processes_that_ask_at_once_download_once(site: Any, cache: Path) -> None:
    go_on = threading.Event()
    url = site.give("/x.pth", CONTENT, before=lambda: go_on.wait(10))
    processes = [in_background(url) for _ in range(3)]
    wait_until(lambda: site.requests)
    time.sleep(0.3)  # time for the others to ask too, if they would
    go_on.set()
    for process in processes:
        process.join(10)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert site.requests == ["/x.pth"]
    assert left_over(cache) == ["x.pth"]


def test_threads_that_ask_at_once_download_once(
    site: Any, cache: Path, log: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    url = site.give("/x.pth", CONTENT, before=lambda: go_on.wait(10))
    with ThreadPoolExecutor(3) as threads:
        files = [threads.submit(local_file, url) for _ in range(3)]
        wait_until(lambda: site.requests)
        time.sleep(0.3)  # time for the others to ask too, if they would
        go_on.set()

    assert {file.result().read_bytes() for file in files} == {CONTENT}
    assert site.requests == ["/x.pth"]
    assert left_over(cache) == ["x.pth"]
    assert sum(SHA256 in message for message in log.messages) == 3


def test_only_the_file_is_seen_in_the_cache(site: Any) -> None:
    file = local_file(site.give("/x.pth", CONTENT))

    assert [path.name for path in file.parent.iterdir() if not path.name.startswith(".")] == ["x.pth"]


def test_a_process_that_waits_says_so(site: Any, log: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()
    url = site.give("/x.pth", CONTENT, before=lambda: go_on.wait(10))
    process = in_background(url)
    wait_until(lambda: site.requests)
    threading.Timer(0.1, go_on.set).start()
    file = local_file(url)
    process.join(10)

    assert log.messages == [
        f"waiting for another process that downloads ({file.parent}/.x.pth.lock)",
        f"{url} was downloaded before: {file}, SHA-256 {SHA256}; its name holds no hash to check it against",
    ]


def test_a_download_that_is_killed_leaves_nothing_under_the_name_and_the_next_one_works(
    site: Any, cache: Path
) -> None:
    stop = threading.Event()
    url = site.give("/x.pth", CONTENT, length=12_000_000, after=lambda: stop.wait(10))
    process = in_background(url)
    wait_until(lambda: ".x.pth.part" in left_over(cache))
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(10)
    stop.set()
    assert "x.pth" not in left_over(cache)
    site.give("/x.pth", CONTENT)

    assert local_file(url).read_bytes() == CONTENT
    assert left_over(cache) == ["x.pth"]
