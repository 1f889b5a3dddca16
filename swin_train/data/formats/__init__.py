"""Data formats: each opens one split of a data set as a source of (bytes, label).

To add one: write a module beside ``image_folder.py`` whose class has what ``ImageSource`` names, give it a
line in ``FORMATS``, and name it among the values of ``DATA.DATASET``.
"""

import hashlib
import os
from collections.abc import Callable

from swin_train.config.checks import ARCHIVED
from swin_train.data.formats.cifar import Cifar10, Cifar100
from swin_train.data.formats.flat_folder import FlatFolder, is_flat
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.formats.imagenet22k import ImageNet22K
from swin_train.data.formats.names import listing
from swin_train.data.formats.packed import PackedFolder
from swin_train.data.formats.parquet import HuggingFaceImages
from swin_train.data.formats.shards import TarShards
from swin_train.data.formats.source import FileSpan, ImageSource
from swin_train.data.formats.synthetic import Synthetic
from swin_train.data.formats.unfinished import refuse_unfinished
from swin_train.data.formats.zip_archive import ZipArchive
from swin_train.errors import UserError

__all__ = [
    "ARCHIVED",
    "FORMATS",
    "FileSpan",
    "ImageSource",
    "check_same_classes",
    "fingerprint",
    "open_split",
]


def _folder(root: str, split: str) -> ImageSource:
    """An image folder; the validation images may lie side by side, as ILSVRC has them."""
    path = os.path.join(root, split)  # noqa: PTH118
    if root and split == "val" and os.path.isdir(path) and is_flat(path):  # noqa: PTH112
        return FlatFolder(root, split)
    return ImageFolder(root, split)


FORMATS: dict[str, Callable[..., ImageSource]] = {
    "imagenet": _folder,
    "imagenet22K": ImageNet22K,
    "cifar10": Cifar10,
    "cifar100": Cifar100,
    "synthetic": Synthetic,
    "packed": PackedFolder,
    "shards": TarShards,
    "parquet": HuggingFaceImages,
}
_FETCHED = (
    "shards",
    "parquet",
)  # those that may lie in object storage, and are told where to keep what they fetch


def open_split(
    dataset: str,
    path: str,
    split: str,
    *,
    zip_mode: bool = False,
    cache_mode: str = "part",
    cache_dir: str = "",
    cache_gb: float = 0.0,
) -> ImageSource:
    """Open the split ``train`` or ``val`` of the data set at ``path``.

    Args:
        dataset: as ``DATA.DATASET`` names it.
        path: the data path.
        split: train or val.
        zip_mode: read train.zip and val.zip with their maps instead.
        cache_mode: what is asked of the memory for these: no, part or full.
        cache_dir: where shards from object storage are kept.
        cache_gb: how much of them; 0 is no limit.

    Raises:
        UserError: the format is unknown or has no archives, or the data does not have its layout, or prepare-data
            has not finished it.
    """
    if dataset not in FORMATS:
        raise UserError(f"DATA.DATASET is {dataset!r}; expected one of {', '.join(FORMATS)}.")
    refuse_unfinished(path, split)
    if not zip_mode:
        fetched = (cache_dir, cache_gb) if dataset in _FETCHED else ()
        return FORMATS[dataset](path, split, *fetched)
    if dataset not in ARCHIVED:
        raise UserError(
            f"DATA.ZIP_MODE is True, but DATA.DATASET is {dataset}, which has no zip archives; set it to False, "
            f"or DATA.DATASET to {' or '.join(ARCHIVED)}."
        )
    return ZipArchive(path, split, cache_mode)


def fingerprint(source: ImageSource, *, in_order: bool = False) -> str:
    """SHA-256, in hexadecimal, of the names of all images with their labels and sizes.

    Sorted, it tells whether two data sets hold the same images under the same labels, wherever they lie; a folder
    and a zip archive of it have the same one. ``in_order`` it tells whether they number them alike too, so that
    what is drawn by number goes on with the same images. It does not see changed bytes of the same number under
    the same name, nor the difference between a byte that is not UTF-8 and a name that spells out how
    ``source.name`` shows it.
    """
    # No file name holds a zero byte, so no name can run into a label.
    facts = enumerate(zip(source.labels.tolist(), source.sizes.tolist(), strict=True))
    lines = [f"{source.name(index)}\0{label}\0{size}\0" for index, (label, size) in facts]
    if not in_order:
        lines.sort()
    return hashlib.sha256("".join(lines).encode("utf-8", "backslashreplace")).hexdigest()


def check_same_classes(train: ImageSource, val: ImageSource) -> None:
    """Refuse splits whose labels mean different classes.

    Raises:
        UserError: a class is in one split only, or has different labels.
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
    for label, (one, other) in enumerate(zip(train.classes, val.classes, strict=False)):
        if one != other:
            raise UserError(
                "DATA.DATA_PATH: train/ and val/ have the same classes under other labels: "
                f"label {label} is {one} in train/ and {other} in val/. Number them in the same way."
            )
