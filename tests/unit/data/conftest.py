"""Small image folders for the tests of this package."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from swin_train.data.augment import (
    FILTERS,
    Normalize,
    RandomErasing,
    ResizedCrop,
    TrainTransform,
)
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.loader import Batch, TrainFeed
from swin_train.data.mixing import Mixer
from swin_train.data.rand_augment import RandAugment, parse_policy
from swin_train.data.sampler import BatchGeometry
from swin_train.data.workers import TrainImages, WorkerOptions

_CPU = torch.device("cpu")
_NORMALIZE = Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
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


def train_feed(
    source: ImageFolder,
    *,
    workers: int = 0,
    mixing: bool = False,
    max_bad_images: int = 0,
    device: torch.device = _CPU,
    **changes: int,
) -> TrainFeed:
    settings: dict[str, Any] = {
        "num_images": source.num_images,
        "global_batch": 8,
        "world_size": 1,
        "rank": 0,
        "micro_batch": 4,
        "mix_group": 4 if mixing else 0,
        "seed": 1,
    }
    transform = TrainTransform(
        crop=ResizedCrop((12, 12), (0.08, 1.0), (3 / 4, 4 / 3), FILTERS["bicubic"]),
        hflip=0.5,
        colour=RandAugment(parse_policy("rand-m9-mstd0.5-inc1"), (128, 128, 128), FILTERS["bicubic"]),
        normalize=_NORMALIZE,
        erase=RandomErasing(0.25, "pixel", 1),
    )
    mixer = Mixer(0.8, 1.0, None, 1.0, 0.5, "batch", 0.1, source.num_classes, 4, seed=1) if mixing else None
    return TrainFeed(
        TrainImages(source, transform, 3, seed=1),
        BatchGeometry(**{**settings, **changes}),
        mixer=mixer,
        max_bad_images=max_bad_images,
        device=device,
        options=WorkerOptions(workers, 2, pin_memory=device.type == "cuda"),
    )


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.targets, b.targets)
        and torch.equal(a.drop_path_keys, b.drop_path_keys)
        for a, b in zip(first, second, strict=True)
    )


@pytest.fixture(name="train_feed")
def _train_feed() -> Callable[..., TrainFeed]:
    return train_feed


@pytest.fixture(name="same")
def _same() -> Callable[[list[Batch], list[Batch]], bool]:
    return same
