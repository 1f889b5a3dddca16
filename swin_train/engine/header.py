"""What travels with weights in the header of their file: how to prepare images, and sizes tensors do not tell."""

import json
from collections.abc import Mapping
from typing import Any

from swin_train.config import Config
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.swin_v2 import SwinTransformerV2

_CITED_KEYS = {
    "model": "MODEL.NAME",
    "img_size": "DATA.IMG_SIZE",
    "interpolation": "DATA.INTERPOLATION",
    "crop": "TEST.CROP",
    "mean": "DATA.MEAN",
    "std": "DATA.STD",
    "padding": "MODEL.PADDING",
}
# Those in which an evaluation should be like the training: its crop is its own, and a name changes nothing.
INPUT_KEYS = {name: key for name, key in _CITED_KEYS.items() if name not in ("model", "crop")}

# ``read_geometry`` reads the windows, ``gather_facts`` the scale.
_CITED_SIZES = ("windows", "pretrained_windows", "qk_scale")


def cited_facts(cfg: Config) -> dict[str, str]:
    """Return what of a configuration travels with its weights, as JSON; a square is one side."""
    height, width = cfg.DATA.img_size
    facts = {name: cfg.flat()[key] for name, key in _CITED_KEYS.items()}
    facts["img_size"] = height if height == width else (height, width)
    return {name: json.dumps(value) for name, value in facts.items()}


def cited_sizes(sizes: Mapping[str, Any]) -> dict[str, str]:
    """Return those of a model's sizes that tensors alone do not tell, as JSON, where they are known."""
    return {name: json.dumps(sizes[name]) for name in _CITED_SIZES if sizes.get(name) is not None}


def sizes_of(model: HierarchicalModel, cfg: Config) -> dict[str, Any]:
    """Return sizes of a model, built from ``cfg``, by their names in ``Facts``."""
    sizes: dict[str, Any] = {
        "windows": tuple(stage.window for stage in model.layers),
        "img_size": model.img_size,
    }
    if isinstance(model, SwinTransformerV2):
        sizes["pretrained_windows"] = model.pretrained_window_sizes
    if cfg.MODEL.TYPE == "swin":
        sizes["qk_scale"] = cfg.MODEL.SWIN.QK_SCALE
    return sizes
