import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from timm.data import ImageNetInfo

from swin_train.data.formats.imagenet22k import ImageNet22K
from swin_train.errors import UserError

Write = Callable[[dict[str, str | bytes]], Path]
LIST = "ILSVRC2011fall_whole_map_train.txt"
ONE, TWO = "fall11_whole/n00004475/n00004475_32.JPEG", "fall11_whole/n00005787/n00005787_13.JPEG"


def open_list(write: Write, items: object) -> ImageNet22K:
    text = items if isinstance(items, str) else json.dumps(items)
    return ImageNet22K(str(write({LIST: text, ONE: "one", TWO: "two"})), "train")


def test_a_list_names_images_and_labels(write: Write) -> None:
    source = open_list(write, [[TWO, 1, "extra"], [ONE, "0"]])

    assert source.num_classes == 21_841
    assert source.classes[:2] == ("n00004475", "n00005787")
    assert source.labels.tolist() == [1, 0]
    assert source.sizes.tolist() == [3, 3]
    assert [source.name(0), source.name(1)] == [f"train/{TWO}", f"train/{ONE}"]
    assert [source.read(0), source.read(1)] == [b"two", b"one"]


def test_two_synsets_are_remapped(write: Write) -> None:
    source = open_list(write, [[ONE, 21_841], [TWO, 21_842]])

    assert source.labels.tolist() == [9_205, 15_027]
    assert [source.classes[label] for label in source.labels] == ["n15102455", "n15102894"]


def test_the_classes_are_the_synsets_that_have_images(write: Write) -> None:
    with_images = ImageNetInfo("imagenet-22k").label_names()

    assert sorted(open_list(write, [[ONE, 0]]).classes) == sorted(with_images)


def test_an_image_that_is_lost_later_is_an_error_and_no_noise(write: Write, tmp_path: Path) -> None:
    source = open_list(write, [[ONE, 0]])
    (tmp_path / ONE).unlink()

    with pytest.raises(FileNotFoundError):
        source.read(0)


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ("[[", r": cannot be read as a JSON list \(Expecting value: line 1"),
        ({"a": 1}, r": holds no list of images; expected \[\[PATH, LABEL\], \.\.\.\]\."),
        ([], r": holds no list of images"),
        ([[ONE, 0], ONE], r": item 2: fall11_whole/.* is not \[PATH, LABEL\]\."),
        ([[0, ONE]], r": item 1: .* is not \[PATH, LABEL\]\."),
        ([[ONE]], r": item 1: .* is not \[PATH, LABEL\]\."),
        ([[ONE, 21_843]], r": item 1: the label is 21843; expected a number from 0 to 21842\."),
        ([[ONE, -1]], r": item 1: the label is -1; expected"),
        ([[ONE, None]], r": item 1: the label is None; expected"),
        ([[ONE, 1.5]], r": item 1: the label is 1\.5; expected"),
        ([[ONE, True]], r": item 1: the label is True; expected"),
        ([[ONE, 0], [ONE, 1]], r": item 2: fall11_whole/.* is item 1 too; keep one of them\."),
        ([["../x.JPEG", 0]], r": item 1: \.\./x\.JPEG leads out of the data"),
        (
            [[ONE, 0], ["n1/x.JPEG", 0], ["n1/y.JPEG", 0]],
            r": 2 images do not exist: n1/x\.JPEG, n1/y\.JPEG\. Restore",
        ),
    ],
)
def test_a_list_that_is_wrong_is_refused(write: Write, items: object, problem: str) -> None:
    with pytest.raises(UserError, match=rf"/{LIST}{problem}"):
        open_list(write, items)


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"has no file {LIST}\. Expected: DATA_PATH/{LIST}, "):
        ImageNet22K(str(tmp_path), "train")


def test_images_that_go_are_noticed_at_the_next_start(write: Write, tmp_path: Path) -> None:
    open_list(write, [[ONE, 0], [TWO, 1]])
    for path in (tmp_path / LIST, (tmp_path / ONE).parent, (tmp_path / TWO).parent):
        os.utime(path, (1e9, 1e9))
    assert ImageNet22K(str(tmp_path), "train").num_images == 2

    (tmp_path / TWO).unlink()

    with pytest.raises(UserError, match=r"1 images do not exist: fall11_whole/n00005787"):
        ImageNet22K(str(tmp_path), "train")
