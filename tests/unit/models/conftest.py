"""What the tests of models share: small models of every family, their images and their configurations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from swin_train.config import Config, load_config
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_mlp import SwinMlp
from swin_train.models.swin_v2 import SwinTransformerV2


@pytest.fixture(params=[SwinTransformer, SwinTransformerV2, SwinMlp])
def family(request: pytest.FixtureRequest) -> type[HierarchicalModel]:
    return request.param


@pytest.fixture
def make_model() -> Callable[..., HierarchicalModel]:
    """Makes a model of two stages; at its 16 pixels the first one has room for a shift."""

    def make(family: type[HierarchicalModel] = SwinTransformer, **changes: Any) -> HierarchicalModel:
        torch.manual_seed(0)
        sizes = {"embed_dim": 8, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4, "num_classes": 5}
        return family(**{"img_size": 16, "patch_size": 2, **sizes, **changes})

    return make


@pytest.fixture
def make_images() -> Callable[..., Tensor]:
    """Makes images of a height and width, always the same ones."""

    def make(height: int = 16, width: int = 16, count: int = 2, channels: int = 3) -> Tensor:
        return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(1))

    return make


@pytest.fixture
def configure() -> Callable[..., Config]:
    """Makes the configuration of a model of two stages; in changes, SECTION is that of its family."""

    def make(family: str, size: tuple[int, int] = (40, 40), **changes: Any) -> Config:
        section = f"MODEL.{family.upper()}."
        keys = {"PATCH_SIZE": 2, "EMBED_DIM": 24, "DEPTHS": (2, 3), "NUM_HEADS": (2, 4), "WINDOW_SIZE": 5}
        keys = {section + key: value for key, value in keys.items()}
        keys |= {"MODEL.TYPE": family, "DATA.IMG_SIZE": size}
        keys |= {
            "MODEL.DROP_PATH_RATE": 0.0,
            "MODEL.NUM_CLASSES": 10,
        }  # stochastic depth keeps 4 bytes an image
        keys |= {key.replace("__", ".").replace("SECTION.", section): value for key, value in changes.items()}
        return load_config(None, [part for item in keys.items() for part in item])

    return make
