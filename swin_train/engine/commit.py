"""A folder that exists only when it is complete: written beside, hashed, fsynced, renamed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swin_train.weights.manifest import write_manifest
from swin_train.weights.write import flush_to_disk


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
        write_manifest(beside, facts)
        for path in beside.iterdir():
            flush_to_disk(path)
        flush_to_disk(beside)
        beside.rename(folder)
        flush_to_disk(folder.parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


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
