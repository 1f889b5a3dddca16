"""Small image folders for the tests of this package."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.images import TrainImages
from swin_train.data.loader import Batch, Batches, Finisher, TrainFeed
from swin_train.data.mixing import Mixer
from swin_train.data.native.library import unavailable
from swin_train.data.pipelines.exact import ExactTrain, Normalize
from swin_train.data.pipelines.native import NativeTrain
from swin_train.data.pipelines.pipeline import Pipeline
from swin_train.data.pipelines.portable import PortableTrain
from swin_train.data.recipe.crop import ResizedCrop
from swin_train.data.recipe.erasing import RandomErasing
from swin_train.data.recipe.rand_augment import RandAugment, parse_policy
from swin_train.data.recipe.view import FILTERS, Recipe
from swin_train.data.sampler import BatchGeometry, EpochSampler
from swin_train.data.threads import Threads
from swin_train.data.workers import WorkerOptions, Workers
from swin_train.kernels.augment import Normalisation

_CPU = torch.device("cpu")
_MEAN, _STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Writes SPLIT/CLASS/N.png files of noise, JPEGs in class b, and returns the data path."""

    def make(counts: dict[str, int], split: str = "train", side: int = 20) -> Path:
        rng = np.random.default_rng(0)
        for name, count in counts.items():
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.{'jpg' if name == 'b' else 'png'}")
        return tmp_path

    return make


@pytest.fixture
def source(make_folder: MakeFolder) -> ImageFolder:
    """A training set of 21 images in 3 classes."""
    return ImageFolder(str(make_folder({"a": 7, "b": 6, "c": 8})), "train")


def train_feed(
    source: ImageFolder,
    *,
    backend: str = "exact",
    workers: int = 0,
    timeout_s: float = 60,
    mixing: bool = False,
    max_bad_images: int = 0,
    device: torch.device = _CPU,
    on_device: bool = False,
    plain: bool = False,
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
    recipe = Recipe(
        size=(12, 12),
        crop=ResizedCrop((0.08, 1.0), (3 / 4, 4 / 3), FILTERS["bicubic"]),
        hflip=0.0 if plain else 0.5,
        policy=None if plain else RandAugment(parse_policy("rand-m9-mstd0.5-inc1"), FILTERS["bicubic"]),
        erasing=None if plain else RandomErasing(0.25, "pixel", 1),
    )
    normalisation = Normalisation(torch.tensor(_MEAN), torch.tensor(_STD))
    here, fill = None if on_device else normalisation, (128, 128, 128)
    mixer = Mixer(0.8, 1.0, None, 1.0, 0.5, "batch", 0.1, source.num_classes, 4, seed=1) if mixing else None
    sampler = EpochSampler(BatchGeometry(**{**settings, **changes}))
    prepared: Batches
    if backend == "native":
        if problem := unavailable():
            pytest.skip(f"the native extension {problem}")
        images = NativeTrain(source, 3, recipe, here, max(1, workers), 1, fill, "pixel")
        prepared = Threads(images, sampler, prefetch=2, timeout_s=timeout_s)
    else:
        pipeline: Pipeline = ExactTrain(recipe, Normalize(_MEAN, _STD), fill)
        if backend == "portable":
            pipeline = PortableTrain(recipe, fill, "pixel", here)
        options = WorkerOptions(workers, 2, pin_memory=device.type == "cuda", timeout_s=timeout_s)
        prepared = Workers(TrainImages(source, pipeline, 3, seed=1), sampler, options)
    return TrainFeed(
        prepared,
        sampler,
        source,
        mixer=mixer,
        max_bad_images=max_bad_images,
        finisher=Finisher(device, normalisation.to(device)),
    )


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.targets, b.targets)
        and torch.equal(a.drop_path_keys, b.drop_path_keys)
        for a, b in zip(first, second, strict=True)
    )


@pytest.fixture(name="train_feed", params=["exact", "portable", "native"])
def _train_feed(request: pytest.FixtureRequest) -> Callable[..., TrainFeed]:
    """Makes training feeds, by each back end in turn."""
    return partial(train_feed, backend=request.param)


@pytest.fixture
def process_feed() -> Callable[..., TrainFeed]:
    """Makes training feeds whose workers are processes."""
    return train_feed


@pytest.fixture(name="same")
def _same() -> Callable[[list[Batch], list[Batch]], bool]:
    return same
