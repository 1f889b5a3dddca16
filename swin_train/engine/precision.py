"""Mixed precision: which dtype, and the scale of the loss that fp16 needs."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.amp import autocast

from swin_train.config import Config
from swin_train.errors import UserError

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None, "fp64": torch.float64}
_FIRST_SCALE = 65536.0
_GROWS_AFTER = 2000  # updates without overflow, as in torch's GradScaler

MIN_SCALE = 1.0  # below it nothing is left to gain: the gradients themselves overflow


class LossScale:
    """The factor on the loss that keeps fp16's small gradients above zero; it halves at every overflow.

    torch's GradScaler decides about overflow in each process for the gradients that it holds; here the norm over all
    processes decides, so that it also serves sharded parameters. Nothing waits for the device.

    Args:
        device: of the gradients.
        is_enabled: without, the factor is 1 for ever.
    """

    def __init__(self, device: torch.device, *, is_enabled: bool) -> None:
        self.is_enabled = is_enabled
        self.value = torch.tensor(_FIRST_SCALE if is_enabled else 1.0, device=device)
        self._good_steps = torch.zeros((), dtype=torch.int64, device=device)

    def update(self, is_bad: Tensor) -> None:
        """Halve the factor after an overflow, and double it after 2,000 updates without."""
        if not self.is_enabled:
            return
        self._good_steps = torch.where(is_bad, 0, self._good_steps + 1)
        grows = self._good_steps >= _GROWS_AFTER
        self.value = torch.where(is_bad, self.value / 2, torch.where(grows, self.value * 2, self.value))
        self._good_steps = torch.where(grows, 0, self._good_steps)

    def numbers(self) -> dict[str, float]:
        """What has to be saved; empty where it is not enabled."""
        if not self.is_enabled:
            return {}
        return {"scale": self.value.item(), "good_steps": self._good_steps.item()}

    def restore(self, numbers: dict[str, Any]) -> None:
        """Take over what was saved; a run that was not scaled before begins as a new one."""
        if self.is_enabled and numbers:
            self.value = torch.full_like(self.value, numbers["scale"])
            self._good_steps = torch.full_like(self._good_steps, numbers["good_steps"])


@dataclass(frozen=True)
class Precision:
    """The dtype of the matrix products; None is float32, and in float64 everything is."""

    device_type: str
    dtype: torch.dtype | None

    def autocast(self) -> AbstractContextManager[None]:
        """Run a forward pass in the mixed precision."""
        is_mixed = self.dtype in (torch.bfloat16, torch.float16)
        return autocast(self.device_type, dtype=self.dtype) if is_mixed else nullcontext()

    @property
    def name(self) -> str:
        """``fp32``, ``bf16``, ``fp16`` or ``fp64``."""
        return next(name for name, dtype in _DTYPES.items() if dtype == self.dtype)

    @property
    def input_dtype(self) -> torch.dtype:
        """The dtype in which images reach the model: that of its first matrix product."""
        return self.dtype or torch.float32

    @property
    def parameter_dtype(self) -> torch.dtype:
        """The dtype that parameters are kept in."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def loss_scale(self, device: torch.device) -> LossScale:
        """Return the factor on the loss."""
        # fp16 only: bf16 has float32's range, so it needs no loss scaling.
        return LossScale(device, is_enabled=self.dtype == torch.float16)


def choose_precision(cfg: Config, device: torch.device) -> Precision:
    """Return what ``AMP_DTYPE`` and ``AMP_ENABLE`` mean on ``device``.

    ``auto`` is bf16 on a CUDA device that has it, fp16 on another CUDA device, and float32 elsewhere.
    ``AMP_ENABLE`` false (the reference's ``--disable_amp``, or its old ``O0``) is float32.

    Raises:
        UserError: the device cannot compute in the dtype asked for.
    """
    name = cfg.AMP_DTYPE if cfg.amp_enabled else "fp32"
    if name == "auto":
        name = "fp32"
        if device.type == "cuda":
            name = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if (
        name == "bf16"
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise UserError(
            f"AMP_DTYPE is bf16, but {torch.cuda.get_device_name(device)} cannot compute in it; use fp16 "
            f"or auto"
        )
    if name == "fp64" and device.type == "mps":
        raise UserError("AMP_DTYPE is fp64, which Apple GPUs do not have; use DEVICE cpu, or fp32")
    return Precision(device.type, _DTYPES[name])
