"""Mixed precision: which dtype, and whether gradients need a loss scale."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.amp import GradScaler, autocast

from swin_train.config import Config
from swin_train.errors import UserError

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}


@dataclass(frozen=True)
class Precision:
    """The dtype of the matrix products (None: float32 throughout) and the scaler of the loss."""

    device_type: str
    dtype: torch.dtype | None
    scaler: GradScaler

    def autocast(self) -> AbstractContextManager[None]:
        """Run a forward pass in the mixed precision."""
        return nullcontext() if self.dtype is None else autocast(self.device_type, dtype=self.dtype)

    @property
    def name(self) -> str:
        """``fp32``, ``bf16`` or ``fp16``."""
        return next(name for name, dtype in _DTYPES.items() if dtype == self.dtype)

    @property
    def input_dtype(self) -> torch.dtype:
        """The dtype in which images reach the model: that of its first matrix product."""
        return self.dtype or torch.float32

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled in fp16."""
        self.scaler.scale(loss).backward()


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
    # fp16 only: bf16 has float32's range, so it needs no loss scaling.
    return Precision(device.type, _DTYPES[name], GradScaler(device.type, enabled=name == "fp16"))
