"""The folder a run lives in: made, locked and described before anything is trained."""

import fcntl
import json
import os
import platform
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO

import torch
import torchvision

import swin_train
from swin_train.config import Config, dump, output_dir, to_dict
from swin_train.distributed import Runtime
from swin_train.errors import UserError
from swin_train.redact import redacted_values


class RunFolder:
    """``OUTPUT/MODEL.NAME/TAG``, held by one run at a time.

    Raises:
        UserError: in every process, when the folder cannot be written or another run holds it.
    """

    def __init__(self, cfg: Config, runtime: Runtime) -> None:
        self.path: Path = output_dir(cfg)
        self._lock: IO[str] | None = None
        runtime.from_main(self._open)

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
        (self.path / "config.yaml").write_text(dump(cfg), encoding="utf-8")
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
        path.write_text(json.dumps({"launches": launches, **facts, "config": to_dict(cfg)}, indent=1))

    def _open(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.weights.mkdir(exist_ok=True)
            self._lock = (self.path / "run.lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"OUTPUT: {self.path} cannot be written ({error.strerror}); name another folder with --output"
            ) from None
        try:
            # lockf, not flock: data-loading workers would inherit the latter, and hold it on after our death.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            raise UserError(
                f"OUTPUT: {self.path} is in use by another run ({holder}); wait for it, or choose another TAG"
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {platform.node()}")
        self._lock.flush()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()


def _launches(path: Path) -> list[dict[str, object]]:
    try:
        return json.loads(path.read_text())["launches"]
    except (OSError, ValueError, KeyError, TypeError):  # the first launch, or cut short by a crash
        return []
