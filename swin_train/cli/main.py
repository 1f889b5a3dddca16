"""Find the command, run it, and turn errors into one message and an exit status."""

import difflib
import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence

from swin_train.cli import (
    benchmark,
    build_native,
    config,
    convert,
    describe,
    evaluate,
    fit,
    prepare_data,
    train,
    verify_data,
)
from swin_train.errors import StorageError, UserError

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train.run,
    "eval": evaluate.run,
    "convert": convert.run,
    "config": config.run,
    "describe": describe.run,
    "fit": fit.run,
    "benchmark": benchmark.run,
    "build-native": build_native.run,
    "prepare-data": prepare_data.run,
    "verify-data": verify_data.run,
}
_INTERRUPTED = 130  # the shell's 128 + SIGINT
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_UNUSABLE_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EACCES)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, by default this process's, and return its exit status."""
    _show_warnings()
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        _report(error)
        return error.exit_status
    except RuntimeError as error:
        if not _is_lost_peer(error):
            raise
        _report(
            UserError(f"another process of the run has ended ({str(error).splitlines()[0]}); see its message")
        )
        return 1
    except OSError as error:
        explained = _explain(error)
        if explained is None:
            raise
        _report(explained)
        return explained.exit_status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except SystemExit as done:  # after --help or --version, or when the reader of stdout has left
        return int(done.code or 0)


def _run(argv: Sequence[str]) -> int:
    if not argv:
        train.flat_parser().print_help(sys.stderr)
        return UserError.exit_status
    command = argv[0]
    if command in COMMANDS:
        return COMMANDS[command](argv[1:])
    if command.startswith("-"):
        return train.run_flat(argv)
    near = difflib.get_close_matches(command, COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
    raise UserError(f"main.py: unknown command {command!r}; {hint}")


def _explain(error: OSError) -> UserError | None:
    """Say what a path or a disk lacks, wherever it was met; of other errors only a traceback tells."""
    if error.errno in _FULL_DISK:
        return StorageError(
            f"{error.filename or 'a file'}: cannot be written ({error.strerror}); see to free space"
        )
    if error.errno in _UNUSABLE_PATH and error.filename:
        return UserError(
            f"{error.filename}: cannot be used ({error.strerror}); give another path, or see to its permissions"
        )
    return None


def _is_lost_peer(error: RuntimeError) -> bool:
    """Whether a collective failed because another process is gone: gloo says so in words, nccl by its type."""
    text = str(error)
    is_gone = (
        "Connection closed by peer" in text or "Connection reset by peer" in text or "Broken pipe" in text
    )
    return "WORLD_SIZE" in os.environ and (is_gone or type(error).__name__ == "DistBackendError")


def _report(error: UserError) -> None:
    """Print the message; beside rank 0, which prints it whole, other ranks print its first line."""
    rank, text = os.environ.get("RANK", "0"), f"error: {error}"
    if os.environ.get("WORLD_SIZE", "1") != "1":
        text = f"[rank {rank}] {text if rank == '0' else text.splitlines()[0]}"
    print(text, file=sys.stderr)


def _show_warnings() -> None:
    """Let warnings appear on stderr until the run's Recorder installs handlers of its own."""
    if logging.lastResort:
        logging.lastResort.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        logging.lastResort.setLevel(logging.WARNING if os.environ.get("RANK", "0") == "0" else logging.ERROR)
