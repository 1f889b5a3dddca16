import hashlib
import io

import numpy as np
from PIL import Image

from swin_train.data.formats import synthetic
from swin_train.data.formats.synthetic import Synthetic


def test_it_has_the_size_of_imagenet() -> None:
    train, val = Synthetic("", "train"), Synthetic("", "val")

    assert (train.num_images, val.num_images) == (1_281_167, 50_000)
    assert train.classes == val.classes
    assert train.num_classes == 1_000
    assert np.bincount(val.labels).tolist() == [50] * 1_000
    assert train.name(1_281_166) == "train/1281166.jpg"
    assert train.span(0) is None


def test_its_pictures_are_like_imagenets_in_size() -> None:
    source = Synthetic("", "train")

    pictures = [source.read(index) for index in range(64)]

    assert len(set(pictures)) == 64
    assert source.read(64) == pictures[0]
    assert [len(picture) for picture in pictures] == source.sizes[:64].tolist()
    assert 100_000 < np.mean(source.sizes) < 120_000  # ImageNet: 110 kB, 400 x 350 on average
    assert (
        140_000 < np.mean([np.prod(Image.open(io.BytesIO(picture)).size) for picture in pictures]) < 260_000
    )


def test_the_pictures_are_counted_draws() -> None:
    again = synthetic._picture(5)

    assert again == synthetic._pictures()[5]
    pixels = np.asarray(Image.open(io.BytesIO(again)))
    assert pixels.std() > 20
    assert (
        hashlib.sha256(again).digest() != hashlib.sha256(synthetic._pictures()[13]).digest()
    )  # of the same size
