"""What the tests of conversions share: tiny models, and files of them as others publish them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from swin_train.config import Config, load_config
from swin_train.engine.convert import convert
from swin_train.errors import UserError
from swin_train.models.build import build_model


def make_model(cfg: Config) -> nn.Module:
    """A model in which every parameter matters: v2's norms start at zero, and without them nothing would."""
    torch.manual_seed(0)
    model = build_model(cfg, num_classes=3)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model.eval()


def save_published(path: Path, model: nn.Module) -> Path:
    """Save a model as the authors do, with its buffers."""
    buffers = {name: tensor for name, tensor in model.named_buffers() if "stochastic_depth" not in name}
    torch.save({"model": model.state_dict() | buffers}, path)
    return path


@pytest.fixture
def tiny(shape_of: Callable) -> Callable[..., Config]:
    """Makes a configuration of two stages with maps of 8 x 8 and 4 x 4, and windows of 4 in both."""

    def make(family: str, **changes: object) -> Config:
        keys = {"DATA.IMG_SIZE": 16, **shape_of(family)}
        keys |= {name.replace("__", "."): value for name, value in changes.items()}
        return load_config(None, [part for pair in keys.items() for part in pair])

    return make


@pytest.fixture(name="make_model")
def _make_model() -> Callable[[Config], nn.Module]:
    return make_model


@pytest.fixture(name="save_published")
def _save_published() -> Callable[[Path, nn.Module], Path]:
    return save_published


@pytest.fixture(params=("swin", "swinv2"))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(tiny: Callable, family: str) -> nn.Module:
    """The tiny model of a family, of three classes."""
    return make_model(tiny(family))


@pytest.fixture
def published(model: nn.Module, tmp_path: Path) -> Path:
    """A file of that model, with its buffers."""
    return save_published(tmp_path / "published.pth", model)


@pytest.fixture
def fail() -> Callable[..., str]:
    """Convert in vain; return the message. Nothing is written."""

    def run(source: Path, out: Path, to: str, **options: Any) -> str:
        before = sorted(out.parent.iterdir()) if out.parent.is_dir() else []
        with pytest.raises(UserError) as error:
            convert(source, out, to, **options)
        assert error.value.exit_status == 2
        assert before == (sorted(out.parent.iterdir()) if out.parent.is_dir() else [])
        return str(error.value)

    return run


@pytest.fixture
def huggingface_files() -> list[str]:
    """What a folder for Hugging Face holds, by name."""
    return ["config.json", "model.safetensors", "preprocessor_config.json"]


@pytest.fixture
def header() -> Callable[[Path], dict[str, str]]:
    """What a file of weights says beside them."""

    def read(path: Path) -> dict[str, str]:
        with safe_open(path, framework="pt") as content:
            return content.metadata()

    return read
