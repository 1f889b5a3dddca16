"""One update: the gradients of the global batch, clipped, and the optimizer's step."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from swin_train.data.loader import Batch
from swin_train.engine.precision import Precision
from swin_train.engine.state import TrainState
from swin_train.tasks import Classification


@dataclass(frozen=True)
class StepResult:
    """What an update measured, still on the device: nothing here waits for it."""

    loss_sum: Tensor  # [], summed over this process's images
    grad_norm: Tensor  # [], L2 over all parameters, before clipping


def train_step(
    state: TrainState,
    micro_batches: Iterable[Batch],
    task: Classification,
    *,
    precision: Precision,
    clip_grad: float,
) -> StepResult:
    """Make one update from the micro-batches of this process.

    The losses of all images of the global batch are summed and divided by their number, so that neither
    the number of processes nor a ragged last micro-batch changes the gradient.

    Args:
        state: what is trained; its counter is left to the caller.
        micro_batches: ``plan.accumulation`` of them.
        task: gives the loss of every image.
        precision: of the forward pass.
        clip_grad: the largest L2 norm of the gradients; 0 leaves them as they are.
    """
    plan = state.plan
    # DistributedDataParallel divides the sum over processes by their number; here that is taken back.
    share = plan.world_size / plan.global_batch
    loss_sum = torch.zeros((), device=next(state.model.parameters()).device)
    for position, batch in enumerate(micro_batches):
        is_last = position == plan.accumulation - 1
        with _gradient_sync(state.model, is_last):
            with precision.autocast():
                loss = task.loss(state.model, batch).sum()
            precision.backward(loss * share)
        loss_sum += loss.detach()
    grad_norm = _clip(state, clip_grad)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    if state.ema is not None:
        state.ema.update(state.weights()["raw"])
    return StepResult(loss_sum, grad_norm)


def _gradient_sync(model: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    if isinstance(model, DistributedDataParallel) and not is_last:
        return model.no_sync()
    return nullcontext()


def _clip(state: TrainState, clip_grad: float) -> Tensor:
    state.scaler.unscale_(state.optimizer)
    parameters = [p for group in state.optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = get_total_norm([p.grad for p in parameters])
    if clip_grad > 0:
        clip_grads_with_norm_(parameters, clip_grad, norm)
    return norm
