"""OUT/manifest.json: what prepare-data wrote, with counts, checksums and settings."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from swin_train.data.formats.names import printable
from swin_train.data.formats.source import ImageSource
from swin_train.errors import UserError
from swin_train.prepare.disk import sha256_of, write_json
from swin_train.prepare.workplace import places

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
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is not {_FORMAT}")
        for entry in splits.values():
            _check(entry)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path}: is damaged, or no manifest of prepare-data ({error!r}); move it away"
        ) from None
    return splits


def write_manifest(out: Path, splits: dict[str, Any]) -> None:
    """Record the splits of ``out``."""
    write_json(out / NAME, {"format": _FORMAT, "splits": splits})


def lost_files(out: Path, split: str, entry: dict[str, Any]) -> list[str]:
    """Files of a split that are missing or have another size; their content is not read."""
    there = _files_of(out, split)
    return [name for name, (size, _) in _listed(out, entry).items() if not _is_there(out, name, size, there)]


def damaged_files(out: Path, splits: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Read every file that a manifest lists, and give its path with what is wrong, or None.

    The files that a list in ``sha256sum``'s format names are read like those of the manifest itself. Last come
    the files of the splits that nothing lists.
    """
    for split, entry in splits.items():
        listed = _listed(out, entry)
        for name, (size, digest) in listed.items():
            yield name, _compare(out / name, digest, size)
        for name in sorted(_files_of(out, split) - listed.keys()):
            yield printable(name), f"is not in {NAME}"


def miscounts(splits: dict[str, Any], sources: dict[str, ImageSource]) -> dict[str, str]:
    """What is read of each split, where it is not what the manifest counts."""
    problems = {}
    for split, source in sources.items():
        if split not in splits:
            problems[split] = f"is not in {NAME}"
            continue
        counts = np.bincount(source.labels, minlength=source.num_classes).tolist()
        expected = list(splits[split]["images_per_class"].values())
        if (sum(counts), len(counts)) != (sum(expected), len(expected)):
            problems[split] = (
                f"holds {sum(counts)} images in {len(counts)} classes, of which {NAME} counts {sum(expected)} in "
                f"{len(expected)}"
            )
        elif counts != expected:
            problems[split] = f"has other numbers of images by class than {NAME} counts"
    return problems


def _check(entry: dict[str, Any]) -> None:
    """Raise ValueError where the entry of a split is not as ``prepare`` makes it."""
    counts, files = entry["images_per_class"], entry["files"]
    is_good = (
        isinstance(entry["settings"]["to"], str)
        and isinstance(entry["images"], int)
        and {"bytes", "changed", "bad"} <= entry.keys()
        and all(isinstance(count, int) for count in counts.values())
        and all(list(map(type, facts)) == [int, str] for facts in files.values())
    )
    if not is_good:
        raise ValueError("a split is not described as it should be")


def _listed(out: Path, entry: dict[str, Any]) -> dict[str, tuple[int | None, str]]:
    """Size, where it is known, and SHA-256 of all files of a split, by their paths below ``out``."""
    files: dict[str, tuple[int | None, str]] = {name: tuple(facts) for name, facts in entry["files"].items()}
    for name in entry["files"]:
        if name.endswith(".sha256") and (out / name).is_file():
            for line in (out / name).read_text(encoding="utf-8", errors="replace").splitlines():
                digest, _, path = line.partition("  ")
                files[path] = (None, digest)
    return files


def _files_of(out: Path, split: str) -> set[str]:
    """Paths below ``out`` of what readers may take for a part of the split."""
    found = {path.name for path in (*places(out, split), *out.glob(f"*{split}*.tar")) if path.is_file()}
    for folder, folders, files in os.walk(out / split):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(folder).relative_to(out)
        found.update(str(below / name) for name in files if not name.startswith("."))
    return found


def _is_there(out: Path, name: str, size: int | None, there: set[str]) -> bool:
    if size is None:  # one of perhaps a million
        return name in there
    return (out / name).is_file() and (out / name).stat().st_size == size


def _compare(path: Path, digest: str, size: int | None = None) -> str | None:
    try:
        if size is not None and path.stat().st_size != size:
            return f"has {path.stat().st_size} bytes instead of {size}"
        return None if sha256_of(path) == digest else "has another SHA-256 than when it was written"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
