"""Which errors a person can mend, and what they are told."""

import errno
import os

import pytest

from swin_train.errors import PeerLost, StorageError, UserError, as_user_error


def test_a_user_s_error_says_it_itself() -> None:
    error = StorageError("full")

    assert as_user_error(error) is error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_of_storage(number: int) -> None:
    explained = as_user_error(OSError(number, os.strerror(number), "/a/file"))

    assert type(explained) is StorageError
    assert str(explained) == f"/a/file: cannot be written ({os.strerror(number)}); see to free space"


def test_a_full_disk_without_a_name_is_one_too() -> None:
    assert str(as_user_error(OSError(errno.ENOSPC, "No space left on device"))) == (
        "a file: cannot be written (No space left on device); see to free space"
    )


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EACCES])
def test_a_path_that_cannot_be_used_is_named(number: int) -> None:
    explained = as_user_error(OSError(number, os.strerror(number), "/a/file"))

    assert type(explained) is UserError
    assert str(explained) == (
        f"/a/file: cannot be used ({os.strerror(number)}); give another path, or see to its permissions"
    )


@pytest.mark.parametrize(
    "text",
    [
        "[gloo] Connection closed by peer [127.0.0.1]:1234",
        "Connection reset by peer",
        "Connection refused",
        "Broken pipe",
        "[gloo] Timed out waiting 1800000ms for recv operation to complete\nand where it was",
    ],
)
def test_a_lost_peer_is_known_by_what_gloo_says(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")

    explained = as_user_error(RuntimeError(text))

    assert type(explained) is PeerLost
    assert str(explained) == f"another process of the run has ended or hangs ({text.splitlines()[0]})"


def test_a_lost_peer_is_known_by_nccl_s_type(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed import DistBackendError

    monkeypatch.setenv("WORLD_SIZE", "2")

    assert type(as_user_error(DistBackendError("NCCL error"))) is PeerLost


def test_a_process_that_is_alone_has_no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    assert as_user_error(RuntimeError("Broken pipe")) is None


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("Connection refused"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/a/file"),
        PermissionError(errno.EACCES, "Permission denied"),
        KeyboardInterrupt(),
        MemoryError(),
    ],
    ids=repr,
)
def test_of_a_bug_only_a_traceback_tells(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")

    assert as_user_error(error) is None


@pytest.mark.parametrize("text", ["", "\n"])
def test_a_runtime_error_without_text_is_a_bug(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")

    assert as_user_error(RuntimeError(text)) is None
