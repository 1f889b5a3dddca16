"""Twenty small pictures in two classes, and what a benchmark is given of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from swin_train.benchmark.loading.bench import Bench
from swin_train.config import Config, load_config
from swin_train.data.formats import open_split

SMALL = {"DATA.IMG_SIZE": 48, "DATA.BATCH_SIZE": 4}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A data path with train/ and val/, of 10 JPEGs in each of two classes."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a", "b"):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for number in range(10):
                pixels = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
                Image.fromarray(pixels).resize((100, 80)).save(folder / f"{number}.jpg", quality=95)
    return tmp_path / "pictures"


@pytest.fixture
def make_bench(pictures: Path) -> Callable[..., Bench]:
    def configure(changes: Mapping[str, Any]) -> Config:
        keys = SMALL | {"DATA.DATA_PATH": str(pictures)} | dict(changes)
        return load_config(None, [part for key, value in keys.items() for part in (key, value)])

    def make(*, is_eval: bool = False) -> Bench:
        source = open_split("imagenet", str(pictures), "val" if is_eval else "train")
        return Bench(
            configure, source, packed=None, is_eval=is_eval, num_images=12, device=torch.device("cpu")
        )

    return make
