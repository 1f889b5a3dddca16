"""ImageNet-22K as the reference reads it: DATA_PATH/ILSVRC2011fall_whole_map_{train,val}.txt and the images they name.

A list is JSON: ``[["fall11_whole/n00004475/n00004475_32.JPEG", 0], ...]``, paths below DATA_PATH and labels.
"""

import json
import os
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from swin_train.data.formats.image_files import ImageFiles
from swin_train.data.formats.index import Index, Seen, kept, make_index, see
from swin_train.data.formats.label_list import check_all_there, check_relative, is_number
from swin_train.data.formats.names import check_data_path, printable
from swin_train.errors import UserError

_LIST = "ILSVRC2011fall_whole_map_{}.txt"
_LAYOUT = f"Expected: DATA_PATH/{_LIST.format('train')}, {_LIST.format('val')} and the images that they name"
_NUM_CLASSES = 21_841
_REMAPPED = {21_841: 9_205, 21_842: 15_027}  # two of the 21,843 synsets have no images; these take their rows


class ImageNet22K(ImageFiles):
    """The images of a list, in its order.

    Attributes:
        classes: 21,841 synsets, in the order of the published models' heads.

    Raises:
        UserError: the list is missing or damaged, a label is out of range, or images do not exist.
    """

    def __init__(self, root: str, split: str) -> None:
        root = check_data_path(root, _LAYOUT)
        path = os.path.join(root, _LIST.format(split))  # noqa: PTH118
        if not os.path.isfile(path):  # noqa: PTH113
            raise UserError(
                f"DATA.DATA_PATH: {printable(root)} has no file {_LIST.format(split)}. {_LAYOUT}."
            )
        super().__init__(root, f"{split}/", kept("imagenet22k", path, lambda: _build(root, path)))


def _build(root: str, path: str) -> tuple[Index, list[Seen]]:
    seen = [see(path)]
    rows = list(_rows(path))
    seen += [see(f"{root}/{folder}") for folder in sorted({os.path.dirname(name) for name, _ in rows})]  # noqa: PTH120
    sizes = []
    missing = []
    for name, _ in rows:
        try:
            sizes.append(os.stat(f"{root}/{name}").st_size)  # noqa: PTH116
        except OSError:
            missing.append(name)
    check_all_there(printable(path), missing)
    index = make_index(
        _synsets(), (label for _, label in rows), sizes, (os.fsencode(name) for name, _ in rows)
    )
    return index, seen


def _synsets() -> list[str]:
    names = (files("timm") / "data" / "_info" / "imagenet21k_goog_synsets.txt").read_text().split()
    for extra, row in _REMAPPED.items():
        names[row] = names[extra]
    return names[:_NUM_CLASSES]


def _rows(path: str) -> Iterator[tuple[str, int]]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            items = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{printable(path)}: cannot be read as a JSON list ({error}).") from error
    if not isinstance(items, list) or not items:
        raise UserError(f"{printable(path)}: holds no list of images; expected [[PATH, LABEL], ...].")
    places: dict[str, int] = {}
    for place, item in enumerate(items, 1):
        where = f"{printable(path)}: item {place}"
        name, label = _row(where, item)
        if name in places:
            raise UserError(f"{where}: {printable(name)} is item {places[name]} too; keep one of them.")
        places[name] = place
        yield name, label


def _row(where: str, item: Any) -> tuple[str, int]:
    if not (isinstance(item, list) and len(item) > 1 and isinstance(item[0], str)):
        raise UserError(f"{where}: {str(item)[:100]} is not [PATH, LABEL].")
    label = item[1] if type(item[1]) is int else int(item[1]) if is_number(str(item[1])) else -1
    label = _REMAPPED.get(label, label)
    if not 0 <= label < _NUM_CLASSES:
        raise UserError(f"{where}: the label is {item[1]!r}; expected a number from 0 to {_NUM_CLASSES + 1}.")
    check_relative(where, item[0])
    return item[0], label
