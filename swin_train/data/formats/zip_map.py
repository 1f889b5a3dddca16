"""The maps of zip archives: which images a split has, and what their labels are called."""

import os
import re
from dataclasses import dataclass

from swin_train.data.formats.label_list import (
    check_relative,
    check_without_gaps,
    folder_names,
    number_of,
    read_rows,
)
from swin_train.data.formats.names import EXTENSIONS, is_image, printable
from swin_train.data.formats.shard_layout import CLASSES, class_names
from swin_train.errors import UserError

_REFERENCE_PREFIX = re.compile(r".*\.zip@/*")


@dataclass(frozen=True)
class ImageMap:
    """A map file.

    Attributes:
        path: of the file.
        names: of the images, without the prefixes that a map may have.
        labels: of the images, from 0.
        lines: on which they stand.
    """

    path: str
    names: list[str]
    labels: list[int]
    lines: list[int]

    def where(self, place: int) -> str:
        """How a message about image ``place`` begins."""
        return f"{printable(self.path)}:{self.lines[place]}"


def read_map(path: str, split: str) -> ImageMap:
    """The images that a map file names.

    Raises:
        UserError: the file or a line of it is not as it should be.
    """
    names, labels, lines = [], [], []
    places: dict[str, int] = {}
    for row in read_rows(path):
        where = f"{printable(path)}:{row.line}"
        name = _REFERENCE_PREFIX.sub("", row.name).removeprefix("./")
        check_relative(where, name)
        if not is_image(name):
            raise UserError(f"{where}: '{printable(name)}' is no image ({' '.join(EXTENSIONS)}).")
        if name in places:
            raise UserError(
                f"{where}: {printable(name)} stands on line {places[name]} too; keep one of them."
            )
        places[name] = row.line
        names.append(name)
        labels.append(number_of(path, row))
        lines.append(row.line)
    if not names:
        raise UserError(f"{printable(path)}: names no images; expected lines PATH<tab>LABEL.")
    if all(name.startswith(f"{split}/") for name in names):
        names = [name.removeprefix(f"{split}/") for name in names]
    return ImageMap(path, names, labels, lines)


def class_names_of(root: str, own: ImageMap, train: ImageMap | None) -> list[str]:
    """Names of the classes, by label.

    Args:
        root: the data path, in which classes.txt may lie.
        own: the map of the split.
        train: the map of the training images, where there is one.

    Raises:
        UserError: a label of ``own`` is out of range, or stands for another class.
    """
    listed = class_names(root)
    reference, origin = train or own, os.path.join(root, CLASSES)  # noqa: PTH118
    if listed:
        names, count = dict(enumerate(listed)), len(listed)
    else:
        origin, count = reference.path, check_without_gaps(reference.path, reference.labels)
        names = _folders(reference) or _folders(own) or {}
    for place, label in enumerate(own.labels):
        if label >= count:
            raise UserError(
                f"{own.where(place)}: the label is {label}, but {printable(origin)} has {count} classes, "
                f"0 to {count - 1}."
            )
    for label, folder in (_folders(own) or {}).items():
        if names[label] != folder:
            raise UserError(
                f"{own.where(own.labels.index(label))}: label {label} is folder {printable(folder)}, but in "
                f"{printable(origin)} it is {printable(names[label])}; both must number the classes in the same way."
            )
    return [names.get(label, str(label)) for label in range(count)]


def _folders(images: ImageMap) -> dict[int, str] | None:
    return folder_names(list(zip(images.names, images.labels, strict=True)))
