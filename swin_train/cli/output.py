"""Results on stdout, which may be a pipe that nobody reads any more or a file on a full disk."""

import os
import sys

from swin_train.errors import StorageError

_READER_GONE = 141  # 128 + SIGPIPE: what a shell says of other programs whose reader, such as head, has left


def print_result(text: str) -> None:
    """Print to stdout, by the main process alone: the log goes to stderr.

    Raises:
        StorageError: it cannot be written.
        SystemExit: the reader has left; nothing needs to be said.
    """
    if os.environ.get("RANK", "0") == "0":
        _write(f"{text}\n")


def flush_stdout() -> None:
    """Write what argparse printed. Raises as ``print_result``."""
    _write("")


def _write(text: str) -> None:
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        _discard_rest()
        raise SystemExit(_READER_GONE) from None
    except OSError as error:
        _discard_rest()
        raise StorageError(f"stdout: cannot be written ({error.strerror}); see to where it leads") from None


def _discard_rest() -> None:
    """Keep the interpreter from failing again when it flushes stdout at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
