"""What the tests of loading share: tiny models, and a file of one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_mlp import SwinMlp
from swin_train.models.swin_v2 import SwinTransformerV2
from swin_train.weights.read import Weights, read_weights
from swin_train.weights.write import write_weights
from swin_train.zoo.load import fit_exactly, load_pretrained

FAMILIES = {"swin": SwinTransformer, "swinv2": SwinTransformerV2, "swin_mlp": SwinMlp}


def make_model(seed: int, family: str = "swin", **changes: Any) -> HierarchicalModel:
    """Return a model of two stages under windows of 4."""
    torch.manual_seed(seed)
    sizes = {"img_size": 16, "patch_size": 2, "embed_dim": 8, "depths": (2, 1), "num_heads": (2, 4)}
    return FAMILIES[family](**{**sizes, "window_size": 4, "num_classes": 5, **changes})


def load_exact(model: HierarchicalModel, path: Path) -> Weights:
    """Make a model what the file holds; return what the file held."""
    weights = read_weights(path)
    fit_exactly(model, weights)
    return weights


@pytest.fixture
def source() -> HierarchicalModel:
    """The model whose weights are loaded."""
    return make_model(seed=1)


@pytest.fixture
def path(tmp_path: Path, source: HierarchicalModel) -> Path:
    """A file of that model."""
    path = tmp_path / "w.safetensors"
    write_weights(path, source.state_dict(), {"epoch": "3"})
    return path


@pytest.fixture(name="make_model")
def _make_model() -> Callable[..., HierarchicalModel]:
    return make_model


@pytest.fixture(name="load_exact")
def _load_exact() -> Callable[[HierarchicalModel, Path], Weights]:
    return load_exact


@pytest.fixture(params=[load_pretrained, load_exact])
def load(request: pytest.FixtureRequest) -> Callable[[HierarchicalModel, Path], object]:
    """Either way of loading."""
    return request.param
