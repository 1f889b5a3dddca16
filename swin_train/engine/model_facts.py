"""What is known of the model behind a file of weights, from all that says something about it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from swin_train.config import Config
from swin_train.engine.checkpoint import read_train_json
from swin_train.engine.header import sizes_of
from swin_train.errors import UserError
from swin_train.models.build import build_model
from swin_train.weights.architecture import infer_architecture
from swin_train.weights.geometry import position_scales
from swin_train.weights.layouts import Facts, infer_facts
from swin_train.weights.metadata import qk_scale
from swin_train.weights.mismatch import differences
from swin_train.weights.read import Weights


def gather_facts(weights: Weights, recorded: Config | None, cfg: Config | None) -> Facts:
    """Put together what tensors, metadata, the run's recorded configuration and ``cfg`` say of a model.

    Raises:
        UserError: the weights are not those of a Swin, or two of these contradict each other.
    """
    try:
        facts = infer_facts(weights.state, weights.geometry)
    except ValueError as error:
        raise UserError(f"{weights.source}: {error}") from None
    facts = replace(facts, qk_scale=qk_scale(weights.metadata))
    for config, origin in ((recorded, "the configuration recorded beside it"), (cfg, "--cfg")):
        if config is not None:
            sizes = _sizes_by(config, facts, weights, origin)
            facts = _completed(facts, sizes, weights.source, origin)
    return facts


def recorded_config(path: Path) -> Config | None:
    """Return the configuration that a run's checkpoint folder records; None for a file.

    Keys of another version are left out: what they meant is nothing that a model's layout depends on.
    """
    if not path.is_dir():
        return None
    known = dict(Config.walk())
    recorded = _flat(read_train_json(path)["config"])
    return Config({key: value for key, value in recorded if key in known})


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _sizes_by(cfg: Config, facts: Facts, weights: Weights, origin: str) -> dict[str, Any]:
    """Return the sizes of the model that ``cfg`` describes, which must be the file's."""
    is_classes_known = cfg.is_given("MODEL.NUM_CLASSES") and facts.num_classes
    with torch.device("meta"):
        model = build_model(cfg, None if is_classes_known else facts.num_classes)
    target = model.state_dict()
    problems = differences(weights.state, target)
    if problems:
        raise UserError(
            f"{weights.source}: is not of the model that {origin} describes. The file: "
            f"{infer_architecture(weights.state)}. {origin}: {infer_architecture(target)}. {problems}"
        )
    return sizes_of(model, cfg)


def _completed(facts: Facts, sizes: Mapping[str, Any], source: str, origin: str) -> Facts:
    """Add sizes to the facts, and make sure that those which are known already are the same."""
    new: dict[str, Any] = {}
    for name, value in sizes.items():
        known = getattr(facts, name)
        if known is None:
            new[name] = value
        elif known != value and not (name == "pretrained_windows" and _is_same_scale(facts, value)):
            raise UserError(
                f"{source}: {name} is {_listed(known)} by what it holds and {_listed(value)} by {origin}; "
                "give the file and the configuration of one and the same training"
            )
    return replace(facts, **new)


def _is_same_scale(facts: Facts, pretrained_windows: tuple[int, ...]) -> bool:
    """Whether other windows of pre-training mean the same as the known ones: 0 is the stage's own."""
    assert facts.windows is not None
    assert facts.pretrained_windows is not None
    ours, theirs = (position_scales(facts.windows, w) for w in (facts.pretrained_windows, pretrained_windows))
    return ours == theirs


def _listed(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value)
