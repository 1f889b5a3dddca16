"""What a run has recorded: its metrics, and how it ended."""

import json
from pathlib import Path
from typing import Any


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    """Return the records of a kind, ``train`` or ``val``, in order."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record for record in lines if record["kind"] == kind]


def losses(run: Path) -> list[float]:
    """Return the loss of each update that is recorded."""
    return [record["loss"] for record in records(run, "train")]


def exit_report(run: Path) -> dict[str, Any]:
    """Return what ended the run, as it says."""
    report: dict[str, Any] = json.loads((run / "exit.json").read_text())
    return report


def launches(run: Path) -> list[int]:
    """Return the step that each launch began at."""
    return [launch["step"] for launch in json.loads((run / "run.json").read_text())["launches"]]
