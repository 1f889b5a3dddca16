"""A few updates as a training makes them, on images that are made up: what they take and how fast they are."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import torch
from timm.utils import ModelEmaV3

from swin_train.config import Config
from swin_train.data.loader import Batch
from swin_train.distributed import launch
from swin_train.distributed.compilation import compile_model
from swin_train.engine.attention import say_attention
from swin_train.engine.plan import RunPlan
from swin_train.engine.precision import Precision, choose_precision
from swin_train.engine.state import TrainState
from swin_train.engine.step import train_step
from swin_train.models.build import build_model
from swin_train.models.freeze import freeze
from swin_train.optim.optimizers import build_optimizer
from swin_train.tasks import ClassificationLoss

_LEAST, _MOST, _ENOUGH_S = (
    2,
    5,
    3.0,
)  # updates that are timed, after one that allocates the optimizer's averages
_MOST_OVERFLOWS = 32  # fp16's loss scale begins at 2^16 and halves each time


def run_updates(cfg: Config, plan: RunPlan) -> float:
    """Make some updates of ``plan``, in this process alone, and return images per second of one process.

    An update is cut short: of the micro-batches that are alike two are made, since from the second on gradients
    are there already. Its whole time follows from theirs, from that of a smaller last one and of the optimizer.

    Raises:
        UserError: the device cannot compute as ``cfg`` says.
        torch.OutOfMemoryError, MemoryError, RuntimeError: the memory does not hold them.
    """
    with launch(cfg) as runtime:
        device = runtime.device
        precision = choose_precision(cfg, device)
        num_full, tail = divmod(plan.global_batch // plan.world_size, plan.micro_batch)
        sizes = [plan.micro_batch] * min(num_full, 2) + [tail] * (tail > 0)
        batches = [_make_batch(cfg, plan, size, precision.input_dtype, device) for size in sizes]
        state = _build_state(cfg, replace(plan, accumulation=len(batches)), precision, device)
        for _ in range(_MOST_OVERFLOWS):
            _update(state, batches, cfg, precision)
            if state.optimizer.state or precision.dtype != torch.float16:
                break  # else it was left out for an overflow, and the optimizer has allocated nothing yet
        start = time.perf_counter()
        timed: list[list[float]] = []
        while len(timed) < _LEAST or (len(timed) < _MOST and time.perf_counter() - start < _ENOUGH_S):
            timed.append(_update(state, batches, cfg, precision))
    last, optimizer = (min(update[i] for update in timed) for i in (-2, -1))
    full = min(seconds for update in timed for seconds in update[: min(num_full, 2)])
    seconds = num_full * full + (last if tail else 0.0) + optimizer
    return (num_full * plan.micro_batch + tail) / seconds


def _build_state(cfg: Config, plan: RunPlan, precision: Precision, device: torch.device) -> TrainState:
    """As a new training does; weights do not change what is measured, so that none are loaded."""
    model = build_model(cfg, plan.num_classes)
    freeze(model, cfg.TRAIN.FREEZE)
    say_attention(model, device, precision)
    model = model.to(device, precision.parameter_dtype).train()
    ema = ModelEmaV3(model, decay=cfg.TRAIN.EMA_DECAY) if cfg.TRAIN.EMA_DECAY else None
    compile_model(model, cfg.TRAIN.COMPILE, device)
    return TrainState(
        model=model,
        optimizer=build_optimizer(cfg, model, base_lr=plan.base_lr, device=device),
        loss_scale=precision.loss_scale(device),
        plan=plan,
        ema=ema,
    )


def _make_batch(cfg: Config, plan: RunPlan, size: int, dtype: torch.dtype, device: torch.device) -> Batch:
    """A micro-batch at the largest size that is trained at, with targets as mixing leaves them."""
    sizes = [cfg.DATA.img_size, *((side, side) for _, side in cfg.DATA.PROGRESSIVE)]
    height, width = max(sizes, key=lambda sides: sides[0] * sides[1])
    images = torch.randn(size, cfg.MODEL.selected.IN_CHANS, height, width, device=device, dtype=dtype)
    targets = torch.zeros(size, dtype=torch.int64, device=device)
    if plan.mix_group:
        targets = torch.full((size, plan.num_classes), 1 / plan.num_classes, device=device)
    return Batch(images, targets, torch.arange(size, device=device), size)


def _update(state: TrainState, batches: list[Batch], cfg: Config, precision: Precision) -> list[float]:
    """Make an update; return the seconds of each micro-batch and of what follows the last one."""
    if state.plan.world_size > 1:
        # DistributedDataParallel holds the gradients in its buckets from one update to the next.
        for group in state.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
    stamps: list[float] = []

    def stamp() -> None:
        if batches[0].images.is_cuda:
            torch.cuda.synchronize(batches[0].images.device)
        stamps.append(time.perf_counter())

    def fed() -> Iterator[Batch]:
        for batch in batches:
            stamp()
            yield batch
        stamp()

    train_step(state, fed(), ClassificationLoss(cfg), precision=precision, clip_grad=cfg.TRAIN.CLIP_GRAD)
    stamp()
    return [after - before for before, after in pairwise(stamps)]
