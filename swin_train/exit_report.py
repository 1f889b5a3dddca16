"""Why a run ended, on stderr and as a file: torchrun returns 1 whatever the processes that it started return."""

import json
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from swin_train.errors import INTERRUPTED, LockLost, PeerLost, Stopped, UserError, as_user_error
from swin_train.redact import redacted

EXIT_FILE = (
    "SWIN_TRAIN_EXIT_FILE"  # environment: a path that scripts/launch.sh reads, of each machine its own
)


def exit_status(error: BaseException | None) -> int:
    """The status with which a process ends because of ``error``; None: everything was done."""
    if error is None:
        return 0
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    explained = as_user_error(error)
    return 1 if explained is None else explained.exit_status


def report_exit(path: Path, error: BaseException | None, *, step: int | None = None, owner: int = 0) -> None:
    """Write why this process ends, unless another of the same launch has said why before it.

    What only follows from the end of another process gives way to what that one says.

    Args:
        path: of the JSON file; that it cannot be written is no reason to fail otherwise.
        error: what ends the process; None: everything was done.
        step: updates made, where that is known.
        owner: number of the launch; what a later one has written stays.
    """
    explained = None if error is None else as_user_error(error)
    report: dict[str, Any] = {
        "status": exit_status(error),
        "reason": _reason(error, explained),
        "rank": int(os.environ.get("RANK") or 0),
        "host": socket.gethostname(),
        "step": step,
        "weight": _weight(explained),
        "launch": _launch(),
        "owner": owner,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    beside = path.with_name(f".{path.name}.tmp-{report['rank']}-{os.getpid()}")
    try:
        beside.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        if not _is_told(path, report):
            beside.replace(path)
    except OSError:  # the end of the process matters more
        pass
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def report_to_launcher(error: BaseException | None) -> None:
    """Write the same for the script that started the run, where it asked for it; of success rank 0 speaks."""
    path = os.environ.get(EXIT_FILE)
    if path and (error is not None or os.environ.get("LOCAL_RANK", "0") == "0"):
        report_exit(Path(path), error)


def print_error(error: UserError) -> None:
    """Print the message; beside rank 0, which prints it whole, other ranks print its first line."""
    rank, text = os.environ.get("RANK", "0"), str(error) if isinstance(error, Stopped) else f"error: {error}"
    if os.environ.get("WORLD_SIZE", "1") != "1":
        text = f"[rank {rank}] {text if rank == '0' else text.splitlines()[0]}"
    sys.stderr.write(text + "\n")


def end_process(error: UserError) -> NoReturn:
    """Say why, and end this process at once, from whatever thread and whatever the others are in."""
    report_to_launcher(error)
    with suppress(OSError):  # whoever reads it may be gone
        print_error(error)
        sys.stderr.flush()
    os._exit(exit_status(error))


def _reason(error: BaseException | None, explained: UserError | None) -> str:
    if error is None:
        return "done"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(explained) if explained is not None else redacted(f"{type(error).__name__}: {error}")


def _weight(explained: UserError | None) -> int:
    """How surely this is why the run ended: 2 the reason; 1 a signal that came to one process, as torchrun sends them
    to all when it misses one; 0 what follows from the end of another process."""
    if isinstance(explained, PeerLost | LockLost):
        return 0
    is_alone = os.environ.get("WORLD_SIZE", "1") == "1"
    return 1 if isinstance(explained, Stopped) and not explained.is_agreed and not is_alone else 2


def _launch() -> str:
    """Which start of the processes of this machine it is."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return f"process {os.getpid()}"
    names = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT")
    return " ".join(os.environ.get(name, "") for name in names)


def _is_told(path: Path, report: dict[str, Any]) -> bool:
    """Whether the file tells already what ``report`` would, or is a later launch's."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["owner"] != report["owner"]:
            return told["owner"] > report["owner"]
        # The number of the owner is new at every start; where nobody counted them, the launcher's names tell.
        is_same = report["owner"] > 0 or told["launch"] == report["launch"]
        return is_same and told["weight"] >= report["weight"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
