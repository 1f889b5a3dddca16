"""One update: the gradients of the global batch, clipped, and the optimizer's step if they are finite."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import SGD, AdamW, Optimizer

from swin_train.data.loader import Batch
from swin_train.distributed.parallelize import gradient_sync, own_part
from swin_train.engine.precision import Precision
from swin_train.engine.state import TrainState
from swin_train.tasks import ClassificationLoss


@dataclass(frozen=True)
class StepResult:
    """What an update measured, still on the device: nothing here waits for it."""

    loss_sum: Tensor  # [], summed over this process's images
    grad_norm: Tensor  # [], L2 over all parameters, before clipping; not finite where the update was left out


def train_step(
    state: TrainState,
    micro_batches: Iterable[Batch],
    task: ClassificationLoss,
    *,
    precision: Precision,
    clip_grad: float,
) -> StepResult:
    """Make one update from the micro-batches of this process, or leave it out if a gradient is not finite.

    The losses of all images of the global batch are summed and divided by their number, so that neither
    the number of processes nor a ragged last micro-batch changes the gradient.

    Args:
        state: what is trained; its counter is left to the caller.
        micro_batches: ``plan.accumulation`` of them.
        task: gives the loss of every image.
        precision: of the forward pass.
        clip_grad: the largest L2 norm of the gradients; 0 leaves them as they are.
    """
    plan, scale = state.plan, state.loss_scale
    # Sums over processes come divided by their number; here that is taken back.
    share = plan.world_size / plan.global_batch
    loss_sum = torch.zeros((), device=scale.value.device, dtype=precision.parameter_dtype)
    for position, batch in enumerate(micro_batches):
        with gradient_sync(state.model, is_last=position == plan.accumulation - 1):
            with precision.autocast():
                loss = task.loss(state.model, batch).sum()
            (loss * share * scale.value if scale.is_enabled else loss * share).backward()
        loss_sum += loss.detach()
    parameters = [p for group in state.optimizer.param_groups for p in group["params"] if p.grad is not None]
    norms = _gradient_norms(parameters) / scale.value if scale.is_enabled else _gradient_norms(parameters)
    total = torch.linalg.vector_norm(norms)
    is_bad = state.guard.judge(norms, total, state.step + 1, scale.value)
    _rescale(parameters, total, clip_grad, scale.value if scale.is_enabled else None)
    _update(state.optimizer, is_bad)
    scale.update(is_bad)
    state.optimizer.zero_grad(set_to_none=True)
    if state.ema is not None:
        state.ema.update(state.weights()["raw"])
    return StepResult(loss_sum, total)


def _gradient_norms(parameters: list[torch.nn.Parameter]) -> Tensor:
    """L2 norm of the gradient of each parameter, [P]; the same in all processes."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack(torch._foreach_norm([own_part(gradient) for gradient in gradients]))
    first = gradients[0]
    if not isinstance(first, DTensor):
        return norms
    squares = norms.square()  # of the parts that this process holds
    dist.all_reduce(squares, group=first.device_mesh.get_group(first.device_mesh.ndim - 1))
    return squares.sqrt()


def _rescale(
    parameters: list[torch.nn.Parameter], total: Tensor, clip_grad: float, scale: Tensor | None
) -> None:
    """Take the loss's scale out of the gradients, and bound their norm."""
    factor = None if scale is None else scale.reciprocal()
    if clip_grad > 0:
        clip = (clip_grad / (total + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grads_with_norm_
        factor = clip if factor is None else factor * clip
    if factor is not None:
        torch._foreach_mul_([own_part(p.grad) for p in parameters if p.grad is not None], factor)


def _update(optimizer: Optimizer, is_bad: Tensor) -> None:
    """Let the optimizer step, unless the gradients are bad; torch's fused ones decide that on the device."""
    if _decides_on_the_device(optimizer):
        optimizer.found_inf = is_bad.to(torch.float32)  # type: ignore[attr-defined]
        optimizer.step()
        del optimizer.found_inf  # type: ignore[attr-defined]
    elif not is_bad:
        optimizer.step()


def _decides_on_the_device(optimizer: Optimizer) -> bool:
    """Whether the optimizer takes a flag that tells it to leave everything as it is."""
    group = optimizer.param_groups[0]
    if not (isinstance(optimizer, AdamW | SGD) and group.get("fused")):
        return False
    if isinstance(group["params"][0], DTensor):
        return False
    # At its first step SGD makes momenta of whatever was in memory, which a step that is left out would not write.
    return isinstance(optimizer, AdamW) or not group["momentum"] or bool(optimizer.state)
