from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from swin_train.data.formats import FileSpan, fingerprint
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.formats.subset import with_classes, with_fraction
from swin_train.errors import UserError


def fake(counts: list[int]) -> SimpleNamespace:
    """A source that says of each image which it is; image 0 is in shard 0, the next in 1, and again."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    return SimpleNamespace(
        classes=tuple("abcdefg"[: len(counts)]),
        labels=labels,
        sizes=np.arange(len(labels)) + 100,
        num_images=len(labels),
        num_classes=len(counts),
        shards=np.arange(len(labels)) % 2,
        is_near=False,
        read=lambda index: b"%d" % index,
        name=lambda index: f"train/{index}",
        span=lambda index: FileSpan(b"f", index, 1),
    )


def names(source) -> list[str]:
    return [source.name(index) for index in range(source.num_images)]


def test_classes_are_kept_and_numbered_anew_in_the_order_of_the_data() -> None:
    whole = fake([3, 4, 2])

    part = with_classes(whole, ["c", "a"])

    kept = [index for index in range(9) if whole.labels[index] != 1]
    assert part.classes == ("a", "c")
    assert (part.num_images, part.num_classes) == (5, 2)
    assert part.labels.tolist() == [{0: 0, 2: 1}[whole.labels[index]] for index in kept]
    assert part.sizes.tolist() == [100 + index for index in kept]
    assert names(part) == [f"train/{index}" for index in kept]
    assert part.read(3) == b"%d" % kept[3]
    assert part.span(3) == FileSpan(b"f", kept[3], 1)
    assert part.shards.tolist() == [index % 2 for index in kept]
    assert not part.is_near


def test_without_names_and_with_all_images_the_source_is_itself() -> None:
    whole = fake([3, 4])

    assert with_classes(whole, ()) is whole
    assert with_fraction(whole, 1.0, seed=0) is whole


@pytest.mark.parametrize(
    ("name", "advice"), [("catt", "did you mean cat?"), ("zebra", "there are cat, dog.")]
)
def test_an_unknown_class_is_refused(name: str, advice: str) -> None:
    whole = fake([1, 1])
    whole.classes = ("cat", "dog")

    with pytest.raises(UserError) as caught:
        with_classes(whole, ["dog", name])

    assert str(caught.value) == f"DATA.CLASSES: {name!r} is none of the 2 classes; {advice}"


@pytest.mark.parametrize(
    ("fraction", "counts"), [(0.5, [50, 10, 1]), (0.01, [1, 1, 1]), (0.26, [26, 5, 1]), (0.999, [100, 20, 1])]
)
def test_a_fraction_is_taken_of_every_class_but_one_image_at_least(
    fraction: float, counts: list[int]
) -> None:
    part = with_fraction(fake([100, 20, 1]), fraction, seed=0)

    assert np.bincount(part.labels).tolist() == counts
    assert part.classes == ("a", "b", "c")
    assert names(part) == sorted(set(names(part)), key=lambda name: int(name[6:]))


def test_a_class_without_images_stays_without() -> None:
    part = with_fraction(fake([10, 0, 10]), 0.2, seed=0)

    assert np.bincount(part.labels, minlength=3).tolist() == [2, 0, 2]
    assert part.classes == ("a", "b", "c")


def test_a_larger_fraction_holds_the_smaller_and_another_seed_takes_others() -> None:
    small, large, other = (
        set(names(with_fraction(fake([100, 50]), *law))) for law in [(0.1, 1), (0.3, 1), (0.1, 2)]
    )

    assert small < large
    assert len(small & other) < 10  # of 15; about 2 expected


def test_a_fraction_of_some_classes_is_theirs_of_the_whole(digits: Path) -> None:
    whole = ImageFolder(str(digits), "train")

    part = with_fraction(with_classes(whole, ["digit_1", "digit_3"]), 0.3, seed=0)

    assert np.bincount(part.labels).tolist() == [3, 3]
    assert all(name.startswith(("train/digit_1/", "train/digit_3/")) for name in names(part))
    assert fingerprint(part) != fingerprint(whole)
    assert part.shards is None
    assert part.is_near
