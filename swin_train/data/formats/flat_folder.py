"""The validation images of ILSVRC as they come: DATA_PATH/val/*.JPEG without class folders, and a labels file."""

import os
from collections.abc import Sequence

from swin_train.data.formats.image_files import ImageFiles
from swin_train.data.formats.image_folder import class_folders, size_of, split_folder
from swin_train.data.formats.index import Index, Seen, kept, make_index, see
from swin_train.data.formats.label_list import Row, check_without_gaps, is_number, read_rows
from swin_train.data.formats.names import entries, is_image, listing, printable
from swin_train.errors import UserError

_GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"  # of the devkit, whose numbers are its own
_DEVKIT_NUMBERS = "ILSVRC2012_ids.txt"
_SYNSETS = "LOC_synset_mapping.txt"  # of Kaggle: "n01440764 tench, Tinca tinca"
LABEL_FILES = (
    "val_map.txt",
    "LOC_val_solution.csv",
    "imagenet_2012_validation_synset_labels.txt",
    _GROUND_TRUTH,
    "labels.txt",
    "labels.csv",
)


class FlatFolder(ImageFiles):
    """The images that lie in the folder of a split itself, sorted by name.

    Their labels stand in one of ``LABEL_FILES``, in the data path or in the folder: lines ``NAME LABEL`` (a
    space, a tab or a comma between; further words are passed over, and names may lack their extension), or
    one label per image in the order of the names. A label is the name of a class, or its number from 0 in the
    sorted names. The classes are the folders of train/; without them those of LOC_synset_mapping.txt, else
    the labels themselves.

    Raises:
        UserError: there is no labels file or more than one, it does not fit the images, or a label is unknown.
    """

    def __init__(self, root: str, split: str) -> None:
        folder = split_folder(root, split)
        root = os.path.dirname(folder)  # noqa: PTH120  (absolute)
        labels = _labels_file(root, folder)
        index = kept("flat_folder", folder, lambda: _build(root, folder, labels))
        super().__init__(folder, f"{split}/", index)


def is_flat(folder: str) -> bool:
    """Whether a folder holds images and no folders.

    Raises:
        UserError: it cannot be listed.
    """
    found = [entry for entry in entries(folder) if not entry.name.startswith(".")]
    return any(is_image(entry.name) for entry in found) and not any(entry.is_dir() for entry in found)


def _labels_file(root: str, folder: str) -> str:
    places = [os.path.join(place, name) for place in (root, folder) for name in LABEL_FILES]  # noqa: PTH118
    found = [path for path in places if os.path.isfile(path)]  # noqa: PTH113
    if not found:
        raise UserError(
            f"{printable(folder)}: holds images and no class folders, and no labels file lies in it or beside it "
            f"({', '.join(LABEL_FILES)}). Expected: lines NAME LABEL in one of these, or class folders."
        )
    if len(found) > 1:
        raise UserError(
            f"{printable(folder)}: has {len(found)} labels files: {listing(found)}. Keep one of them."
        )
    return found[0]


def _build(root: str, folder: str, labels_file: str) -> tuple[Index, list[Seen]]:
    train, synsets = os.path.join(root, "train"), os.path.join(root, _SYNSETS)  # noqa: PTH118
    seen = [see(path) for path in (folder, labels_file, _devkit_numbers(labels_file), train, synsets)]
    images = {entry.name: size_of(entry) for entry in entries(folder)}
    images = {name: images[name] for name in sorted(images) if is_image(name) and not name.startswith(".")}
    rows = _rows_of(list(images), labels_file)
    labels, classes = _labels(labels_file, rows, _known_classes(train, synsets))
    index = make_index(map(printable, classes), labels, images.values(), map(os.fsencode, images))
    return index, seen


def _known_classes(train: str, synsets: str) -> list[str]:
    if os.path.isdir(train):  # noqa: PTH112
        return class_folders(train)
    if os.path.isfile(synsets):  # noqa: PTH113
        with open(synsets, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            return sorted(line.split()[0] for line in file if line.strip())
    return []


def _rows_of(images: list[str], path: str) -> list[Row]:
    """For each image its row of the labels file.

    Raises:
        UserError: the file has other images, or not one label for each.
    """
    rows = list(read_rows(path))
    if rows and rows[0].name == "ImageId":  # the head of LOC_val_solution.csv
        del rows[0]
    where = printable(path)
    if not any(row.name for row in rows):
        if len(rows) != len(images):
            raise UserError(
                f"{where}: holds {len(rows)} labels for {len(images)} images; expected one for each."
            )
        return _with_synsets(rows, path) if os.path.basename(path) == _GROUND_TRUTH else rows  # noqa: PTH119
    stems = {os.path.splitext(name)[0]: name for name in images}  # noqa: PTH122
    existing = set(images)
    found: dict[str, Row] = {}
    for row in rows:
        name = os.path.basename(row.name)  # noqa: PTH119
        name = name if name in existing else stems.get(name, "")
        if not name:
            raise UserError(f"{where}:{row.line}: '{printable(row.name)}' is no image of the folder.")
        if name in found:
            raise UserError(
                f"{where}:{row.line}: {printable(name)} has a label on line {found[name].line} too."
            )
        found[name] = row
    unlabelled = [name for name in images if name not in found]
    if unlabelled:
        raise UserError(f"{where}: {len(unlabelled)} images have no label: {listing(unlabelled)}.")
    return [found[name] for name in images]


def _devkit_numbers(labels_file: str) -> str:
    return os.path.join(os.path.dirname(labels_file), _DEVKIT_NUMBERS)  # noqa: PTH118, PTH120


def _with_synsets(rows: list[Row], path: str) -> list[Row]:
    """Rows whose labels are names of synsets instead of the devkit's own numbers."""
    numbers = _devkit_numbers(path)
    if not os.path.isfile(numbers):  # noqa: PTH113
        raise UserError(
            f"{printable(path)}: numbers the classes from 1 in the order of the ILSVRC devkit, which is not that "
            f"of the folder names. Put {_DEVKIT_NUMBERS} beside it, with a line 'NUMBER SYNSET' for each class (the "
            "devkit has them in meta.mat), or use a labels file with lines 'NAME SYNSET'."
        )
    synsets = {row.name: row.label for row in read_rows(numbers)}
    for row in rows:
        if row.label not in synsets:
            raise UserError(
                f"{printable(path)}:{row.line}: {row.label!r} is no number of {printable(numbers)}."
            )
    return [row._replace(label=synsets[row.label]) for row in rows]


def _labels(path: str, rows: Sequence[Row], known: list[str]) -> tuple[list[int], list[str]]:
    """Labels as numbers, and the classes."""
    words = [row.label for row in rows]
    are_numbers = all(map(is_number, words))
    if not known:
        if are_numbers:
            count = check_without_gaps(path, [int(word) for word in words])
            return [int(word) for word in words], [str(label) for label in range(count)]
        known = sorted(set(words))
    place = {name: label for label, name in enumerate(known)}
    if all(word in place for word in words):
        if are_numbers and any(place[word] != int(word) for word in words):
            raise UserError(
                f"{printable(path)}: its labels can be read as class names ({listing(known)}) and as numbers of "
                "classes, which differ; give the classes other names."
            )
        return [place[word] for word in words], known
    strange = [row for row in rows if row.label not in place and not _is_below(row.label, len(known))]
    if strange or not are_numbers:
        row = min(strange or [row for row in rows if not is_number(row.label)])
        raise UserError(
            f"{printable(path)}:{row.line}: the label '{printable(row.label)}' is not like the others; expected "
            f"classes ({listing(known)}) on all lines, or on all numbers from 0 to {len(known) - 1}."
        )
    return [int(word) for word in words], known


def _is_below(word: str, stop: int) -> bool:
    return is_number(word) and int(word) < stop
