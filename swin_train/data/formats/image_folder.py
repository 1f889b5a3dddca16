"""Image folder: ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg, the layout of torchvision's ImageFolder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from swin_train.data.formats.image_files import ImageFiles
from swin_train.data.formats.index import Index, Seen, kept, make_index, see
from swin_train.data.formats.names import EXTENSIONS, check_data_path, entries, is_image, listing, printable
from swin_train.errors import UserError

_LAYOUT = "Expected: DATA_PATH/train/CLASS/*.jpg and DATA_PATH/val/CLASS/*.jpg"


class ImageFolder(ImageFiles):
    """The images of one split, classes and files in the order of torchvision's ImageFolder.

    Attributes:
        classes: names of the class folders, sorted; their place is the label.

    Raises:
        UserError: there is no such folder, it or one below it cannot be listed or is met twice through links,
            it holds no class folders, or some of them hold no images.
    """

    def __init__(self, root: str, split: str) -> None:
        folder = split_folder(root, split)
        super().__init__(folder, f"{split}/", kept("image_folder", folder, lambda: _build(folder)))


def split_folder(root: str, split: str) -> str:
    """The folder of a split.

    Raises:
        UserError: it does not exist.
    """
    root = check_data_path(root, _LAYOUT)
    folder = os.path.join(root, split)  # noqa: PTH118
    if not os.path.isdir(folder):  # noqa: PTH112
        held = listing(sorted(entry.name for entry in entries(root))) or "nothing"
        raise UserError(
            f"DATA.DATA_PATH: {printable(root)} has no folder {split}/; it holds {held}. {_LAYOUT}."
        )
    return folder


def class_folders(folder: str) -> list[str]:
    """Names of the class folders of a split, sorted.

    Raises:
        UserError: the folder cannot be listed.
    """
    return _Scan().class_folders(folder)


def _build(folder: str) -> tuple[Index, list[Seen]]:
    scan = _Scan()
    files = {name: scan.images_of(folder, name) for name in scan.class_folders(folder)}
    _check_classes(folder, files)
    counts = [len(images) for images in files.values()]
    index = make_index(
        classes=map(printable, files),
        labels=np.repeat(np.arange(len(files), dtype=np.int64), counts),
        sizes=(size for images in files.values() for size in images.values()),
        names=(os.fsencode(name) for images in files.values() for name in images),
        notes=scan.notes(folder),
    )
    return index, scan.seen


def _check_classes(folder: str, files: dict[str, dict[str, int]]) -> None:
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
    seen: list[Seen] = field(default_factory=list)  # every folder, as it was before it was listed
    _visited: dict[tuple[int, int], str] = field(default_factory=dict)  # device and number -> path

    def class_folders(self, folder: str) -> list[str]:
        folders, files = self._list(folder)
        self.others += files
        return sorted(folders)

    def images_of(self, folder: str, class_name: str) -> dict[str, int]:
        """Paths below ``folder`` of the images of a class, those in nested folders included, with their sizes."""
        start = len(folder) + 1
        walk = self._walk(os.path.join(folder, class_name))  # noqa: PTH118
        return {path[start:]: size for path, size in walk}

    def _walk(self, folder: str) -> Iterator[tuple[str, int]]:
        levels: dict[str, dict[str, os.DirEntry[str]]] = {}
        waiting = [folder]
        while waiting:
            path = waiting.pop()
            subfolders, levels[path] = self._list(path)
            waiting += [f"{path}/{name}" for name in subfolders]
        for path in sorted(levels):
            for name, entry in sorted(levels[path].items()):
                if is_image(name):
                    yield f"{path}/{name}", size_of(entry)
                else:
                    self.others.append(name)

    def _list(self, folder: str) -> tuple[list[str], dict[str, os.DirEntry[str]]]:
        """Names of the folders, and the files, in a folder, which must not have been listed before."""
        self._visit(folder)
        found = entries(folder)
        self.hidden += [entry.name for entry in found if entry.name.startswith(".")]
        folders: list[str] = []
        files: dict[str, os.DirEntry[str]] = {}
        for entry in found:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                folders.append(entry.name)
            else:
                files[entry.name] = entry
        return folders, files

    def _visit(self, folder: str) -> None:
        """Refuse what links show twice: a loop, or images that would be counted again, under another label."""
        now = see(folder)
        self.seen.append(now)
        if now.inode == 0:  # some network file systems number nothing
            return
        first = self._visited.setdefault((now.device, now.inode), folder)
        if first != folder:
            raise UserError(
                f"{printable(folder)}: is a link to {printable(first)}, which is part of the same split; its "
                "images would be there twice. Remove the link."
            )

    def notes(self, folder: str) -> list[str]:
        """What is to be said of what was left out."""
        where = printable(folder)
        notes = []
        if self.hidden:
            notes.append(
                f'{where}: ignored {len(self.hidden)} names that start with ".": {listing(self.hidden)}'
            )
        if self.others:
            notes.append(
                f"{where}: ignored {len(self.others)} files that are no images or stand beside the class "
                f"folders: {listing(self.others)}"
            )
        return notes


def size_of(entry: os.DirEntry[str]) -> int:
    """Bytes of a file, -1 of a link that leads nowhere."""
    try:
        return entry.stat().st_size
    except OSError:
        return -1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link to itself, or into a folder that may not be entered
        raise UserError(
            f"{printable(entry.path)}: cannot be followed ({error.strerror}); remove or mend the link."
        ) from error
