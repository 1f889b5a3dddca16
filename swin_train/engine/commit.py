"""A folder that exists only when it is complete: written beside, hashed, fsynced, renamed.

No format of torch notices a flipped bit in a tensor, so a committed folder has a ``MANIFEST.json`` with the
SHA-256 of every file.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swin_train.weights.write import flush_to_disk

_MANIFEST = "MANIFEST.json"


class DamagedFolder(Exception):
    """A committed folder whose files are not those of its manifest."""


def commit_folder(folder: Path, write: Callable[[Path], None], facts: dict[str, Any]) -> None:
    """Make ``folder``, filled by ``write``, appear at once or not at all.

    Args:
        folder: the final path; it must not exist.
        write: fills the folder that it is given.
        facts: JSON values kept in the manifest.

    Raises:
        OSError: a file could not be written; ``folder`` does not exist then.
    """
    beside = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        write(beside)
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
            for path in sorted(beside.iterdir())
        }
        (beside / _MANIFEST).write_text(json.dumps({**facts, "files": files}, indent=1), encoding="utf-8")
        for path in beside.iterdir():
            flush_to_disk(path)
        flush_to_disk(beside)
        beside.rename(folder)
        flush_to_disk(folder.parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def verify_folder(folder: Path) -> dict[str, Any]:
    """Check every file of a committed folder against its manifest, and return the manifest.

    Raises:
        DamagedFolder: the manifest or a file is missing, or differs.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"].items()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedFolder(f"{folder / _MANIFEST} cannot be read ({error})") from None
    for name, fact in files:
        path = folder / name
        if not path.is_file():
            raise DamagedFolder(f"{path} is missing")
        if path.stat().st_size != fact["bytes"]:
            raise DamagedFolder(f"{path} has {path.stat().st_size} bytes instead of {fact['bytes']}")
        if _sha256(path) != fact["sha256"]:
            raise DamagedFolder(f"{path} has another SHA-256 than its manifest: its content is damaged")
    return manifest


def remove_folder(folder: Path) -> None:
    """Delete a committed folder so that a half-deleted one is never taken for it."""
    trash = folder.with_name(f".trash-{folder.name}")
    folder.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def free_name(path: Path) -> Path:
    """Return ``path``, or the first of ``path-2``, ``path-3`` and so on that does not exist."""
    number, free = 2, path
    while free.exists():
        free, number = path.with_name(f"{path.name}-{number}"), number + 1
    return free


def sweep(parent: Path) -> None:
    """Delete what crashes left half written or half deleted in ``parent``."""
    for pattern in (".tmp-*", ".trash-*"):
        for folder in parent.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
