"""The images that are measured."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from swin_train.benchmark.bench import Bench
from swin_train.benchmark.excerpt import Decoded, Excerpt, whole_file


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
