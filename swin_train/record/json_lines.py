"""``metrics.jsonl``: one JSON object a line, append-only."""

import json
import math
import os
from pathlib import Path
from typing import Any


class JsonLines:
    """Appends records to a file; every record has a ``step``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: dict[str, Any]) -> None:
        """Append one record; a number that is not finite is written as null, which JSON can hold."""
        clean = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in record.items()
        }
        self._file.write(json.dumps(clean) + "\n")
        self._file.flush()

    def rewind(self, step: int, evaluated: int) -> None:
        """Drop the records after ``step``, and evaluations after ``evaluated``: a resumed run writes them again.

        A last line cut short by a crash is dropped as well.
        """
        self._file.close()
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
                is_kept = record["step"] <= (evaluated if record["kind"] == "val" else step)
            except (ValueError, TypeError, KeyError):
                continue
            if is_kept:
                kept.append(line + "\n")
        beside = self.path.with_suffix(".tmp")
        beside.write_text("".join(kept), encoding="utf-8")
        beside.replace(self.path)
        self._file = self.path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Make the records durable and close the file."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
