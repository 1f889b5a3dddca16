"""Image folder: ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg, the layout of torchvision's ImageFolder."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from swin_train.errors import UserError

logger = logging.getLogger(__name__)

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_LAYOUT = "Expected: DATA_PATH/train/CLASS/*.jpg and DATA_PATH/val/CLASS/*.jpg"
_NAMED = 10  # names shown in a message before "and N more"


class ImageFolder:
    """The images of one split, classes and files in the order of torchvision's ImageFolder.

    Attributes:
        classes: names of the class folders, sorted; their place is the label.
        labels: [num_images].

    Raises:
        UserError: there is no such folder, it or one below it cannot be listed or is met twice through links,
            it holds no class folders, or some of them hold no images.
    """

    def __init__(self, root: str, split: str) -> None:
        folder = _split_folder(root, split)
        scan = _Scan()
        files = {name: scan.images_of(folder, name) for name in scan.class_folders(folder)}
        scan.report(folder)
        _check_classes(folder, files)

        self.classes = tuple(printable(name) for name in files)
        counts = [len(names) for names in files.values()]
        self.labels: NDArray[np.int64] = np.repeat(np.arange(len(files), dtype=np.int64), counts)
        self._split = split
        self._folder = os.fsencode(folder)
        # One block of bytes and one of ends: a list of a million strings would be copied into every worker,
        # page by page, as its reference counts are touched.
        encoded = [os.fsencode(name) for names in files.values() for name in names]
        self._names = b"".join(encoded)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)

    @property
    def num_images(self) -> int:
        """Number of images in the split."""
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes in the split."""
        return len(self.classes)

    def read(self, index: int) -> bytes:
        """Content of the file of image ``index``.

        Raises:
            OSError: the file cannot be read.
        """
        with open(os.path.join(self._folder, self._name(index)), "rb", buffering=0) as file:  # noqa: PTH118, PTH123
            return file.read()

    def name(self, index: int) -> str:
        """Path of image ``index`` below the data path, printable whatever bytes the file name has."""
        return f"{self._split}/{_shown(self._name(index))}"

    def _name(self, index: int) -> bytes:
        start = int(self._ends[index - 1]) if index else 0
        return self._names[start : int(self._ends[index])]


def printable(name: str) -> str:
    r"""``name`` with every byte that is not UTF-8 shown as \xNN, so that logs and JSON files stay valid."""
    return _shown(os.fsencode(name))


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def listing(names: list[str]) -> str:
    """The first ten names, and how many more there are."""
    shown = ", ".join(printable(name) for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _split_folder(root: str, split: str) -> str:
    if not root:
        raise UserError("DATA.DATA_PATH is empty; give the data folder (--data-path DIR). " + _LAYOUT + ".")
    if not os.path.isdir(root):  # noqa: PTH112
        problem = "is not a folder" if os.path.exists(root) else "does not exist"  # noqa: PTH110
        raise UserError(f"DATA.DATA_PATH: {printable(root)} {problem}. {_LAYOUT}.")
    folder = os.path.join(root, split)  # noqa: PTH118
    if not os.path.isdir(folder):  # noqa: PTH112
        held = listing(sorted(entry.name for entry in _entries(root))) or "nothing"
        raise UserError(
            f"DATA.DATA_PATH: {printable(root)} has no folder {split}/; it holds {held}. {_LAYOUT}."
        )
    return folder


def _check_classes(folder: str, files: dict[str, list[str]]) -> None:
    if not files:
        raise UserError(f"{printable(folder)}: there are no class folders. {_LAYOUT}.")
    empty = [name for name, names in files.items() if not names]
    if empty:
        raise UserError(
            f"{printable(folder)}: {len(empty)} class folder(s) hold no images: {listing(empty)}. "
            f"Add images ({' '.join(EXTENSIONS)}) or remove the folders."
        )


@dataclass
class _Scan:
    """A walk over a split that keeps count of what it leaves out."""

    hidden: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    _visited: dict[tuple[int, int], str] = field(default_factory=dict)  # device and number -> path

    def class_folders(self, folder: str) -> list[str]:
        folders, files = self._list(folder)
        self.others += files
        return sorted(folders)

    def images_of(self, folder: str, class_name: str) -> list[str]:
        """Paths below ``folder`` of the images of a class, those in nested folders included."""
        start = len(folder) + 1
        return [path[start:] for path in self._walk(os.path.join(folder, class_name))]  # noqa: PTH118

    def _walk(self, folder: str) -> Iterator[str]:
        levels: dict[str, list[str]] = {}
        waiting = [folder]
        while waiting:
            path = waiting.pop()
            subfolders, levels[path] = self._list(path)
            waiting += [f"{path}/{name}" for name in subfolders]
        for path in sorted(levels):
            for name in sorted(levels[path]):
                if name.lower().endswith(EXTENSIONS):
                    yield f"{path}/{name}"
                else:
                    self.others.append(name)

    def _list(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files in a folder, which must not have been listed before."""
        entries = _entries(folder)
        self._visit(folder)
        self.hidden += [entry.name for entry in entries if entry.name.startswith(".")]
        folders: list[str] = []
        files: list[str] = []
        for entry in entries:
            if not entry.name.startswith("."):
                (folders if _is_folder(entry) else files).append(entry.name)
        return folders, files

    def _visit(self, folder: str) -> None:
        """Refuse what links show twice: a loop, or images that would be counted again, under another label."""
        status = os.stat(folder)  # noqa: PTH116
        if status.st_ino == 0:  # some network file systems number nothing
            return
        first = self._visited.setdefault((status.st_dev, status.st_ino), folder)
        if first != folder:
            raise UserError(
                f"{printable(folder)}: is a link to {printable(first)}, which is part of the same split; its "
                "images would be there twice. Remove the link."
            )

    def report(self, folder: str) -> None:
        where = printable(folder)
        if self.hidden:
            logger.warning(
                '%s: ignored %d names that start with ".": %s', where, len(self.hidden), listing(self.hidden)
            )
        if self.others:
            logger.warning(
                "%s: ignored %d files that are no images or stand beside the class folders: %s",
                where, len(self.others), listing(self.others),
            )  # fmt: skip


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(
            f"{printable(folder)}: cannot be listed ({error.strerror}); make the folder readable."
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link to itself, or into a folder that may not be entered
        raise UserError(
            f"{printable(entry.path)}: cannot be followed ({error.strerror}); remove or mend the link."
        ) from error
