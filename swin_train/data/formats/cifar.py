"""CIFAR-10 and CIFAR-100 in their binary version: a byte or two of label, then 32 x 32 pixels, red, green, blue."""

import os
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from swin_train.data.formats.names import check_data_path, printable
from swin_train.data.formats.source import FileSpan, ImageSource
from swin_train.errors import UserError

_PPM = b"P6 32 32 255\n"  # the head of a picture that every decoder reads
_PIXELS = 3 * 32 * 32


class _Layout(NamedTuple):
    title: str
    folder: str  # that the archive unpacks to
    pickled: str  # what the other version unpacks to
    files: dict[str, tuple[str, ...]]  # by split
    names: str
    num_classes: int
    label_bytes: int  # the last one counts; the first of CIFAR-100 is the coarse class


_CIFAR10 = _Layout(
    "CIFAR-10",
    "cifar-10-batches-bin",
    "cifar-10-batches-py",
    {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "val": ("test_batch.bin",)},
    "batches.meta.txt",
    10,
    1,
)
_CIFAR100 = _Layout(
    "CIFAR-100",
    "cifar-100-binary",
    "cifar-100-python",
    {"train": ("train.bin",), "val": ("test.bin",)},
    "fine_label_names.txt",
    100,
    2,
)


class _Cifar(ImageSource):
    """The images of one split; val is the test set.

    Attributes:
        classes: their names, in the data set's order.
        labels: [num_images].
        sizes: [num_images], bytes of each image as PPM file.

    Raises:
        UserError: a file is missing or is not what it should be.
    """

    def __init__(self, layout: _Layout, root: str, split: str) -> None:
        folder = _folder(layout, root)
        self.classes = _class_names(layout, folder)
        width = layout.label_bytes + _PIXELS
        records = [_records(layout, os.path.join(folder, name), width) for name in layout.files[split]]  # noqa: PTH118
        self._records = records
        self._starts = np.cumsum([0] + [len(part) for part in records])
        self.labels: NDArray[np.int64] = np.concatenate(
            [part[:, layout.label_bytes - 1].astype(np.int64) for part in records]
        )
        self.sizes: NDArray[np.int64] = np.full(len(self.labels), len(_PPM) + _PIXELS, np.int64)
        self._split = split

    def read(self, index: int) -> bytes:
        """Image ``index`` as PPM file."""
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        planes = self._records[part][index - self._starts[part], -_PIXELS:]
        return _PPM + planes.reshape(3, -1).T.tobytes()

    def span(self, index: int) -> FileSpan | None:
        """None: nowhere on the disk lies a file that a decoder reads."""
        return None

    def name(self, index: int) -> str:
        """SPLIT/CLASS/NUMBER.ppm, the number counted over the split."""
        return f"{self._split}/{self.classes[self.labels[index]]}/{index:05d}.ppm"


class Cifar10(_Cifar):
    """CIFAR-10: ``cifar-10-batches-bin/`` in the data path, or the data path itself."""

    def __init__(self, root: str, split: str) -> None:
        super().__init__(_CIFAR10, root, split)


class Cifar100(_Cifar):
    """CIFAR-100 by its fine classes: ``cifar-100-binary/`` in the data path, or the data path itself."""

    def __init__(self, root: str, split: str) -> None:
        super().__init__(_CIFAR100, root, split)


def _folder(layout: _Layout, root: str) -> str:
    expected = (
        f"Expected: DATA_PATH/{layout.folder}/ with {', '.join(layout.files['train'])} and {layout.names}"
    )
    root = check_data_path(root, expected)
    inner = os.path.join(root, layout.folder)  # noqa: PTH118
    for folder in (inner, root):
        if os.path.isfile(os.path.join(folder, layout.names)):  # noqa: PTH113, PTH118
            return folder
    if os.path.isdir(os.path.join(root, layout.pickled)):  # noqa: PTH112, PTH118
        raise UserError(
            f"DATA.DATA_PATH: {printable(root)} has {layout.pickled}/, which are Python pickles and could run any "
            f"code; get the binary version of {layout.title}. {expected}."
        )
    raise UserError(f"DATA.DATA_PATH: {printable(root)} holds no {layout.title}. {expected}.")


def _class_names(layout: _Layout, folder: str) -> tuple[str, ...]:
    path = os.path.join(folder, layout.names)  # noqa: PTH118
    with open(path, encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123
        names = tuple(file.read().split())
    if len(set(names)) != layout.num_classes or len(names) != layout.num_classes:
        raise UserError(
            f"{printable(path)}: holds {len(set(names))} different names; expected {layout.num_classes}."
        )
    return names


def _records(layout: _Layout, path: str, width: int) -> NDArray[np.uint8]:
    """The records of a file, [number, width], mapped into memory.

    Raises:
        UserError: the file is missing, of another length, or has labels out of range.
    """
    try:
        length = os.stat(path).st_size  # noqa: PTH116
        if length % width or not length:
            raise UserError(
                f"{printable(path)}: has {length} bytes, which is no multiple of {width}, the length of a record of "
                f"{layout.title}; the file is damaged. Unpack it anew."
            )
        records = np.asarray(np.memmap(path, np.uint8, "r")).reshape(-1, width)
    except OSError as error:
        raise UserError(f"{printable(path)}: cannot be read ({error.strerror}).") from error
    labels = records[:, layout.label_bytes - 1]
    wrong = np.flatnonzero(labels >= layout.num_classes)
    if len(wrong):
        raise UserError(
            f"{printable(path)}: record {wrong[0] + 1} has the label {labels[wrong[0]]}; {layout.title} has 0 to "
            f"{layout.num_classes - 1}. The file is damaged."
        )
    return records
