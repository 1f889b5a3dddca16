"""What is known of the model behind a file of weights, from all that says something about it."""

from dataclasses import fields, replace
from typing import Any

import torch

from swin_train.config import Config
from swin_train.errors import UserError
from swin_train.models.build import build_model
from swin_train.weights.architecture import infer_architecture
from swin_train.weights.geometry import Geometry, other_scales
from swin_train.weights.layouts import ModelSpec, infer_spec
from swin_train.weights.mismatch import differences
from swin_train.weights.read import Weights
from swin_train.zoo.load import geometry_of


def gather_spec(weights: Weights, cfg: Config | None) -> ModelSpec:
    """Put together what tensors, metadata and ``cfg`` say of a model.

    Raises:
        UserError: the weights are not those of a Swin, or two of these contradict each other.
    """
    try:
        spec = infer_spec(weights.state, weights.geometry)
    except ValueError as error:
        raise UserError(f"{weights.source}: {error}") from None
    return spec if cfg is None else _completed(spec, _geometry_by(cfg, spec, weights), weights.source)


def _geometry_by(cfg: Config, spec: ModelSpec, weights: Weights) -> Geometry:
    """Return the geometry of the model that ``cfg`` describes, which must be the file's."""
    is_classes_known = cfg.is_given("MODEL.NUM_CLASSES") and spec.num_classes
    with torch.device("meta"):
        model = build_model(cfg, None if is_classes_known else spec.num_classes)
    target = model.state_dict()
    problems = differences(weights.state, target)
    if problems:
        raise UserError(
            f"{weights.source}: is not of the model that --cfg describes. The file: "
            f"{infer_architecture(weights.state)}. --cfg: {infer_architecture(target)}. {problems}"
        )
    return geometry_of(model)


def _completed(spec: ModelSpec, geometry: Geometry, source: str) -> ModelSpec:
    """Add what ``geometry`` knows, and make sure that what is known already is the same."""
    new: dict[str, Any] = {}
    for name in (field.name for field in fields(Geometry)):
        known, said = vars(spec)[name], vars(geometry)[name]
        if known is None:
            new[name] = said
        elif said != known and not _means_the_same(name, spec, geometry):
            raise UserError(
                f"{source}: {name} is {_listed(known)} by what it holds and {_listed(said)} by --cfg; "
                "give the file and the configuration of one and the same training"
            )
    return replace(spec, **new)


def _means_the_same(name: str, one: Geometry, other: Geometry) -> bool:
    """Whether a value that differs changes nothing of what is computed."""
    if name == "window_size":  # where maps bound all windows, any larger size gives the same
        return one.windows == other.windows
    return name in ("pretrained_windows", "qk_scales") and other_scales(one, other) is None


def _listed(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value)
