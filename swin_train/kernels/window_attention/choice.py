"""Which implementation of window attention runs where, and why."""

import importlib.util
from typing import Literal, NamedTuple

import torch

from swin_train.errors import UserError
from swin_train.kernels.windows import FUSED_HEAD_DIMS

Attention = Literal["auto", "triton", "sdpa", "reference"]

_OLDEST = (8, 0)  # compute capability: the first with bfloat16 and asynchronous copies


class Choice(NamedTuple):
    """What was chosen: "triton", "sdpa" or "reference", and why."""

    name: str
    reason: str


def choose(
    attention: Attention,
    device: torch.device,
    dtype: torch.dtype,
    *,
    head_dim: int,
    dropout: float = 0.0,
) -> Choice:
    """The implementation that ``attention`` means for tensors of ``dtype`` on ``device``.

    Raises:
        UserError: it is "triton", which cannot run here; the message says why.
    """
    if attention in ("sdpa", "reference"):
        return Choice(attention, "as asked for")
    obstacle = triton_obstacle(device, dtype, head_dim, dropout)
    if attention == "triton" and obstacle:
        raise UserError(f"MODEL.ATTENTION triton cannot run: {obstacle}; use auto, sdpa or reference")
    if attention == "triton":
        return Choice("triton", "as asked for")
    if device.type != "cuda":
        return Choice("reference", f"the fastest on {device.type}")
    if obstacle is None and dtype == torch.float32:
        obstacle = "products of float32 take no tensor cores there"
    if obstacle is None:
        return Choice("triton", "one fused kernel, the fastest here")
    return Choice("sdpa", f"not triton: {obstacle}")


@torch.compiler.assume_constant_result
def triton_obstacle(device: torch.device, dtype: torch.dtype, head_dim: int, dropout: float) -> str | None:
    """Why the Triton kernels cannot run; None where they can."""
    if device.type != "cuda":
        return f"it needs an NVIDIA GPU, and this is {device.type}"
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if torch.version.hip or torch.cuda.get_device_capability(device) < _OLDEST:
        name = torch.cuda.get_device_name(device)
        return f"it needs an NVIDIA GPU of compute capability 8.0 or more, and this is {name}"
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"it computes in bfloat16, float16 and float32, not in {dtype}"
    if head_dim not in FUSED_HEAD_DIMS:
        return f"it takes 16, 32 or 64 channels a head, not {head_dim}"
    if dropout:
        return "it has no dropout of attention weights"
    return None
