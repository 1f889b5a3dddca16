"""Which parameters decay, and how fast each learns."""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

_BLOCK = re.compile(r"layers\.(\d+)\.blocks\.(\d+)\.")
_MERGING = re.compile(r"layers\.(\d+)\.downsample\.")


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer; frozen parameters are in none.

    Weight decay spares vectors, biases, and what the model lists in ``no_weight_decay_names`` (whole names)
    and ``no_weight_decay_keywords`` (parts of names).

    Args:
        model: not wrapped, so that its names are the published ones.
        weight_decay: of those that decay.
        layer_decay: below 1, each layer learns slower by this factor than the one after it.

    Returns:
        Groups with "name", "params", their "names", "weight_decay" and "lr_scale". Without layer
        decay the first holds what decays, the second the rest; with it there are two for each layer.

    Raises:
        ValueError: every parameter is frozen.

    Source: the official ``optimizer.py``; for the layers SimMIM's fine-tuning (absolute positions and the
    head count as the last layer).
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError("parameter_groups: no parameter of the model requires a gradient")
    exact: Iterable[str] = getattr(model, "no_weight_decay_names", ())
    keywords: Iterable[str] = getattr(model, "no_weight_decay_keywords", ())
    depths = _depths(name for name, _ in model.named_parameters())
    last_layer = sum(depths) + 1

    groups: dict[str, dict[str, Any]] = {}
    if layer_decay == 1.0:
        # The reference's order, whatever comes first in the model.
        groups = {"decay": {}, "no_decay": {}}
    for name, parameter in trainable.items():
        spared = (
            parameter.ndim == 1
            or name.endswith(".bias")
            or name in exact
            or any(word in name for word in keywords)
        )
        kind = "no_decay" if spared else "decay"
        layer = _layer(name, depths)
        key = kind if layer_decay == 1.0 else f"layer_{layer}_{kind}"
        group = groups.setdefault(key, {})
        if not group:
            scale = layer_decay ** (last_layer - layer)
            decay = 0.0 if spared else weight_decay
            group.update(name=key, params=[], names=[], weight_decay=decay, lr_scale=scale)
        group["params"].append(parameter)
        group["names"].append(name)
    return [group for group in groups.values() if group]


def _depths(names: Iterable[str]) -> list[int]:
    """Number of blocks of each stage."""
    blocks = {(int(found[1]), int(found[2])) for name in names if (found := _BLOCK.match(name))}
    num_stages = 1 + max((stage for stage, _ in blocks), default=-1)
    return [sum(stage == s for s, _ in blocks) for stage in range(num_stages)]


def _layer(name: str, depths: list[int]) -> int:
    """Place of a parameter: 0 for the patch embedding, then one per block, then one for all the rest."""
    if name.startswith("patch_embed.") or name == "mask_token":
        return 0
    if found := _BLOCK.match(name):
        return sum(depths[: int(found[1])]) + int(found[2]) + 1
    if found := _MERGING.match(name):
        return sum(depths[: int(found[1]) + 1])
    return sum(depths) + 1
