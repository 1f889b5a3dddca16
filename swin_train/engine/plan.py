"""Every number of a run that follows from others, computed once, frozen, printed first."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swin_train.config import Config
from swin_train.data.sampler import BatchGeometry
from swin_train.errors import UserError

logger = logging.getLogger(__name__)

_BATCH_OF_BASE_LR = 512  # the learning rates of the configuration are for this many images an update


@dataclass(frozen=True)
class RunPlan:
    """The derived numbers of a run; learning rates are scaled to the global batch.

    ``mix_group`` is 0 where images are not mixed.
    """

    num_images: int
    num_classes: int
    seed: int
    world_size: int
    global_batch: int
    micro_batch: int
    accumulation: int
    mix_group: int
    epochs: int
    steps_per_epoch: int
    warmup_steps: int
    base_lr: float
    warmup_lr: float
    min_lr: float

    @property
    def total_steps(self) -> int:
        """Updates of the whole run."""
        return self.epochs * self.steps_per_epoch

    def geometry(self, rank: int) -> BatchGeometry:
        """Say which images of every update are ``rank``'s."""
        return BatchGeometry(
            num_images=self.num_images,
            global_batch=self.global_batch,
            world_size=self.world_size,
            rank=rank,
            micro_batch=self.micro_batch,
            mix_group=self.mix_group,
            seed=self.seed,
        )

    def __str__(self) -> str:
        left_out = self.num_images - self.steps_per_epoch * self.global_batch
        warmup = f"{self.warmup_lr:.4g} -> " if self.warmup_steps else ""
        rise = f" in {self.warmup_steps} updates" if self.warmup_steps else ""
        return "\n".join(
            [
                f"plan: {self.num_images} images, {self.num_classes} classes, "
                f"{self.epochs} epochs x {self.steps_per_epoch} updates = {self.total_steps} updates",
                f"      {self.global_batch} images an update = {self.world_size} process(es) x "
                f"{self.accumulation} accumulation step(s) x up to {self.micro_batch} images"
                + (f", mixed in groups of {self.mix_group}" if self.mix_group else "")
                + (f"; {left_out} images left over each epoch, others each time" if left_out else ""),
                f"      learning rate {warmup}{self.base_lr:.4g}{rise} -> {self.min_lr:.4g} "
                f"(configured rates x {self.global_batch}/{_BATCH_OF_BASE_LR})",
            ]
        )


def make_plan(
    cfg: Config,
    *,
    world_size: int,
    num_images: int,
    num_classes: int,
    recorded: Mapping[str, Any] | None = None,
) -> RunPlan:
    """Derive the numbers of the run.

    Args:
        cfg: the configuration.
        world_size: processes of this launch.
        num_images: images of the training set.
        num_classes: classes of the training set.
        recorded: ``global_batch`` and ``mix_group`` of the run that is resumed, which hold on.

    Raises:
        UserError: the batch does not fit the processes, the mixing groups or the training set.
    """
    global_batch = _global_batch(cfg, world_size, recorded)
    rank_batch = max(1, global_batch // world_size)
    micro_batch = min(cfg.DATA.BATCH_SIZE, rank_batch)
    mix_group = _mix_group(cfg, micro_batch, recorded) if cfg.AUG.is_mixing else 0
    _check_batch(global_batch, world_size, mix_group, is_recorded=recorded is not None)
    _check_groups(cfg, micro_batch, mix_group, is_recorded=recorded is not None)
    _check_images(cfg, num_images, global_batch, world_size)
    accumulation = math.ceil(rank_batch / micro_batch)
    if cfg.is_given("TRAIN.ACCUMULATION_STEPS") and cfg.TRAIN.ACCUMULATION_STEPS != accumulation:
        logger.warning(
            "TRAIN.ACCUMULATION_STEPS is %d, but %d images an update on %d process(es) take %d steps of up to %d",
            cfg.TRAIN.ACCUMULATION_STEPS,
            global_batch,
            world_size,
            accumulation,
            micro_batch,
        )
    steps_per_epoch = num_images // global_batch
    lr_scale = global_batch / _BATCH_OF_BASE_LR
    return RunPlan(
        num_images=num_images,
        num_classes=num_classes,
        seed=cfg.SEED,
        world_size=world_size,
        global_batch=global_batch,
        micro_batch=micro_batch,
        accumulation=accumulation,
        mix_group=mix_group,
        epochs=cfg.TRAIN.EPOCHS,
        steps_per_epoch=steps_per_epoch,
        warmup_steps=cfg.TRAIN.WARMUP_EPOCHS * steps_per_epoch,
        base_lr=cfg.TRAIN.BASE_LR * lr_scale,
        warmup_lr=cfg.TRAIN.WARMUP_LR * lr_scale,
        min_lr=cfg.TRAIN.MIN_LR * lr_scale,
    )


def _global_batch(cfg: Config, world_size: int, recorded: Mapping[str, Any] | None) -> int:
    wanted = cfg.TRAIN.GLOBAL_BATCH
    if recorded is None:
        return wanted or cfg.DATA.BATCH_SIZE * world_size * cfg.TRAIN.ACCUMULATION_STEPS
    if wanted not in (0, recorded["global_batch"]):
        raise UserError(
            f"TRAIN.GLOBAL_BATCH is {wanted}, but the run that is resumed was started with "
            f"{recorded['global_batch']}, which its learning rate and order of images follow; leave the key "
            f"out, or start a new run under another TAG"
        )
    return int(recorded["global_batch"])


def _mix_group(cfg: Config, micro_batch: int, recorded: Mapping[str, Any] | None) -> int:
    wanted = cfg.AUG.MIX_GROUP
    mix_group: int = (recorded or {}).get("mix_group") or wanted or micro_batch
    if recorded is not None and wanted not in (0, mix_group):
        raise UserError(
            f"AUG.MIX_GROUP is {wanted}, but the run that is resumed was started with groups of {mix_group}"
            f"; leave the key out, or start a new run under another TAG"
        )
    return mix_group


def _check_batch(global_batch: int, world_size: int, mix_group: int, *, is_recorded: bool) -> None:
    unit = mix_group or 1
    if global_batch % (world_size * unit) == 0:
        return
    possible = [n for n in range(1, global_batch + 1) if global_batch % (n * unit) == 0]
    shown = ", ".join(map(str, possible)) or "none"
    groups = f" in whole mixing groups of {unit} images" if mix_group else ""
    recorded = " (recorded with the run)" if is_recorded else ""
    raise UserError(
        f"TRAIN.GLOBAL_BATCH: {global_batch} images an update{recorded} cannot be divided among "
        f"{world_size} process(es){groups}; process counts that can: {shown}"
        + ("; or choose AUG.MIX_GROUP" if mix_group and not is_recorded else "")
    )


def _check_groups(cfg: Config, micro_batch: int, mix_group: int, *, is_recorded: bool) -> None:
    if mix_group and micro_batch % mix_group:
        raise UserError(
            f"DATA.BATCH_SIZE is {cfg.DATA.BATCH_SIZE}, but images are mixed in groups of {mix_group}"
            f"{' (recorded with the run)' if is_recorded else ''}; it must be a multiple of {mix_group}"
        )
    if mix_group % 2:
        raise UserError(
            f"AUG.MIX_GROUP: images would be mixed in groups of {mix_group}, an odd number, but Mixup and "
            f"CutMix pair images; choose an even DATA.BATCH_SIZE or an even AUG.MIX_GROUP that divides it"
        )


def _check_images(cfg: Config, num_images: int, global_batch: int, world_size: int) -> None:
    if num_images < global_batch:
        raise UserError(
            f"{cfg.DATA.DATA_PATH}: the training set has {num_images} images, fewer than one update takes "
            f"({global_batch}); choose DATA.BATCH_SIZE (now {cfg.DATA.BATCH_SIZE}) so that "
            f"{world_size} process(es) x accumulation x batch is at most {num_images}"
        )
