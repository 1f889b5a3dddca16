"""The folder a run lives in: made, locked and described before anything is trained."""

import fcntl
import json
import os
import platform
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import torch
import torchvision

import swin_train
from swin_train.config import Config, dump, output_dir, to_dict
from swin_train.distributed import Runtime
from swin_train.engine.every_machine import machines_without
from swin_train.errors import LockLost, UserError
from swin_train.redact import redacted_values
from swin_train.weights.write import flush_to_disk, write_text

EXIT_NAME = "exit.json"  # why the last launch ended

_LOOK_EVERY_S = 0.5
_MOST_BYTES = 4096  # of run.lock


class RunFolder:
    """``OUTPUT/MODEL.NAME/TAG``, held by one launch at a time.

    ``run.lock`` is locked by the main process, which the system undoes when that process ends, and counts its
    holders: a holder that was cut off, on a file system that gave its lock away, finds a later number there.

    Attributes:
        path: of the folder.
        owner: number of this launch among those that held the folder, from 1.

    Raises:
        UserError: in every process, when the folder cannot be written or another run holds it.
    """

    def __init__(self, cfg: Config, runtime: Runtime) -> None:
        self.path: Path = output_dir(cfg)
        self.owner = 0
        self._lock: IO[str] | None = None
        self._patience_s = cfg.DIST.TIMEOUT_S
        self.owner = runtime.from_main(self._open)
        self._check_shared(runtime)

    @property
    def checkpoints(self) -> Path:
        """Where the training states are."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """Where the weights for use elsewhere are."""
        return self.path / "weights"

    def describe(self, cfg: Config, facts: dict[str, object], step: int) -> None:
        """Write ``config.yaml``, as it was given, and ``run.json``, with everything that was resolved.

        Args:
            cfg: of this launch.
            facts: what was resolved.
            step: updates made before this launch; ``run.json`` remembers every launch.
        """
        write_text(self.path / "config.yaml", dump(cfg))
        launch = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "step": step,
            "command": redacted_values(sys.argv),
            "swin_train": swin_train.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        }
        path = self.path / "run.json"
        launches = [*_launches(path), launch]
        write_text(path, json.dumps({"launches": launches, **facts, "config": to_dict(cfg)}, indent=1))

    def check_owner(self) -> None:
        """Make sure, in the main process, that no other launch has taken the folder over.

        Raises:
            LockLost: one has.
        """
        found = _read_holder(self._lock) or _read_holder(self._lock)  # it may be being written
        if found.get("owner") != self.owner:
            raise LockLost(
                f"OUTPUT: {self.path} was taken over by another launch ({_who(found)}) while this one was cut off; "
                f"nothing of this one is written any more"
            )

    def _open(self) -> int:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.weights.mkdir(exist_ok=True)
            self._lock = (self.path / "run.lock").open("a+", encoding="utf-8")
            _probe(self.path)
        except OSError as error:
            raise UserError(
                f"OUTPUT: {self.path} cannot be written ({error.strerror}); name another folder with --output"
            ) from None
        self._acquire(self._lock)
        owner = int(_read_holder(self._lock).get("owner", 0)) + 1
        holder = {"owner": owner, "process": os.getpid(), "host": platform.node(), "job": _job()}
        self._lock.truncate(0)
        self._lock.write(json.dumps(holder))
        self._lock.flush()
        self._sweep()
        return owner

    def _sweep(self) -> None:
        """Delete the exit report of the launch before, and the files that a kill left half written."""
        left = [self.path / EXIT_NAME, *self.path.glob(".probe-*"), *self.path.glob(".*.tmp-*")]
        for path in (*left, *self.weights.glob(".*.tmp-*")):
            path.unlink(missing_ok=True)

    def _check_shared(self, runtime: Runtime) -> None:
        """Make sure that every machine sees the folder of the main process: all write into it.

        Raises:
            UserError: in every process, naming the machines that do not.
        """
        blind = machines_without(self._is_seen, runtime)
        if blind:
            raise UserError(
                f"OUTPUT: {self.path} is not on {', '.join(blind)} what it is on the first machine; name a folder "
                f"with --output that all machines share"
            )

    def _is_seen(self) -> bool:
        """Whether the lock of the main process is here."""
        try:
            holder = json.loads((self.path / "run.lock").read_text(encoding="utf-8"))
            return bool(holder["owner"] == self.owner)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _acquire(self, lock: IO[str]) -> None:
        """Lock the file; of a process of the same job, which torchrun has replaced, wait for the end."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                # lockf, not flock: data-loading workers would inherit the latter, and hold it on after our death.
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                holder = _read_holder(lock)
                is_ours = bool(_job()) and holder.get("job") == _job()
                if not is_ours or time.monotonic() > deadline:
                    raise UserError(
                        f"OUTPUT: {self.path} is in use by another run ({_who(holder)}); wait for it, or choose "
                        f"another TAG"
                    ) from None
                time.sleep(_LOOK_EVERY_S)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()


def _job() -> str:
    """What torchrun calls this job, whatever it restarts; nothing where it was given no name."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return "" if name == "none" else name


def _read_holder(lock: IO[str] | None) -> dict[str, Any]:
    """Return who wrote itself down as the holder.

    It is read through the open file, since to close another would unlock it, and at a place of its own, since the
    thread that saves reads too.
    """
    if lock is None:
        return {}
    try:
        holder = json.loads(os.pread(lock.fileno(), _MOST_BYTES, 0))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _who(holder: dict[str, Any]) -> str:
    return f"process {holder.get('process', 'unknown')} on {holder.get('host', 'an unknown machine')}"


def _probe(folder: Path) -> None:
    """Find out now, not after an epoch, whether files can be written and made durable here."""
    path = folder / f".probe-{os.getpid()}"
    try:
        path.write_bytes(bytes(4096))
        flush_to_disk(path)
    finally:
        path.unlink(missing_ok=True)


def _launches(path: Path) -> list[dict[str, object]]:
    try:
        return json.loads(path.read_text())["launches"]
    except (OSError, ValueError, KeyError, TypeError):  # the first launch, or cut short by a crash
        return []
