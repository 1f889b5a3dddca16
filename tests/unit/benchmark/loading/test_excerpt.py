"""The images that are measured."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swin_train.benchmark.loading.bench import Bench
from swin_train.benchmark.loading.excerpt import Decoded, Excerpt, whole_file, without_bad
from swin_train.errors import UserError


def test_fewer_images_than_there_are_are_different_ones_and_always_the_same(
    make_bench: Callable[..., Bench],
) -> None:
    source = make_bench().source
    excerpt = Excerpt(source, 12)

    names = [excerpt.name(i) for i in range(12)]

    assert (excerpt.num_images, excerpt.num_classes) == (12, 2)
    assert len(set(names)) == 12
    assert names == [Excerpt(source, 12).name(i) for i in range(12)]
    for i, name in enumerate(names):
        assert name.split("/")[1] == source.classes[excerpt.labels[i]]
        assert len(excerpt.read(i)) == excerpt.sizes[i]


def test_more_images_than_there_are_begin_again(make_bench: Callable[..., Bench]) -> None:
    excerpt = Excerpt(make_bench().source, 50)

    assert len({excerpt.name(i) for i in range(20)}) == 20
    assert excerpt.name(45) == excerpt.name(5)
    assert excerpt.read(45) == excerpt.read(5)


def test_an_image_of_a_folder_is_a_file_of_its_own(make_bench: Callable[..., Bench], pictures: Path) -> None:
    excerpt = Excerpt(make_bench().source, 3)

    assert whole_file(excerpt, 2) == pictures / excerpt.name(2)


def test_decoded_images_are_pixels_without_a_file(make_bench: Callable[..., Bench]) -> None:
    decoded = Decoded(Excerpt(make_bench().source, 3), channels=3)

    pixels = np.asarray(decoded.read(1))

    assert (pixels.shape, pixels.dtype) == ((80, 100, 3), np.uint8)
    assert decoded.span(1) is None
    assert whole_file(decoded, 1) is None


def test_images_that_cannot_be_decoded_are_left_out_once(
    make_bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    source = make_bench().source
    names = [source.name(image) for image in range(source.num_images)]
    bad = names[3]
    read = source.read
    source.read = lambda image: b"" if image == 3 else read(image)  # type: ignore[method-assign]

    excerpt = Excerpt(without_bad(source, 20), 40)

    assert {excerpt.name(image) for image in range(40)} == set(names) - {bad}
    assert caplog.messages == [f"left out 1 images that cannot be decoded, among them {bad}"]


def test_a_set_without_any_good_image_is_refused(make_bench: Callable[..., Bench]) -> None:
    source = make_bench().source
    source.read = lambda image: b""  # type: ignore[method-assign]

    with pytest.raises(UserError, match=r"none of 20 images can be decoded; see main\.py verify-data"):
        without_bad(source, 20)
