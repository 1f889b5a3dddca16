"""Names of what is written: made here, and never taken as a path from what is read."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from swin_train.data.formats.names import EXTENSIONS
from swin_train.data.formats.source import ImageSource

_MAX_BYTES = 200  # of a name; file systems take 255, and an ending is added


def class_folders(classes: Sequence[str]) -> tuple[str, ...]:
    """A folder's name for each class: their own names where they can be, else numbered ones.

    Read back as a folder, classes get their labels from the order of the names: so those must be unique and
    in the order of the labels.
    """
    is_fit = all(map(_is_plain, classes)) and list(classes) == sorted(set(classes))
    if is_fit and len({name.casefold() for name in classes}) == len(classes):
        return tuple(classes)
    width = len(str(len(classes) - 1))
    return tuple(f"{label:0{width}}_{_plain(name)}".rstrip("_") for label, name in enumerate(classes))


class FileNames:
    """A file's name for each image, of which the stem is unique within the class, whatever the case.

    It is the last part of the source's name; a running number within the class where that is no plain name or
    where two images share it. The ending is "" where the source's name has none of an image.

    Args:
        source: what is read.
        with_dots: whether a stem may hold dots; webdataset ends the key of a sample at the first one.
    """

    def __init__(self, source: ImageSource, *, with_dots: bool) -> None:
        encoded = [b""] * source.num_images
        starts = np.searchsorted(np.sort(source.labels), np.arange(source.num_classes + 1))
        order = np.argsort(source.labels, kind="stable")
        for start, stop in pairwise(starts):
            indices = order[start:stop].tolist()
            names = _unique([_split(source.name(index), with_dots) for index in indices])
            for index, name in zip(indices, names, strict=True):
                encoded[index] = name.encode()
        self._names = b"".join(encoded)  # one block: a million strings would take ten times the memory
        self._ends: NDArray[np.int64] = np.cumsum([len(name) for name in encoded], dtype=np.int64)

    def __getitem__(self, index: int) -> str:
        start = int(self._ends[index - 1]) if index else 0
        return self._names[start : int(self._ends[index])].decode()


def _split(name: str, with_dots: bool) -> tuple[str, str]:
    """Stem and ending of an image's name; the stem is "" where it is no plain name."""
    last = name.rpartition("/")[2]
    suffix = PurePosixPath(last).suffix
    if suffix.lower() not in EXTENSIONS:
        suffix = ""
    stem = last.removesuffix(suffix) if suffix else last
    if not with_dots:
        stem = stem.replace(".", "_")
    return (stem if _is_plain(last) and _is_plain(stem) else ""), suffix


def _unique(parts: list[tuple[str, str]]) -> list[str]:
    uses = Counter(stem.casefold() for stem, _ in parts)
    names = []
    for number, (stem, suffix) in enumerate(parts):
        if not stem or uses[stem.casefold()] > 1:
            stem = f"{number:08}"
            while stem in uses:
                stem += "_"
        names.append(stem + suffix)
    return names


def _is_plain(name: str) -> bool:
    """Whether a name can be a file's on every system, a line's in a text file and a member's of an archive."""
    return (
        name.isprintable()
        and name.strip() == name != ""
        and not name.startswith((".", "-"))
        and not set(name) & set('/\\:*?"<>|')
        and len(name.encode("utf-8", "replace")) <= _MAX_BYTES
    )


def _plain(name: str) -> str:
    """What is left of a name when everything that is not a letter or a digit has become "_"."""
    return "_".join("".join(c if c.isascii() and c.isalnum() else " " for c in name).split())[:64]
