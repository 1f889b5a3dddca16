"""What the golden tests share: the figures beside this file, and the weights they were measured with.

All figures were measured on the reference implementation of Swin.
"""

import json
import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

HERE = Path(__file__).parent


def formula_tensor(key: str, shape: tuple[int, ...]) -> Tensor:
    """The value of a parameter as a function of its name and shape, so that no weight file is needed."""
    rng = np.random.RandomState(zlib.crc32(key.encode()))
    value = rng.standard_normal(shape).astype(np.float32)
    last = key.rpartition(".")[2]
    if last == "logit_scale":
        value = np.float32(math.log(10)) + np.float32(0.1) * value
    elif last == "relative_position_bias_table":
        pass
    elif last in ("absolute_pos_embed", "mask_token"):
        value = np.float32(0.5) * value
    elif len(shape) >= 2:
        value = value / np.float32(math.sqrt(math.prod(shape[1:])))
    elif last == "weight":
        value = 1 + np.float32(0.1) * value
    else:
        value = np.float32(0.1) * value
    return torch.from_numpy(value)


@pytest.fixture
def formula_state() -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """Makes the formula's state dict for the names and shapes of another."""

    def make(like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: formula_tensor(name, tuple(tensor.shape)) for name, tensor in like.items()}

    return make


@pytest.fixture
def golden() -> Callable[[str], Any]:
    """Reads a .json or .npz file of figures by its name."""

    def read(name: str) -> Any:
        path = HERE / name
        if path.suffix == ".json":
            return json.loads(path.read_text())
        with np.load(path) as figures:
            return dict(figures)

    return read


@pytest.fixture
def golden_images() -> Callable[[int, int], Tensor]:
    """Makes the images that the figures were measured on."""

    def make(count: int, side: int) -> Tensor:
        values = np.random.RandomState(0).standard_normal((count, 3, side, side))
        return torch.from_numpy(values.astype(np.float32))

    return make
