"""Which implementation of window attention a model runs with, said before it runs."""

import logging

import torch
from torch import nn

from swin_train.engine.precision import Precision
from swin_train.models.layers.window import ShiftedWindows

logger = logging.getLogger(__name__)


def say_attention(model: nn.Module, device: torch.device, precision: Precision) -> None:
    """Log in one line which implementation runs, and why; by stage, where they differ.

    Raises:
        UserError: the one that was asked for cannot run; the message says why.
    """
    stages: dict[str, list[int]] = {}
    for module in model.modules():
        if isinstance(module, ShiftedWindows):
            name, reason = module.choose(device, precision.input_dtype)
            numbers = stages.setdefault(f"{name} ({reason})", [])
            if module.place.stage not in numbers:
                numbers.append(module.place.stage)
    if len(stages) == 1:
        logger.info("window attention: %s", *stages)
    elif stages:
        parts = (
            f"stage {', '.join(str(n + 1) for n in numbers)}: {what}" for what, numbers in stages.items()
        )
        logger.info("window attention: %s", "; ".join(parts))
