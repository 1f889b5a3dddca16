"""Which back end prepares the images, and where they are augmented."""

from dataclasses import dataclass

import torch

from swin_train.config import Config
from swin_train.data.native.library import unavailable
from swin_train.errors import UserError


@dataclass(frozen=True)
class Backend:
    """A choice.

    Attributes:
        name: ``exact``, ``portable``, ``native`` or ``timm``.
        finishes: whether batches leave it finished; otherwise the device augments and normalises them.
        reason: why, for the log.
    """

    name: str
    finishes: bool
    reason: str

    def __str__(self) -> str:
        where = "augmented here" if self.finishes else "augmented on the device"
        return f"{self.name} ({self.reason}), {where}"


def choose_backend(cfg: Config, device: torch.device) -> Backend:
    """What ``DATA.PIPELINE`` and ``DATA.AUGMENT_ON`` mean on this machine.

    Raises:
        UserError: the back end asked for cannot be used.
    """
    name, reason = cfg.DATA.PIPELINE, "as asked for"
    problem = unavailable() if name in ("auto", "native") else None
    if name == "native" and problem:
        raise UserError(f"DATA.PIPELINE is native, but the native extension {problem}")
    if name == "auto":
        name = "portable" if problem else "native"
        reason = f"the native extension {problem}" if problem else "the native extension is there"
    on_device = cfg.DATA.AUGMENT_ON == "device"
    if name in ("exact", "timm"):  # Pillow augments there
        return Backend(name, finishes=True, reason=reason)
    if cfg.DATA.AUGMENT_ON == "auto":
        on_device = device.type == "cuda"
    return Backend(name, finishes=not on_device, reason=reason)
