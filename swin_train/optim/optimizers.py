"""The table of optimizers, and how a configuration becomes one of them."""

import difflib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import SGD, AdamW, Optimizer

from swin_train.config import Config
from swin_train.errors import UserError
from swin_train.kernels.apex import apex_class
from swin_train.optim.groups import parameter_groups

logger = logging.getLogger(__name__)

_FUSED_DEVICES = {"cuda", "cpu", "mps"}  # where torch updates all parameters in one kernel


@dataclass(frozen=True)
class Settings:
    """What an optimizer may want to know, from TRAIN and TRAIN.OPTIMIZER; ``device`` holds the parameters."""

    lr: float
    weight_decay: float
    momentum: float
    eps: float
    betas: tuple[float, float]
    device: torch.device


Groups = list[dict[str, Any]]


def build_optimizer(cfg: Config, model: torch.nn.Module, base_lr: float, device: torch.device) -> Optimizer:
    """The optimizer that TRAIN.OPTIMIZER names, over the model's parameter groups.

    Args:
        cfg: the configuration.
        model: not wrapped, on ``device``.
        base_lr: learning rate after scaling by the batch; each update sets its own from the schedule.
        device: where the parameters are.

    Raises:
        UserError: no such optimizer, it cannot be made here, or every parameter is frozen.
    """
    try:
        groups = parameter_groups(model, cfg.TRAIN.WEIGHT_DECAY, cfg.TRAIN.LAYER_DECAY)
    except ValueError as error:
        raise UserError(f"TRAIN.FREEZE is {cfg.TRAIN.FREEZE!r}: {error}; leave something to train") from error
    optimizer = cfg.TRAIN.OPTIMIZER
    settings = Settings(
        lr=base_lr,
        weight_decay=cfg.TRAIN.WEIGHT_DECAY,
        momentum=optimizer.MOMENTUM,
        eps=optimizer.EPS,
        betas=optimizer.BETAS,
        device=device,
    )
    name = optimizer.NAME.lower()
    make = OPTIMIZERS.get(name)
    return make(groups, settings) if make else _make_with_timm(name, groups, settings)


def _make_adamw(groups: Groups, settings: Settings) -> Optimizer:
    fused = settings.device.type in _FUSED_DEVICES
    return AdamW(
        groups,
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=fused,
    )


def _make_sgd(groups: Groups, settings: Settings) -> Optimizer:
    return SGD(
        groups,
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,  # torch allows it only with momentum
        weight_decay=settings.weight_decay,
        fused=settings.device.type in _FUSED_DEVICES,
    )


def _make_fused_adam(groups: Groups, settings: Settings) -> Optimizer:
    fused_adam = _apex_optimizer("FusedAdam", settings.device)
    if fused_adam is None:
        logger.warning(
            "fused_adam: no NVIDIA apex on %s; torch's AdamW is used instead", settings.device.type
        )
        return _make_adamw(groups, settings)
    return _make_apex(fused_adam, groups, settings)


def _make_fused_lamb(groups: Groups, settings: Settings) -> Optimizer:
    fused_lamb = _apex_optimizer("FusedLAMB", settings.device)
    if fused_lamb is None:
        logger.warning("fused_lamb: no NVIDIA apex on %s; timm's Lamb is used instead", settings.device.type)
        return _make_with_timm("lamb", groups, settings)
    return _make_apex(fused_lamb, groups, settings)


def _apex_optimizer(name: str, device: torch.device) -> type | None:
    return apex_class("apex.optimizers", name) if device.type == "cuda" else None


def _make_apex(optimizer: type, groups: Groups, settings: Settings) -> Optimizer:
    return optimizer(
        groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay
    )


def _make_with_timm(name: str, groups: Groups, settings: Settings) -> Optimizer:
    # timm loads all its models with it, which the usual optimizers need not wait for.
    from timm.optim import create_optimizer_v2, get_optimizer_info, list_optimizers

    base = name.removeprefix("lookahead_")
    if base not in list_optimizers():
        raise UserError(_unknown_name(name, [*OPTIMIZERS, *list_optimizers()]))
    _check_needs(name, get_optimizer_info(base), settings)
    try:
        optimizer = create_optimizer_v2(
            groups,
            opt=name,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            eps=settings.eps,
            betas=settings.betas,
        )
    except (AssertionError, ImportError, IndexError, TypeError, ValueError) as error:
        raise _unusable(f"timm cannot make {name!r} with these settings on this machine ({error})") from error
    unsaved = optimizer.state_dict().keys() - {"state", "param_groups"}
    if unsaved:  # such as Kron's random numbers, which would also differ between the processes of a run
        raise _unusable(f"{name!r} keeps {', '.join(sorted(unsaved))}, which no checkpoint holds")
    return optimizer


def _check_needs(name: str, info: Any, settings: Settings) -> None:
    """Refuse, with the reason, what would fail at the first update or in the midst of timm."""
    if info.second_order:
        raise _unusable(f"{name!r} needs second derivatives, which training does not compute")
    if info.has_betas and info.num_betas != len(settings.betas):
        raise _unusable(
            f"{name!r} needs {info.num_betas} betas, and TRAIN.OPTIMIZER.BETAS holds {len(settings.betas)}"
        )
    package = info.opt_class.partition(".")[0] if isinstance(info.opt_class, str) else "torch"
    if package != "torch" and settings.device.type != "cuda":
        raise _unusable(
            f"{name!r} is from {package}, which needs parameters on CUDA, not on {settings.device.type}"
        )


def _unusable(reason: str) -> UserError:
    return UserError(f"TRAIN.OPTIMIZER.NAME: {reason}; choose another, such as {', '.join(OPTIMIZERS)}")


def _unknown_name(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    suggestion = f"did you mean {close[0]!r}? " if close else ""
    return (
        f"TRAIN.OPTIMIZER.NAME: no optimizer is called {name!r}; {suggestion}"
        f"Known are {', '.join(OPTIMIZERS)} and those of timm.optim.list_optimizers()"
    )


OPTIMIZERS: dict[str, Callable[[Groups, Settings], Optimizer]] = {
    "adamw": _make_adamw,
    "sgd": _make_sgd,
    "fused_adam": _make_fused_adam,
    "fused_lamb": _make_fused_lamb,
}
