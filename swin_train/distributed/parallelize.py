"""How a model is spread over the processes of a run."""

import inspect
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from swin_train.distributed.runtime import Runtime

# torch 2.15 renamed the argument.
_SYNC_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)


def parallelize(model: nn.Module, runtime: Runtime) -> nn.Module:
    """Move ``model`` to the process's device and average its gradients over all processes."""
    model = model.to(runtime.device)
    if runtime.world_size == 1:
        return model
    options: dict[str, Any] = {_SYNC_BUFFERS: False}  # Swin's are index tables and masks, equal everywhere
    return DistributedDataParallel(
        model,
        device_ids=[runtime.device] if runtime.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **options,
    )


def unwrap(model: nn.Module) -> nn.Module:
    """Return the plain model, whose parameter names are the published ones."""
    return model.module if isinstance(model, DistributedDataParallel) else model
