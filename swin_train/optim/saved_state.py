"""An optimizer's state under the names of its parameters: tensors apart, everything else as JSON."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from swin_train.errors import UserError

# What parameter_groups and the configuration set anew at every launch.
_NOT_SAVED = {
    "params",
    "names",
    "name",
    "lr",
    "initial_lr",
    "lr_scale",
    "weight_decay",
    "momentum",
    "betas",
    "eps",
    "momentum_dtype",  # of timm's AdafactorBigVision: not JSON, and the same whenever it is made
}


def save_optimizer(optimizer: Optimizer, model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state of ``optimizer`` in a form that needs no pickle.

    Returns:
        Its tensors by name, and a JSON value that says where each of them belongs.

    Raises:
        UserError: the state holds something that is neither a tensor nor plain data.
    """
    state = optimizer.state_dict()
    names = _names_in_order(optimizer, model)
    tensors: dict[str, Tensor] = {}
    record = {
        "optimizer": _kind(optimizer),
        "state": {names[i]: _split(values, names[i], tensors) for i, values in state["state"].items()},
        "groups": [
            _split(
                {key: value for key, value in group.items() if key not in _NOT_SAVED}, f"group.{i}", tensors
            )
            for i, group in enumerate(state["param_groups"])
        ],
    }
    return tensors, record


def fit_optimizer_state(
    optimizer: Optimizer, model: nn.Module, tensors: Mapping[str, Tensor], record: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what ``optimizer.load_state_dict`` takes, with the values that ``save_optimizer`` returned.

    Raises:
        UserError: they are of another optimizer or of other parameters.
    """
    names = _names_in_order(optimizer, model)
    state = optimizer.state_dict()
    unknown = sorted(set(record["state"]) - set(names))
    if record["optimizer"] != _kind(optimizer):
        raise UserError(
            f"checkpoint: it was saved with the optimizer {record['optimizer']}, this run's is "
            f"{_kind(optimizer)}; resume with the TRAIN.OPTIMIZER it was saved with, or start under another TAG"
        )
    if unknown or len(record["groups"]) != len(state["param_groups"]):
        what = f", {unknown[0]} first," if unknown else ""
        raise UserError(
            f"checkpoint: it holds optimizer state of {len(unknown)} parameter(s){what} that this run does not "
            f"train, in {len(record['groups'])} groups instead of {len(state['param_groups'])}; resume with the "
            f"TRAIN.FREEZE and TRAIN.LAYER_DECAY it was saved with"
        )
    state["state"] = {
        i: _join(record["state"][name], tensors) for i, name in enumerate(names) if name in record["state"]
    }
    for group, saved in zip(state["param_groups"], record["groups"], strict=True):
        group.update(_join(saved, tensors))
    return state


def place_of_state(name: str, meta: Tensor, model: nn.Module) -> Tensor:
    """Return an empty tensor for a tensor of the state, spread over processes as its parameter is.

    Args:
        name: as ``save_optimizer`` gave it: that of the parameter, and what it is of it.
        meta: of the shape and type that it was saved in.
        model: whose parameters the optimizer trains.
    """
    parameters = dict(model.named_parameters())
    owner = name
    while owner and owner not in parameters:
        owner = owner.rpartition(".")[0]
    parameter = parameters.get(owner)
    if isinstance(parameter, DTensor) and parameter.shape == meta.shape:
        return torch.empty_like(parameter, dtype=meta.dtype, requires_grad=False)
    return torch.empty_like(meta, device="cpu")


def _kind(optimizer: Optimizer) -> str:
    base = getattr(optimizer, "_base_optimizer", None)  # timm's Lookahead wraps another
    name = type(optimizer).__name__
    return name if base is None else f"{name} of {type(base).__name__}"


def _names_in_order(optimizer: Optimizer, model: nn.Module) -> list[str]:
    """Names of the parameters in the order in which state dicts of optimizers number them."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]


def _split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Put the tensors of ``value`` aside, and return the rest as JSON with references to them."""
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, Mapping):
        return {"dict": {key: _split(item, f"{path}.{key}", tensors) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_split(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UserError(
        f"TRAIN.OPTIMIZER.NAME: the state of this optimizer holds a {type(value).__name__} ({path}), which a "
        f"checkpoint cannot hold; choose another, such as adamw"
    )


def _join(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _join(item, tensors) for key, item in content.items()}
    items = [_join(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)
