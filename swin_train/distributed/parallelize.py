"""How a model is spread over the processes of a run."""

import inspect
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from swin_train.config import Config
from swin_train.distributed.runtime import Runtime
from swin_train.errors import UserError

logger = logging.getLogger(__name__)

# torch 2.15 renamed the argument.
_SYNC_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)
_DTYPES = {"fp32": None, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Spread:
    """How models are spread, decided once for a run.

    Attributes:
        device: where their parameters are.
        mesh: of the processes that share a model; None where each holds all of it.
        is_alone: there is one process, which holds all of it.
        gather_dtype, reduce_dtype: in which parameters and gradients travel; None: as they are.
    """

    device: torch.device
    mesh: DeviceMesh | None
    is_alone: bool
    gather_dtype: torch.dtype | None = None
    reduce_dtype: torch.dtype | None = None

    @property
    def part(self) -> int:
        """Which part of the parameters this process holds; processes of one part hold the same."""
        return 0 if self.mesh is None else self.mesh.get_local_rank(self.mesh.ndim - 1)


def choose_spread(cfg: Config, runtime: Runtime, compute_dtype: torch.dtype | None = None) -> Spread:
    """Return what ``DIST`` means for these processes.

    Args:
        cfg: the configuration.
        runtime: of this process.
        compute_dtype: of the matrix products; None is float32.

    Raises:
        UserError: the processes cannot be divided into groups of ``DIST.SHARD_SIZE``, or ``DIST.GATHER_DTYPE`` is
            not the type computed in.
    """
    dist, world_size, device = cfg.DIST, runtime.world_size, runtime.device
    dtypes = _DTYPES[dist.GATHER_DTYPE], _DTYPES[dist.REDUCE_DTYPE]
    if world_size == 1 and dist.STRATEGY != "ddp":
        logger.info("DIST.STRATEGY %s changes nothing: there is one process", dist.STRATEGY)
    if dist.SHARD_SIZE and dist.STRATEGY != "hsdp":
        logger.info("DIST.SHARD_SIZE is not read: it is for DIST.STRATEGY hsdp, not %s", dist.STRATEGY)
    if world_size == 1 or dist.STRATEGY == "ddp":
        return Spread(device, None, world_size == 1, *dtypes)
    if dist.GATHER_DTYPE == "bf16" and compute_dtype != torch.bfloat16:
        raise UserError(
            f"DIST.GATHER_DTYPE is bf16, but this run computes in {compute_dtype or torch.float32}; set AMP_DTYPE "
            f"bf16, or gather in fp32"
        )
    if dist.STRATEGY == "fsdp":
        return Spread(device, init_device_mesh(device.type, (world_size,)), False, *dtypes)
    shard_size = dist.SHARD_SIZE or _of_each_machine(runtime)
    if world_size % shard_size:
        raise UserError(
            f"DIST.SHARD_SIZE: {world_size} processes cannot be divided into groups of {shard_size}; choose a divisor "
            f"of {world_size}"
        )
    shape = (world_size // shard_size, shard_size)
    mesh = init_device_mesh(device.type, shape, mesh_dim_names=("replicate", "shard"))
    for dimension in range(mesh.ndim):  # its groups would wait for as long as torch finds right
        set_timeout(mesh.get_group(dimension), dist.TIMEOUT_S)
    return Spread(device, mesh, False, *dtypes)


def _of_each_machine(runtime: Runtime) -> int:
    """Return the number of processes of a machine; all of them call this together."""
    sizes = sorted(set(runtime.files.gather(runtime.local_world_size)))
    if len(sizes) > 1:
        raise UserError(
            f"DIST.SHARD_SIZE is 0, but the machines have {' and '.join(map(str, sizes))} processes; give the number "
            f"of processes that share a model, a divisor of {runtime.world_size}"
        )
    return sizes[0]


def set_timeout(group: ProcessGroup, seconds: float) -> None:
    """Let collectives of a group that torch has made fail after so long."""
    # torch has no public way to say it for a mesh
    torch.distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=seconds), group)


def parallelize(model: nn.Module, spread: Spread, *, is_static: bool = False) -> nn.Module:
    """Move ``model`` to the process's device and sum its gradients over all processes, divided by their number.

    A model that is sharded stays the object that it was; its parameters are DTensors then.

    Args:
        model: not yet wrapped.
        spread: how it is spread.
        is_static: every backward pass is that of an update, and reaches the same parameters.
    """
    model = model.to(spread.device)
    if spread.is_alone:
        return model
    if spread.mesh is not None:
        return shard(model, spread)
    options: dict[str, Any] = {_SYNC_BUFFERS: False}  # Swin's are index tables and masks, equal everywhere
    wrapped = DistributedDataParallel(
        model,
        device_ids=[spread.device] if spread.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        static_graph=is_static,
        **options,
    )
    if spread.reduce_dtype == torch.bfloat16:
        wrapped.register_comm_hook(None, bf16_compress_hook)
    return wrapped


def shard(model: nn.Module, spread: Spread) -> nn.Module:
    """Divide the parameters of ``model`` among the processes of the mesh: block by block, and what is left."""
    policy = MixedPrecisionPolicy(
        param_dtype=spread.gather_dtype, reduce_dtype=spread.reduce_dtype, cast_forward_inputs=False
    )
    for stage in cast(Any, model).layers:
        for block in stage.blocks:
            fully_shard(block, mesh=spread.mesh, mp_policy=policy)
    fully_shard(model, mesh=spread.mesh, mp_policy=policy)
    return model


def place_average(model: nn.Module, spread: Spread) -> None:
    """Put averaged weights, which are not trained, where those are that they average."""
    model.to(spread.device)
    if spread.mesh is not None:
        shard(model, spread)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the plain model, whose parameter names are the published ones."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def gradient_sync(model: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """Within it, a backward pass adds up gradients; only the last one of an update sums them over processes."""
    if isinstance(model, DistributedDataParallel) and not is_last:
        return model.no_sync()
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(is_last)
    return nullcontext()


def is_sharded(model: nn.Module) -> bool:
    """Whether each process holds only a part of the parameters."""
    return isinstance(model, FSDPModule)


def whole_on_main(tensors: Mapping[str, Tensor], runtime: Runtime) -> dict[str, Tensor]:
    """Return all of every tensor in the main process, and nothing in the others; all call this together.

    Those of which each process holds a part are put together one by one, and kept on the host.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        if runtime.is_main:
            found[name] = value
    return found


def own_part(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
