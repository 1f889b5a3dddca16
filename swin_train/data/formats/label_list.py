"""Label lists: text files with one image and its label per line."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from swin_train.data.formats.names import listing, printable
from swin_train.errors import UserError


class Row(NamedTuple):
    """A line of a label list.

    Attributes:
        line: its number, from 1.
        name: of the image; empty where the line holds one word only.
        label: as written, its first word where there are several.
    """

    line: int
    name: str
    label: str


def read_rows(path: str) -> Iterator[Row]:
    """Lines ``NAME<tab>LABEL``, ``NAME,LABEL``, ``NAME LABEL`` or ``LABEL``; empty ones are passed over.

    Raises:
        UserError: the file cannot be read, or a line has no label.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:  # noqa: PTH123
            for number, text in enumerate(file, 1):
                if text.strip():
                    yield _row(path, number, text.strip("\r\n"))
    except OSError as error:
        raise UserError(f"{printable(path)}: cannot be read ({error.strerror}).") from error


def _row(path: str, number: int, text: str) -> Row:
    if "\t" in text:
        name, _, label = text.partition("\t")
    elif "," in text:
        name, _, label = text.partition(",")
    else:
        name, _, label = text.strip().rpartition(" ")
    words = label.split()
    if not words:
        raise UserError(
            f"{printable(path)}:{number}: '{printable(text)}' has no label; expected NAME<tab>LABEL."
        )
    return Row(number, name.strip(), words[0])


def number_of(path: str, row: Row) -> int:
    """The label of a row as a number from 0.

    Raises:
        UserError: it is none.
    """
    if not is_number(row.label):
        raise UserError(
            f"{printable(path)}:{row.line}: the label is '{printable(row.label)}'; expected a number from 0."
        )
    return int(row.label)


def is_number(text: str) -> bool:
    """Whether ``text`` is a number from 0 in plain digits."""
    return text.isascii() and text.isdigit()


def check_without_gaps(path: str, labels: Sequence[int]) -> int:
    """The number of classes, where nothing but the labels tells it.

    Raises:
        UserError: a number below the largest label is the label of no image.
    """
    present = set(labels)
    largest = max(present)
    if len(present) <= largest:
        first = next(label for label in range(largest) if label not in present)
        raise UserError(
            f"{printable(path)}: the largest label is {largest}, but {largest + 1 - len(present)} numbers below "
            f"it label no image, the first being {first}; labels count classes from 0 without gaps."
        )
    return largest + 1


def check_relative(where: str, name: str) -> None:
    """Refuse a name that leads out of its folder; ``where`` begins the message.

    Raises:
        UserError: the name is absolute or has ".." in it.
    """
    if name.startswith("/") or ".." in name.split("/"):
        raise UserError(
            f"{where}: {printable(name)} leads out of the data; give a path below it, without '..'."
        )


def check_all_there(where: str, missing: list[str]) -> None:
    """Refuse a list that names files which do not exist.

    Raises:
        UserError: ``missing`` is not empty.
    """
    if missing:
        raise UserError(
            f"{where}: {len(missing)} images do not exist: {listing(missing)}. Restore them, or take them "
            "off the list."
        )


def folder_names(rows: Sequence[tuple[str, int]]) -> dict[int, str] | None:
    """Class names by label, where images lie in one folder per class: ``n01440764/x.JPEG`` names class n01440764.

    None when an image lies in no folder, or folders and labels do not go one to one.
    """
    names: dict[int, str] = {}
    for path, label in rows:
        folder, slash, _ = path.partition("/")
        if not slash or names.setdefault(label, folder) != folder:
            return None
    return names if len(set(names.values())) == len(names) else None
