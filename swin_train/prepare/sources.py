"""Opens what is to be prepared, in whatever layout it is."""

import logging
from pathlib import Path

from swin_train.data.formats import open_split
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.formats.packed import INDEX_NAME
from swin_train.data.formats.source import ImageSource
from swin_train.errors import UserError
from swin_train.prepare.labels import read_labels
from swin_train.prepare.tar_source import TarSource

logger = logging.getLogger(__name__)

_KINDS = (
    "a folder with {split}/CLASS/*, a folder CLASS/*, a folder with {split}.zip and {split}_map.txt, one with tar "
    "shards {split}-*.tar, one that prepare-data has packed, or a tar archive of ILSVRC 2012"
)


def open_source(
    path: Path, split: str, dataset: str | None = None, labels: Path | None = None
) -> ImageSource:
    """Open a split of what lies at ``path``.

    Args:
        path: a folder in any layout, or an official tar archive.
        split: "train" or "val".
        dataset: the layout, as DATA.DATASET names it; None looks which it is.
        labels: file of the classes of an archive's images, where the archive does not tell them.

    Raises:
        UserError: there is nothing of the kind.
    """
    if dataset is not None:
        return open_split(dataset, str(path), split)
    if path.is_file():
        return TarSource(path, split, read_labels(labels) if labels else None)
    if labels is not None:
        raise UserError(f"--labels: tells the classes of a tar archive's images, and SOURCE {path} is none")
    if not path.is_dir():
        raise UserError(f"{path}: does not exist; expected {_KINDS.format(split=split)}")
    return _open_folder(path, split)


def open_splits(path: Path, split: str | None, dataset: str | None) -> dict[str, ImageSource]:
    """Open the splits that are there, or the one that is asked for.

    Raises:
        UserError: there is none.
    """
    if split is not None:
        return {split: open_source(path, split, dataset)}
    if dataset is None and path.is_dir() and not _has_splits(path):
        return {"train": open_source(path, "train")}  # the folder of a split itself
    sources: dict[str, ImageSource] = {}
    problems = []
    for name in ("train", "val"):
        try:
            sources[name] = open_source(path, name, dataset)
        except UserError as error:
            problems.append(error)
    if not sources:
        raise problems[0]
    for problem in problems:
        logger.warning("looked through without one split: %s", problem)
    return sources


def _open_folder(path: Path, split: str) -> ImageSource:
    root, folder = str(path), path / split
    if (path / f"{split}.zip").is_file():
        return open_split("imagenet", root, split, zip_mode=True)
    if _holds_tars(path) or _holds_tars(folder):
        return open_split("shards", root, split)
    if (folder / INDEX_NAME).is_file():
        return open_split("packed", root, split)
    if folder.is_dir():
        return open_split("imagenet", root, split)
    if _has_splits(path):
        raise UserError(f"{path}: holds no split {split}; expected {_KINDS.format(split=split)}")
    return ImageFolder(str(path.absolute().parent), path.absolute().name)


def _has_splits(path: Path) -> bool:
    names = ("train", "val", "train.zip", "val.zip")
    return any((path / name).exists() for name in names) or _holds_tars(path)


def _holds_tars(folder: Path) -> bool:
    return any(folder.glob("*.tar"))
