"""What lets a preparation go on after a kill: a lock, the settings, a journal of finished units.

All of it lies in ``OUT/.prepare`` until the split is complete.
"""

import fcntl
import json
import os
import platform
import shutil
from pathlib import Path
from types import TracebackType
from typing import IO

from swin_train.data.formats.unfinished import JOURNALS
from swin_train.errors import UserError
from swin_train.prepare.disk import write_json, write_text
from swin_train.prepare.plan import Record


class Workplace:
    """The folder where one split is prepared, held by one process at a time.

    Attributes:
        out: the folder.
        split: "train" or "val".
        temporary: for what is half written; empty at first.

    Raises:
        UserError: another process holds the folder, or it cannot be written.
    """

    def __init__(self, out: Path, split: str) -> None:
        self.out = out
        self.split = split
        self._folder = out / JOURNALS
        self._settings = self._folder / f"{split}.json"
        self._journal = self._folder / f"{split}.journal"
        self.temporary = self._folder / f"{split}.tmp"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock: IO[str] = (self._folder / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{out}: cannot be written ({error.strerror}); give another folder as OUT"
            ) from None
        self._take_lock()
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()

    @property
    def part(self) -> Path:
        """Where a target may let a file grow, until the split is complete."""
        return self._folder / f"{self.split}.part"

    def begin(self, settings: Record) -> bool:
        """Say what is going to be done; False when it was begun before.

        Raises:
            UserError: something else was begun here, or the split is there, in whatever layout.
        """
        if self._settings.exists():
            check_settings(self.out, json.loads(self._settings.read_text(encoding="utf-8")), settings)
            return False
        if taken := places(self.out, self.split):
            raise UserError(
                f"{taken[0]}: exists already, and prepare-data did not begin it; give another OUT"
            )
        write_json(self._settings, settings)
        return True

    def finished(self) -> list[Record]:
        """Records of the units that are finished, in their order."""
        if not self._journal.exists():
            return []
        content = self._journal.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a kill may have cut the last line short
        return [json.loads(line) for line in whole.splitlines()]

    def keep(self, records: list[Record]) -> list[Record]:
        """Let the journal be these records, and return them."""
        write_text(self._journal, "".join(map(_line, records)))
        return records

    def remember(self, record: Record) -> None:
        """Note that a unit is finished; it must be on the disk."""
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())

    def discard(self) -> None:
        """Remove what was written since ``begin``; a kill meanwhile leaves a split that has no finished units."""
        self._journal.unlink(missing_ok=True)
        for path in places(self.out, self.split):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.close()

    def close(self) -> None:
        """Remove everything but the lock: the split is complete."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        for path in sorted(self._folder.glob(f"{self.split}.*")):
            path.unlink()

    def _take_lock(self) -> None:
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise UserError(
                f"{self.out}: another process is preparing data there ({holder}); wait for it, or give another OUT"
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {platform.node()}")
        self._lock.flush()

    def __enter__(self) -> "Workplace":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()


def places(out: Path, split: str) -> list[Path]:
    """What there is of a split, in any of the layouts."""
    names = (split, f"{split}.sha256", f"{split}.zip", f"{split}_map.txt")
    return [
        *(out / name for name in names if os.path.lexists(out / name)),
        *sorted(out.glob(f"{split}-*.tar")),
    ]


def check_settings(out: Path, before: Record, now: Record) -> None:
    """Refuse to go on with other settings or other images.

    Raises:
        UserError: they differ; it says which.
    """
    changes = [
        f"{name} was {before.get(name)}, now {now.get(name)}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
    if changes:
        raise UserError(
            f"{out}: was begun otherwise: {'; '.join(changes)}. Give the same command again, or another OUT."
        )


def _line(record: Record) -> str:
    return json.dumps(record) + "\n"
