"""Errors meant for the person at the keyboard, not for a debugger.

``main.py`` prints the message without a traceback and exits with ``exit_status``. A message reads
*where: what is wrong, with the value; what would be right.*
"""

import errno
import os
from collections.abc import Mapping
from typing import Any

from swin_train.redact import redacted

PREEMPTED = 143  # exit status of a run that a scheduler stopped: 128 + SIGTERM, as shells say
INTERRUPTED = 130  # of one that the user stopped: 128 + SIGINT


class UserError(Exception):
    """The run cannot start or go on because of something the user can mend. Its text shows no credentials."""

    exit_status = 2

    def __str__(self) -> str:
        return redacted(super().__str__())


class NumericsError(UserError):
    """The numbers of the run went bad: a loss or a gradient that is not finite, or processes that disagree."""

    exit_status = 4


class DataError(UserError):
    """Damaged data met while running."""

    exit_status = 5


class WorkerLost(DataError):
    """A process or thread that prepares images died or hangs; started again, the run may go on."""

    exit_status = 1


class StorageError(UserError):
    """A checkpoint, a log or a result could not be written."""

    exit_status = 28


class LockLost(UserError):
    """Another launch has taken over the run's folder, or the launcher of this process is gone."""

    exit_status = 3


class PeerLost(UserError):
    """Another process of the run died, hangs or gave up: what ends this one follows from what ended that one."""

    exit_status = 1


class Stopped(UserError):
    """A signal asked the run to stop, and it has.

    Attributes:
        is_agreed: all processes stop at the same update, and what was computed is saved; otherwise nothing was yet.
    """

    def __init__(self, message: str, exit_status: int, *, is_agreed: bool) -> None:
        super().__init__(message)
        self.exit_status, self.is_agreed = exit_status, is_agreed


def told(error: BaseException) -> dict[str, Any]:
    """Return, as JSON, what other processes are told of an error; see ``as_told``."""
    explained = as_user_error(error)
    if explained is None:
        explained = PeerLost(f"another process: {type(error).__name__}: {error}")
    return {"kind": type(explained).__name__, "text": str(explained), "status": explained.exit_status}


def as_told(content: Mapping[str, Any]) -> UserError:
    """Return the error that ends this process because of what another was ended by, as ``told`` told it.

    It has the same message and status; of what only a traceback explains, which that process shows, this one is lost.
    """
    if content["kind"] == Stopped.__name__:
        return Stopped(content["text"], content["status"], is_agreed=False)
    kinds = {
        kind.__name__: kind
        for kind in (NumericsError, DataError, WorkerLost, StorageError, LockLost, PeerLost)
    }
    error = kinds.get(content["kind"], UserError)(content["text"])
    error.exit_status = content["status"]
    return error


_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_UNUSABLE_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EACCES)
_GONE = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Connection refused",
    "Broken pipe",
    "Timed out waiting",
)


def as_user_error(error: BaseException) -> UserError | None:
    """Say what a path, a disk or another process lacks, wherever it was met; of other errors only a traceback tells."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError) and error.errno in _FULL_DISK:
        return StorageError(
            f"{error.filename or 'a file'}: cannot be written ({error.strerror}); see to free space"
        )
    if isinstance(error, OSError) and error.errno in _UNUSABLE_PATH and error.filename:
        return UserError(
            f"{error.filename}: cannot be used ({error.strerror}); give another path, or see to its permissions"
        )
    if isinstance(error, RuntimeError) and _is_lost_peer(error):
        first_line = str(error).splitlines()[0]
        return PeerLost(f"another process of the run has ended or hangs ({first_line})")
    return None


def _is_lost_peer(error: RuntimeError) -> bool:
    """Whether a collective failed because another process is gone: gloo says so in words, nccl by its type."""
    is_gone = any(words in str(error) for words in _GONE)
    return "WORLD_SIZE" in os.environ and (is_gone or type(error).__name__ == "DistBackendError")
