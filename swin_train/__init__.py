"""Train, evaluate and fine-tune Swin Transformers.

The names below are the public library. They are imported when they are first used, so that
``import swin_train`` is instant and does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swin_train.config import Config, ConfigError, load_config
    from swin_train.engine.evaluate import evaluate
    from swin_train.engine.train import train
    from swin_train.errors import UserError
    from swin_train.models.build import build_model
    from swin_train.zoo.create import create_model
    from swin_train.zoo.published import ModelCard, list_models

__version__ = "0.1.0"

__all__ = [
    "Config",
    "ConfigError",
    "ModelCard",
    "UserError",
    "__version__",
    "build_model",
    "create_model",
    "evaluate",
    "list_models",
    "load_config",
    "train",
]

_HOME = {
    "Config": "swin_train.config",
    "ConfigError": "swin_train.config",
    "ModelCard": "swin_train.zoo.published",
    "UserError": "swin_train.errors",
    "build_model": "swin_train.models.build",
    "create_model": "swin_train.zoo.create",
    "evaluate": "swin_train.engine.evaluate",
    "list_models": "swin_train.zoo.published",
    "load_config": "swin_train.config",
    "train": "swin_train.engine.train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
