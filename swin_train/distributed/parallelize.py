"""How a model is spread over the processes of a run."""

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from swin_train.distributed.runtime import Runtime


def parallelize(model: nn.Module, runtime: Runtime) -> nn.Module:
    """Move ``model`` to the process's device and average its gradients over all processes."""
    model = model.to(runtime.device)
    if runtime.world_size == 1:
        return model
    return DistributedDataParallel(
        model,
        device_ids=[runtime.device] if runtime.device.type == "cuda" else None,
        broadcast_buffers=False,  # Swin's buffers are index tables and masks, equal everywhere
        gradient_as_bucket_view=True,
    )


def unwrap(model: nn.Module) -> nn.Module:
    """Return the plain model, whose parameter names are the published ones."""
    return model.module if isinstance(model, DistributedDataParallel) else model
