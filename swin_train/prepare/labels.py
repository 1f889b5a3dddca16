"""The class of each validation image of ILSVRC 2012, from any of the files that tell it."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from swin_train.data.formats.label_list import read_rows
from swin_train.errors import UserError

_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_META = "meta.mat"
_HEADING = "ImageId"  # of the first column of LOC_val_solution.csv
_MAX_BYTES = 64 << 20
_KINDS = (
    "LOC_val_solution.csv as Kaggle has it, a text file with the lines NAME SYNSET, or the development kit "
    f"ILSVRC2012_devkit_t12 (its .tar.gz or its folder), which holds {_TRUTH} and {_META}"
)


def read_labels(path: Path) -> dict[str, str]:
    """The class of each image by the stem of its name, such as ILSVRC2012_val_00000001.

    Raises:
        UserError: the file cannot be read or is none of those that are known, or scipy, which the development
            kit's MATLAB file needs, is not installed.
    """
    try:
        if path.is_dir():
            return _from_devkit(lambda name: (path / "data" / name).read_bytes(), path)
        if path.name.endswith((".tar.gz", ".tgz")):
            with tarfile.open(path, "r:gz") as tar:
                members = {PurePosixPath(member.name).name: member for member in tar if member.isreg()}
                return _from_devkit(lambda name: _member(tar, members[name]), path)
        return _from_list(path)
    except KeyError as error:
        raise UserError(f"{path}: holds no file {error.args[0]}; give {_KINDS}") from None
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{path}: cannot be read as labels ({error}); give {_KINDS}") from None


def _from_list(path: Path) -> dict[str, str]:
    class_of: dict[str, str] = {}
    for row in read_rows(str(path)):
        if not row.name:
            raise UserError(
                f"{path}: holds numbers without names, which only {_META} of the development kit explains (they "
                "are not those of LOC_synset_mapping.txt); give the kit's folder or .tar.gz"
            )
        stem = PurePosixPath(row.name).stem
        if stem != _HEADING and class_of.setdefault(stem, row.label) != row.label:
            raise UserError(f"{path}:{row.line}: {row.name} has two classes; keep one of them")
    return class_of


def _from_devkit(read: Callable[[str], bytes], path: Path) -> dict[str, str]:
    try:
        from scipy.io import loadmat  # type: ignore[import-untyped]
    except ImportError:
        raise UserError(
            f"{path}: {_META} is a MATLAB file, which needs scipy (pip install scipy); or give "
            "LOC_val_solution.csv or a text file with the lines NAME SYNSET"
        ) from None
    try:
        synsets = loadmat(io.BytesIO(read(_META)), squeeze_me=True)["synsets"]
        synset_of = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
        numbers = [int(line) for line in read(_TRUTH).split()]
        return {f"ILSVRC2012_val_{i:08}": synset_of[number] for i, number in enumerate(numbers, start=1)}
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(f"{path}: {_META} or {_TRUTH} is damaged ({error}); copy the kit again") from None


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read(_MAX_BYTES)
