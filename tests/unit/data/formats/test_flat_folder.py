import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swin_train.data.formats import open_split
from swin_train.data.formats.flat_folder import LABEL_FILES, FlatFolder
from swin_train.errors import UserError

Write = Callable[[dict[str, str | bytes]], Path]
IMAGES = {f"val/ILSVRC2012_val_0000000{number}.JPEG": f"image {number}" for number in (1, 2, 3)}
TRAIN = {"train/n01/x.JPEG": "x", "train/n02/x.JPEG": "x"}
BY_NAME = "ILSVRC2012_val_00000003.JPEG\tn01\nILSVRC2012_val_00000001.JPEG\tn02\nILSVRC2012_val_00000002.JPEG\tn02\n"


def open_flat(root: Path) -> FlatFolder:
    source = open_split("imagenet", str(root), "val")
    assert isinstance(source, FlatFolder)
    return source


def test_images_side_by_side_are_read_with_the_classes_of_the_training_folders(write: Write) -> None:
    root = write({**IMAGES, **TRAIN, "val/.hidden.JPEG": "", "val/readme.txt": "", "val_map.txt": BY_NAME})

    source = open_flat(root)

    assert source.classes == ("n01", "n02")
    assert source.labels.tolist() == [1, 1, 0]
    assert source.labels.dtype == np.int64
    assert [source.name(i) for i in range(source.num_images)] == list(IMAGES)
    assert [source.read(i) for i in range(3)] == [b"image 1", b"image 2", b"image 3"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("val_map.txt", BY_NAME),
        ("val_map.txt", BY_NAME.replace("\t", " ").replace("ILS", "val/ILS")),
        ("val_map.txt", BY_NAME.replace("n01", "0").replace("n02", "1")),
        ("val/labels.csv", BY_NAME.replace("\t", ",")),
        (
            "LOC_val_solution.csv",
            "ImageId,PredictionString\nILSVRC2012_val_00000001,n02 85 1 499 272 \n"
            "ILSVRC2012_val_00000003,n01 1 2 3 4 n01 5 6 7 8 \nILSVRC2012_val_00000002,n02 1 2 3 4 \n",
        ),
        ("imagenet_2012_validation_synset_labels.txt", "n02\nn02\nn01\n"),
        ("val/labels.txt", "1\n1\n0\n"),
    ],
)
def test_every_form_of_labels_file(write: Write, name: str, text: str) -> None:
    assert open_flat(write({**IMAGES, **TRAIN, name: text})).labels.tolist() == [1, 1, 0]


def test_the_devkits_numbers_need_its_synsets(write: Write) -> None:
    truth = "ILSVRC2012_validation_ground_truth.txt"
    root = write({**IMAGES, **TRAIN, truth: "1\n1\n2\n"})

    with pytest.raises(
        UserError,
        match=r"numbers the classes from 1 .* Put ILSVRC2012_ids\.txt beside it, with a line 'NUMBER SYN",
    ):
        open_flat(root)
    write({"ILSVRC2012_ids.txt": "1 n02\n2 n01\n"})
    assert open_flat(root).labels.tolist() == [1, 1, 0]
    write({truth: "1\n1\n3\n"})
    with pytest.raises(UserError, match=rf"{truth}:3: '3' is no number of .*/ILSVRC2012_ids\.txt\."):
        open_flat(root)


def test_without_training_folders_classes_come_from_the_synsets_or_the_labels(write: Write) -> None:
    root = write({**IMAGES, "val_map.txt": BY_NAME})

    assert open_flat(root).classes == ("n01", "n02")
    write({"LOC_synset_mapping.txt": "n00 thing, object\nn01 cat\nn02 dog\n"})
    assert open_flat(root).classes == ("n00", "n01", "n02")
    assert open_flat(root).labels.tolist() == [2, 2, 1]


def test_without_names_classes_are_numbers(write: Write) -> None:
    root = write({**IMAGES, "labels.txt": "1\n1\n0\n"})

    assert open_flat(root).classes == ("0", "1")
    write({"labels.txt": "2\n1\n1\n"})
    with pytest.raises(
        UserError, match=r"labels\.txt: the largest label is 2, but 1 numbers below it label no image"
    ):
        open_flat(root)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1\n0\n", r": holds 2 labels for 3 images; expected one for each\."),
        (
            BY_NAME.replace("3.JPEG", "4.JPEG"),
            r":1: 'ILSVRC2012_val_00000004\.JPEG' is no image of the folder\.",
        ),
        (
            BY_NAME.replace("1.JPEG", "3.JPEG"),
            r":2: ILSVRC2012_val_00000003\.JPEG has a label on line 1 too\.",
        ),
        (BY_NAME[: BY_NAME.rindex("ILS")], r": 1 images have no label: ILSVRC2012_val_00000002\.JPEG\."),
        (
            BY_NAME.replace("n01", "n03"),
            r":1: the label 'n03' is not like the others; expected classes \(n01, n02\) on",
        ),
        ("0\n1\n2\n", r":3: the label '2' is not like .* or on all numbers from 0 to 1\."),
        ("0\n1\nn01\n", r":3: the label 'n01' is not like the others"),
        ("", r": holds 0 labels for 3 images"),
    ],
)
def test_labels_that_do_not_fit_are_refused(write: Write, text: str, problem: str) -> None:
    root = write({**IMAGES, **TRAIN, "val_map.txt": text})

    with pytest.raises(UserError, match=rf"/val_map\.txt{problem}"):
        open_flat(root)


def test_labels_with_two_meanings_are_refused(write: Write) -> None:
    train = {f"train/{name}/x.JPEG": "" for name in ("1", "2", "10")}

    with pytest.raises(
        UserError, match=r"can be read as class names \(1, 10, 2\) and as numbers of classes, which"
    ):
        open_flat(write({**IMAGES, **train, "labels.txt": "1\n2\n2\n"}))


def test_no_labels_file_and_two_are_refused(write: Write) -> None:
    root = write({**IMAGES, **TRAIN})

    with pytest.raises(
        UserError, match=rf"no labels file lies in it or beside it \({', '.join(LABEL_FILES)}\)"
    ):
        open_flat(root)
    write({"val_map.txt": BY_NAME, "val/labels.txt": "0\n0\n0\n"})
    with pytest.raises(
        UserError, match=r"val: has 2 labels files: .*val_map\.txt, .*val/labels\.txt\. Keep one"
    ):
        open_flat(root)


def test_a_changed_labels_file_is_read_again(write: Write) -> None:
    root = write({**IMAGES, **TRAIN, "labels.txt": "1\n1\n0\n"})
    for path in (root / "labels.txt", root / "val", root / "train"):
        os.utime(path, (1e9, 1e9))
    assert open_flat(root).labels.tolist() == [1, 1, 0]

    write({"labels.txt": "0\n1\n0\n"})

    assert open_flat(root).labels.tolist() == [0, 1, 0]
