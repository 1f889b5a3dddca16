"""Data formats: each opens one split of a data set as a source of (bytes, label).

To add one: write a module beside ``image_folder.py`` whose class has what ``ImageSource`` names, and give it
a line in ``FORMATS``.
"""

import hashlib
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from swin_train.data.formats.image_folder import ImageFolder, listing
from swin_train.errors import UserError


class ImageSource(Protocol):
    """One split of a data set: encoded images and their labels, read in any order.

    Attributes:
        classes: names of the classes, by label.
        labels: [num_images].
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]

    @property
    def num_images(self) -> int:
        """Number of images."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""

    def read(self, index: int) -> bytes:
        """Encoded image ``index``; OSError when it cannot be read."""

    def name(self, index: int) -> str:
        """What messages call image ``index``."""


FORMATS: dict[str, Callable[[str, str], ImageSource]] = {
    "imagenet": ImageFolder,
}


def open_split(dataset: str, path: str, split: str) -> ImageSource:
    """Open the split ``train`` or ``val`` of the data set at ``path``.

    Raises:
        UserError: the format is unknown, or the data does not have its layout.
    """
    if dataset not in FORMATS:
        raise UserError(
            f"DATA.DATASET is {dataset!r}; this version reads image folders only: {', '.join(FORMATS)}."
        )
    return FORMATS[dataset](path, split)


def fingerprint(source: ImageSource) -> str:
    """SHA-256, in hexadecimal, of the names of all images with their labels, in sorted order.

    It tells whether two launches see the same images under the same labels, wherever the data lies. It does
    not see changed bytes under the same name, nor the difference between a byte that is not UTF-8 and a name
    that spells out how ``source.name`` shows it.
    """
    labels = source.labels.tolist()
    # No file name holds a zero byte, so no name can run into a label.
    lines = sorted(f"{source.name(index)}\0{label}\0" for index, label in enumerate(labels))
    return hashlib.sha256("".join(lines).encode("utf-8", "backslashreplace")).hexdigest()


def check_same_classes(train: ImageSource, val: ImageSource) -> None:
    """Refuse splits whose labels mean different classes.

    Raises:
        UserError: a class is in one split only.
    """
    problems = [
        f"only in {split}/: {listing(sorted(names))}"
        for split, names in (
            ("train", set(train.classes) - set(val.classes)),
            ("val", set(val.classes) - set(train.classes)),
        )
        if names
    ]
    if problems:
        raise UserError(
            f"DATA.DATA_PATH: train/ and val/ have different classes; {'; '.join(problems)}. "
            "Both must have the same class folders, or labels would mean different classes."
        )
