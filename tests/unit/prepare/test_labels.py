"""The classes of ILSVRC's validation images, from each of the files that tell them."""

import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from swin_train.errors import UserError
from swin_train.prepare.labels import read_labels

EXPECTED = {"ILSVRC2012_val_00000001": "n03", "ILSVRC2012_val_00000002": "n01"}


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """A development kit of three synsets, whose numbers are not in their order, and one of their parents."""
    from scipy.io import savemat

    (tmp_path / "kit/data").mkdir(parents=True)
    synsets = np.zeros(4, dtype=[("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("num_children", "i4")])
    for row, (number, name, children) in zip(
        synsets, [(1, "n02", 0), (2, "n01", 0), (3, "n03", 0), (4, "n00", 3)], strict=True
    ):
        row["ILSVRC2012_ID"], row["WNID"], row["num_children"] = number, name, children
    savemat(tmp_path / "kit/data/meta.mat", {"synsets": synsets})
    (tmp_path / "kit/data/ILSVRC2012_validation_ground_truth.txt").write_text("3\n2\n")
    return tmp_path / "kit"


def test_the_development_kit_as_folder_and_as_archive(devkit: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "kit.tar.gz", "w:gz") as tar:
        tar.add(devkit, "ILSVRC2012_devkit_t12")

    assert read_labels(devkit) == EXPECTED
    assert read_labels(tmp_path / "kit.tar.gz") == EXPECTED


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "LOC_val_solution.csv",
            "ImageId,PredictionString\n"
            "ILSVRC2012_val_00000002,n01 1 2 3 4 n01 5 6 7 8 \nILSVRC2012_val_00000001,n03 85 1 499 272 \n",
        ),
        ("own.txt", "ILSVRC2012_val_00000001.JPEG n03\nILSVRC2012_val_00000002.JPEG n01\n"),
        ("own.tsv", "ILSVRC2012_val_00000001\tn03\n\nILSVRC2012_val_00000002\tn01"),
    ],
)
def test_lists_of_names_and_classes(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)

    assert read_labels(tmp_path / name) == EXPECTED


def test_without_scipy_other_files_are_asked_for(devkit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)

    with pytest.raises(UserError) as error:
        read_labels(devkit)

    assert str(error.value) == (
        f"{devkit}: meta.mat is a MATLAB file, which needs scipy (pip install scipy); or give "
        "LOC_val_solution.csv or a text file with the lines NAME SYNSET"
    )


def test_numbers_alone_are_not_taken_for_anything(devkit: Path) -> None:
    path = devkit / "data/ILSVRC2012_validation_ground_truth.txt"

    with pytest.raises(
        UserError, match=r"holds numbers without names, which only meta.mat of the development kit"
    ):
        read_labels(path)


@pytest.mark.parametrize("damage", ["meta.mat", "ILSVRC2012_validation_ground_truth.txt"])
def test_a_damaged_kit_is_an_error(damage: str, devkit: Path) -> None:
    (devkit / "data" / damage).write_bytes(b"\xff\xfe nothing of the kind")

    with pytest.raises(UserError, match=r"kit: .*(is damaged|cannot be read)"):
        read_labels(devkit)


def test_a_kit_without_its_files_is_an_error(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "kit.tar.gz", "w:gz"):
        pass

    with pytest.raises(UserError, match=r"kit.tar.gz: holds no file meta.mat; give LOC_val_solution.csv"):
        read_labels(tmp_path / "kit.tar.gz")
    with pytest.raises(UserError, match=r"cannot be read as labels \(.*No such file"):
        read_labels(tmp_path)


def test_two_classes_for_one_image_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("a.JPEG n01\na.JPEG n02\n")

    with pytest.raises(UserError, match=r"own.txt:2: a.JPEG has two classes; keep one of them"):
        read_labels(tmp_path / "own.txt")
