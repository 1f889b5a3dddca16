"""OUT/manifest.json: what prepare-data wrote, with counts, checksums and settings."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swin_train.errors import UserError
from swin_train.prepare.disk import sha256_of, write_json

NAME = "manifest.json"
_FORMAT = 1


def read_manifest(out: Path) -> dict[str, Any]:
    """What is recorded of each split; empty where nothing is.

    Raises:
        UserError: the file is not one that ``write_manifest`` made.
    """
    path = out / NAME
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        splits = content["splits"]
        if content["format"] != _FORMAT or not all(
            isinstance(facts["files"], dict) for facts in splits.values()
        ):
            raise ValueError(f"its format is not {_FORMAT}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: is no manifest of prepare-data ({error!r}); move it away") from None
    return splits


def write_manifest(out: Path, splits: dict[str, Any]) -> None:
    """Record the splits of ``out``."""
    write_json(out / NAME, {"format": _FORMAT, "splits": splits})


def damaged_files(out: Path, splits: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Read every file that a manifest lists, and give its path with what is wrong, or None.

    The files that a list in ``sha256sum``'s format names are read like those of the manifest itself.
    """
    for split in splits.values():
        for name, (size, digest) in split["files"].items():
            problem = _compare(out / name, digest, size)
            yield name, problem
            if name.endswith(".sha256") and problem is None:
                for line in (out / name).read_text(encoding="utf-8").splitlines():
                    listed, _, path = line.partition("  ")
                    yield path, _compare(out / path, listed)


def _compare(path: Path, digest: str, size: int | None = None) -> str | None:
    try:
        if size is not None and path.stat().st_size != size:
            return f"has {path.stat().st_size} bytes instead of {size}"
        return None if sha256_of(path) == digest else "has another SHA-256 than when it was written"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
