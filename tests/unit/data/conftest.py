"""Small image folders for the tests of this package."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swin_train.data.formats.image_folder import ImageFolder

MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Writes SPLIT/CLASS/N.png files of noise and returns the data path."""

    def make(counts: dict[str, int], split: str = "train", side: int = 20) -> Path:
        rng = np.random.default_rng(0)
        for name, count in counts.items():
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
        return tmp_path

    return make


@pytest.fixture
def source(make_folder: MakeFolder) -> ImageFolder:
    """A training set of 21 images in 3 classes."""
    return ImageFolder(str(make_folder({"a": 7, "b": 6, "c": 8})), "train")
