"""Names that are written are made here; what an archive calls its members leads nowhere."""

from types import SimpleNamespace

import numpy as np
import pytest

from swin_train.prepare.names import FileNames, class_folders


def named(names: list[str], labels: list[int] | None = None, *, with_dots: bool = True) -> list[str]:
    labels = [0] * len(names) if labels is None else labels
    source = SimpleNamespace(
        num_images=len(names), num_classes=max(labels) + 1, labels=np.array(labels), name=names.__getitem__
    )
    found = FileNames(source, with_dots=with_dots)  # type: ignore[arg-type]
    return [found[i] for i in range(len(names))]


def test_good_names_stay() -> None:
    names = ["train/a/n01440764_10026.JPEG", "train/a/sub/x y.b.png", "train/a/\u00e9.jpg"]

    assert named(names) == ["n01440764_10026.JPEG", "x y.b.png", "\u00e9.jpg"]


@pytest.mark.parametrize(
    "bad",
    [
        "..", ".", "", ".hidden.jpg", "-rf.jpg", "a\\b.jpg", "a:b.jpg", "a\nb.jpg", "a\0b.jpg", "a\tb.jpg",
        "x" * 300 + ".jpg", " .jpg", "con?.jpg", "..\\..\\x.jpg", "\udcff.jpg",
    ],
)  # fmt: skip
def test_bad_names_become_running_numbers(bad: str) -> None:
    first, second = named(["val/a/good.jpg", f"val/a/{bad}"])

    assert first == "good.jpg"
    assert second == "00000001" + (".jpg" if bad.endswith(".jpg") and bad != ".jpg" else "")


def test_the_same_stem_twice_in_a_class_becomes_running_numbers() -> None:
    names = ["t/a/1/x.jpg", "t/a/2/X.png", "t/b/x.jpg", "t/a/00000000.jpg"]

    assert named(names, [0, 0, 1, 0]) == ["00000000_.jpg", "00000001.png", "x.jpg", "00000000.jpg"]


def test_stems_without_dots_are_unique_too() -> None:
    assert named(["t/a.b.jpg", "t/a_b.jpg", "t/c.d.png"], with_dots=False) == [
        "00000000.jpg",
        "00000001.jpg",
        "c_d.png",
    ]


def test_class_folders_are_the_classes_names_where_their_order_is_that_of_the_labels() -> None:
    assert class_folders(("n01", "n02", "tench, Tinca tinca")) == ("n01", "n02", "tench, Tinca tinca")


@pytest.mark.parametrize(
    ("classes", "folders"),
    [
        (("b", "a"), ("0_b", "1_a")),
        (("crane", "crane"), ("0_crane", "1_crane")),
        (("A", "a"), ("0_A", "1_a")),
        (("../x", "y"), ("0_x", "1_y")),
        (("..", "y"), ("0", "1_y")),
        (("a/b c", "y\n"), ("0_a_b_c", "1_y")),
        (tuple(map(str, range(11))), (*(f"0{i}_{i}" for i in range(10)), "10_10")),
    ],
)
def test_other_classes_get_numbered_folders(classes: tuple[str, ...], folders: tuple[str, ...]) -> None:
    assert class_folders(classes) == folders
    assert sorted(folders) == list(folders)
