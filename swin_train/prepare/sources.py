"""Opens what is to be prepared, in whatever layout it is."""

import logging
from pathlib import Path

from swin_train.data.formats import open_split
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.formats.packed import INDEX_NAME
from swin_train.data.formats.remote import is_url, shown_path
from swin_train.data.formats.source import ImageSource
from swin_train.data.formats.unfinished import refuse_unfinished
from swin_train.errors import UserError
from swin_train.prepare.labels import read_labels
from swin_train.prepare.tar_source import TarSource

logger = logging.getLogger(__name__)

_KINDS = (
    "a folder with {split}/CLASS/*, a folder CLASS/*, a folder with {split}.zip and {split}_map.txt, one with tar "
    "shards {split}-*.tar or Parquet files, one that prepare-data has packed, or a tar archive of ILSVRC 2012"
)
_SPLITS = ("train", "val")


def open_source(
    path: str | Path,
    split: str,
    dataset: str | None = None,
    labels: Path | None = None,
    cache_dir: str = "",
    cache_gb: float = 0.0,
) -> ImageSource:
    """Open a split of what lies at ``path``.

    Args:
        path: a folder in any layout, an official tar archive, or the URL of a folder in object storage.
        split: "train" or "val".
        dataset: the layout, as DATA.DATASET names it; None looks which it is.
        labels: file of the classes of an archive's images, where the archive does not tell them.
        cache_dir: where shards from object storage, and what is unpacked from Parquet, are kept.
        cache_gb: how much of them; 0 is no limit.

    Raises:
        UserError: there is nothing of the kind, or prepare-data has not finished it.
    """
    root = str(path)
    if dataset is not None:
        return open_split(dataset, root, split, cache_dir=cache_dir, cache_gb=cache_gb)
    if is_url(root):
        raise UserError(
            f"{shown_path(root)}: is a URL, whose layout cannot be looked up; add --dataset shards or --dataset "
            "parquet, and --cache-dir"
        )
    path = Path(root)
    if path.is_file():
        return TarSource(path, split, read_labels(labels) if labels else None)
    if labels is not None:
        raise UserError(f"--labels: tells the classes of a tar archive's images, and SOURCE {path} is none")
    if not path.is_dir():
        raise UserError(f"{path}: does not exist; expected {_KINDS.format(split=split)}")
    refuse_unfinished(root, split)
    return _open_folder(path, split, cache_dir, cache_gb)


def open_splits(
    path: str | Path, split: str | None, dataset: str | None, cache_dir: str = "", cache_gb: float = 0.0
) -> dict[str, ImageSource]:
    """Open the splits that are there, or the one that is asked for; see ``open_source``.

    Raises:
        UserError: there is none, or prepare-data has not finished one.
    """
    kept = {"cache_dir": cache_dir, "cache_gb": cache_gb}
    if split is not None:
        return {split: open_source(path, split, dataset, **kept)}  # type: ignore[arg-type]
    for name in _SPLITS:
        refuse_unfinished(str(path), name)
    if dataset is None and Path(path).is_dir() and not _has_splits(Path(path)):
        return {"train": open_source(path, "train")}  # the folder of a split itself
    sources: dict[str, ImageSource] = {}
    problems = []
    for name in _SPLITS:
        try:
            sources[name] = open_source(path, name, dataset, **kept)  # type: ignore[arg-type]
        except UserError as error:
            problems.append(error)
    if not sources:
        raise problems[0]
    for problem in problems:
        logger.warning("looked through without one split: %s", problem)
    return sources


def check_apart(source: str, out: str, split: str) -> None:
    """Refuse to write where is read.

    Raises:
        UserError: one lies in the other, or ``out`` is a URL, or one of the two is empty.
    """
    for what, path in (("SOURCE", source), ("OUT", out)):
        if not path:
            raise UserError(f"{what} is empty (an unset variable?); give a path, . for the current folder")
    if is_url(out):
        raise UserError(
            f"OUT {shown_path(out)}: is a URL, and files are written to folders only; give a folder"
        )
    if is_url(source):
        return
    read, written = Path(source).resolve(), Path(out).resolve()
    if written.is_relative_to(read):
        raise UserError(
            f"OUT {out}: is SOURCE {source} or lies in it, and would be read as a part of it; give a folder beside it"
        )
    if read.is_relative_to(written / split):
        raise UserError(
            f"SOURCE {source}: lies in {Path(out) / split}, which would be written; give another OUT"
        )


def _open_folder(path: Path, split: str, cache_dir: str, cache_gb: float) -> ImageSource:
    root, folder = str(path), path / split
    if (path / f"{split}.zip").is_file():
        return open_split("imagenet", root, split, zip_mode=True)
    if _holds(path, "tar") or _holds(folder, "tar"):
        return open_split("shards", root, split)
    if _holds(path, "parquet") or _holds(path / "data", "parquet") or _holds(folder, "parquet"):
        return open_split("parquet", root, split, cache_dir=cache_dir, cache_gb=cache_gb)
    if (folder / INDEX_NAME).is_file():
        return open_split("packed", root, split)
    if folder.is_dir():
        return open_split("imagenet", root, split)
    if _has_splits(path):
        raise UserError(f"{path}: holds no split {split}; expected {_KINDS.format(split=split)}")
    parent, name = str(path.absolute().parent), path.absolute().name
    refuse_unfinished(parent, name)
    return ImageFolder(parent, name)


def _has_splits(path: Path) -> bool:
    names = (*_SPLITS, "train.zip", "val.zip")
    folders = (path, path / "data")
    return (
        any((path / name).exists() for name in names)
        or _holds(path, "tar")
        or any(_holds(folder, "parquet") for folder in folders)
    )


def _holds(folder: Path, ending: str) -> bool:
    return any(folder.glob(f"*.{ending}"))
