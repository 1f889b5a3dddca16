"""The SHA-256 of every file in a folder: written when it is complete, compared when it is read.

No format of torch notices a flipped bit in a tensor.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = "MANIFEST.json"


class DamagedFolder(Exception):
    """A folder whose files are not those of its manifest."""


def write_manifest(
    folder: Path, facts: dict[str, Any], known: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """List the files that ``folder`` holds now, beside ``facts``, which are JSON values.

    Args:
        folder: to list.
        facts: kept in the manifest.
        known: entries of files, by name, that need not be made again.

    Raises:
        OSError: a file cannot be read, or the manifest not written.
    """
    files = dict(known or {})  # also those that a network file system does not show here yet
    files |= {path.name: entry(path) for path in sorted(folder.iterdir()) if path.name not in files}
    (folder / MANIFEST).write_text(json.dumps({**facts, "files": files}, indent=1), encoding="utf-8")


def entry(path: Path) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def verify_folder(folder: Path) -> dict[str, Any]:
    """Check every file of a folder against its manifest, and return the manifest.

    Raises:
        DamagedFolder: the manifest or a file is missing, or differs.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {name: (fact["bytes"], fact["sha256"]) for name, fact in manifest["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedFolder(f"{folder / MANIFEST} cannot be read ({error})") from None
    if not files or any(Path(name).name != name for name in files):
        raise DamagedFolder(f"{folder / MANIFEST} does not list the files of its folder")
    for name, (size, sha256) in files.items():
        path = folder / name
        try:
            _verify_file(path, size, sha256)
        except OSError as error:  # as of a disk that dies
            raise DamagedFolder(f"{path} cannot be read ({error.strerror})") from None
    strays = sorted(path.name for path in folder.glob("*.safetensors") if path.name not in files)
    if strays:  # torch would read them too
        raise DamagedFolder(f"{folder / strays[0]} is not listed in the manifest")
    return manifest


def _verify_file(path: Path, size: int, sha256: str) -> None:
    if not path.is_file():
        raise DamagedFolder(f"{path} is missing")
    if path.stat().st_size != size:
        raise DamagedFolder(f"{path} has {path.stat().st_size} bytes instead of {size}")
    if sha256_of(path) != sha256:
        raise DamagedFolder(f"{path} has another SHA-256 than its manifest: its content is damaged")


def sha256_of(path: Path) -> str:
    """Of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
