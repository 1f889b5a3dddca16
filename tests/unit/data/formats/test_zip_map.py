from collections.abc import Callable
from pathlib import Path

import pytest

from swin_train.data.formats.zip_map import class_names_of, read_map
from swin_train.errors import UserError

Write = Callable[[dict[str, str | bytes]], Path]


@pytest.fixture
def classes(write: Write) -> Callable[..., list[str]]:
    """Class names of the map of a split."""

    def classes(split: str, **files: str) -> list[str]:
        root = write({f"{name}.txt": text for name, text in files.items()})
        train = read_map(str(root / "train_map.txt"), "train") if "train_map" in files else None
        own = read_map(str(root / f"{split}_map.txt"), split)
        return class_names_of(str(root), own, None if split == "train" else train)

    return classes


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "./",
        "train/",
        "./train/",
        "train.zip@/",
        "train.zip@",
        "/data/a@b/train.zip@/",
        "train.zip@/train/",
    ],
)
def test_every_form_of_the_references_paths_is_one(write: Write, prefix: str) -> None:
    lines = "".join(f"{prefix}{name}\t{label}\n" for name, label in (("b/1.JPEG", 1), ("a/2.png", 0)))

    images = read_map(str(write({"map": lines}) / "map"), "train")

    assert images.names == ["b/1.JPEG", "a/2.png"]
    assert images.labels == [1, 0]
    assert images.lines == [1, 2]


def test_a_class_called_train_is_no_prefix_unless_all_have_it(write: Write) -> None:
    images = read_map(str(write({"map": "train/1.png\t0\nval/1.png\t1\n"}) / "map"), "train")

    assert images.names == ["train/1.png", "val/1.png"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a/1.txt\t0", r"'a/1\.txt' is no image \(\.jpg "),
        ("a/1.png\tcat", r"the label is 'cat'; expected a number from 0"),
        ("a/1.png\t-1", r"the label is '-1'; expected a number from 0"),
        ("/a/1.png\t0", r"/a/1\.png leads out of the data"),
        ("a/../1.png\t0", r"a/\.\./1\.png leads out of the data"),
        ("train.zip@/../1.png\t0", r"\.\./1\.png leads out of the data"),
        ("a/0.png\t0", r"a/0\.png stands on line 1 too; keep one"),
        ("a/1.png\t", r"has no label"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(write: Write, line: str, problem: str) -> None:
    path = write({"train_map.txt": f"a/0.png\t0\n\n{line}\n"}) / "train_map.txt"

    with pytest.raises(UserError, match=rf"/train_map\.txt:3: .*{problem}"):
        read_map(str(path), "train")


def test_an_empty_map_is_refused(write: Write) -> None:
    with pytest.raises(UserError, match=r"map: names no images; expected lines PATH<tab>LABEL\."):
        read_map(str(write({"map": "\n"}) / "map"), "train")


def test_classes_are_called_as_the_folders_of_the_train_map(classes: Callable) -> None:
    train = "b/1.png\t1\na/1.png\t0\n"

    assert classes("train", train_map=train) == ["a", "b"]
    assert classes("val", train_map=train, val_map="1.png\t1\n") == ["a", "b"]
    assert classes("val", train_map=train, val_map="val/b/1.png\t1\n") == ["a", "b"]


def test_classes_are_called_as_the_own_folders_or_by_number(classes: Callable) -> None:
    assert classes("val", val_map="b/1.png\t1\na/1.png\t0\n") == ["a", "b"]
    assert classes("val", val_map="1.png\t1\n2.png\t0\n") == ["0", "1"]
    assert classes("val", val_map="a/1.png\t1\na/2.png\t0\n", train_map="1.png\t1\n2.png\t0\n") == ["0", "1"]


def test_a_list_of_classes_comes_first(classes: Callable) -> None:
    assert classes("train", train_map="1.png\t0\n2.png\t1\n", classes="x\ny\nz\n") == ["x", "y", "z"]
    with pytest.raises(
        UserError, match=r"label 0 is folder a, but in .*/classes\.txt it is x; both must number"
    ):
        classes("train", train_map="a/1.png\t0\n", classes="x\n")
    with pytest.raises(
        UserError, match=r"_map\.txt:1: the label is 1, but .*classes\.txt has 1 classes, 0 to 0\."
    ):
        classes("train", train_map="1.png\t1\n", classes="x\n")


def test_a_validation_map_that_numbers_otherwise_is_refused(classes: Callable) -> None:
    train = "a/1.png\t0\nb/1.png\t1\n"

    with pytest.raises(
        UserError, match=r"val_map\.txt:1: label 1 is folder a, but in .*/train_map\.txt it is b;"
    ):
        classes("val", train_map=train, val_map="a/1.png\t1\nb/1.png\t0\n")
    with pytest.raises(
        UserError, match=r"val_map\.txt:2: the label is 2, but .*/train_map\.txt has 2 classes, 0 to 1\."
    ):
        classes("val", train_map=train, val_map="1.png\t1\n2.png\t2\n")


def test_numbers_without_images_are_refused(classes: Callable) -> None:
    with pytest.raises(
        UserError, match=r"train_map\.txt: the largest label is 2, but 1 numbers below it label no"
    ):
        classes("train", train_map="a/1.png\t0\nb/1.png\t2\n")
