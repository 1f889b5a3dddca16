"""What travels with weights: how to prepare images, and what tensors do not tell of their model."""

import json
from collections.abc import Sequence
from dataclasses import fields

from swin_train.config import Config
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.weights.geometry import Geometry
from swin_train.zoo.load import geometry_of

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


def make_header(cfg: Config, model: HierarchicalModel, class_names: Sequence[str]) -> dict[str, str]:
    """Return what travels with the weights of a run from its beginning to its end, as JSON."""
    names = {"class_names": json.dumps(class_names)}
    return cited_facts(cfg) | names | cited_geometry(geometry_of(model))


def cited_facts(cfg: Config) -> dict[str, str]:
    """Return what of a configuration travels with its weights, as JSON; a square is one side."""
    height, width = cfg.DATA.img_size
    facts = {name: cfg.flat()[key] for name, key in _CITED_KEYS.items()}
    facts["img_size"] = height if height == width else (height, width)
    return {name: json.dumps(value) for name, value in facts.items()}


def cited_geometry(geometry: Geometry) -> dict[str, str]:
    """Return what tensors alone do not tell of a model, as JSON; its image size is among ``cited_facts``."""
    names = (field.name for field in fields(Geometry) if field.name != "img_size")
    known = {name: vars(geometry)[name] for name in names}
    return {name: json.dumps(value) for name, value in known.items() if value is not None}
