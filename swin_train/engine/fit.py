"""Which micro-batch fits the memory, and which is the fastest, while the global batch stays as it is."""

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from swin_train.config import Config
from swin_train.distributed.launch import choose_device, read_environment
from swin_train.engine.fit_meter import Meter, choose_meter
from swin_train.engine.plan import RunPlan, make_plan
from swin_train.engine.precision import choose_precision
from swin_train.errors import UserError
from swin_train.models.outline import check_is_trained
from swin_train.tasks import build_task

_GIB = 2**30


@dataclass(frozen=True)
class Trial:
    """One micro-batch that was tried.

    Attributes:
        micro_batch: images of a forward pass.
        accumulation: forward passes of an update, in each process.
        peak_bytes: the most memory that was held; where it did not fit, what was reached before the end.
        images_per_s: of one process; None where it did not fit.
    """

    micro_batch: int
    accumulation: int
    peak_bytes: int
    images_per_s: float | None

    @property
    def fits(self) -> bool:
        """Whether the memory held it."""
        return self.images_per_s is not None


@dataclass(frozen=True)
class Fit:
    """What fits.

    Attributes:
        device: that was measured.
        precision: of the matrix products.
        processes: of the training.
        global_batch: images of an update, over all processes.
        limit_bytes: what one process may take.
        trials: in the order in which they were made.
        notes: what is not counted, or could be taken for something else.
    """

    device: str
    precision: str
    processes: int
    global_batch: int
    limit_bytes: int
    trials: tuple[Trial, ...]
    notes: tuple[str, ...]

    @property
    def largest(self) -> Trial:
        """The largest micro-batch that fits."""
        return max((t for t in self.trials if t.fits), key=lambda t: t.micro_batch)

    @property
    def fastest(self) -> Trial:
        """The fastest one that fits; of two that are as fast, the one of less memory."""
        return max((t for t in self.trials if t.fits), key=lambda t: (t.images_per_s or 0, -t.micro_batch))

    def settings(self, trial: Trial) -> dict[str, int]:
        """The keys that make a training run so."""
        return _settings(trial.micro_batch, trial.accumulation, self.global_batch)

    def as_dict(self) -> dict[str, Any]:
        """All of it for a JSON file."""
        chosen = {"largest": self.largest, "fastest": self.fastest}
        return asdict(self) | {
            name: asdict(trial) | {"settings": self.settings(trial)} for name, trial in chosen.items()
        }


def fit(
    cfg: Config,
    *,
    processes: int = 1,
    memory_gb: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Fit:
    """Try micro-batches on this machine, in one process.

    The number of classes is that of the data where ``DATA.DATA_PATH`` is given, else ``cfg.num_classes``.

    Args:
        cfg: the configuration; its global batch is kept.
        processes: of the training that is meant.
        memory_gb: what one of them may take, in 2^30 bytes; None is as ``choose_meter`` says.
        say: told of each trial.

    Raises:
        UserError: nothing fits, or the training that is meant is not possible.
    """
    check_is_trained(cfg)
    _check_is_alone()
    global_batch = cfg.TRAIN.GLOBAL_BATCH or cfg.DATA.BATCH_SIZE * processes * cfg.TRAIN.ACCUMULATION_STEPS
    num_images, num_classes = _read_data(cfg) if cfg.DATA.DATA_PATH else (global_batch, cfg.num_classes)

    def plan_of(micro_batch: int) -> tuple[Config, RunPlan]:
        steps = -(-max(1, global_batch // processes) // micro_batch)
        changed = _with_settings(cfg, _settings(micro_batch, steps, global_batch))
        plan = make_plan(changed, world_size=processes, num_images=num_images, num_classes=num_classes)
        assert (plan.global_batch, plan.accumulation) == (global_batch, steps)
        return changed, plan

    mix_group = cfg.AUG.MIX_GROUP if cfg.AUG.is_mixing else 1
    plan_of(mix_group or 2)  # which says what is wrong where nothing can be tried
    candidates = list_candidates(global_batch // processes, mix_group)
    device = choose_device(cfg.DEVICE, 0)
    meter = choose_meter(device, memory_gb, processes)

    def measure(micro_batch: int) -> Trial:
        changed, plan = plan_of(micro_batch)
        measured = meter.measure(changed, plan)
        trial = Trial(micro_batch, plan.accumulation, measured.peak_bytes, measured.images_per_s)
        say(f"{micro_batch} images: {_result(trial)}")
        return trial

    trials = search(candidates, measure)
    precision = choose_precision(cfg, device).name
    if not any(trial.fits for trial in trials):
        raise UserError(_nothing_fits(cfg, trials[0], meter, str(device), precision))
    return Fit(
        device=str(device),
        precision=precision,
        processes=processes,
        global_batch=global_batch,
        limit_bytes=meter.limit_bytes,
        trials=tuple(trials),
        notes=tuple(_notes(cfg, processes, device.type)),
    )


def _check_is_alone() -> None:
    if read_environment(os.environ)[2] > 1:
        raise UserError(
            "main.py fit: torchrun started several processes; start one, without it, and say how many the training"
            " will have: --processes N"
        )


def list_candidates(rank_batch: int, mix_group: int) -> list[int]:
    """The micro-batches that leave what is learned as it is, rising.

    Args:
        rank_batch: images of an update in one process.
        mix_group: images that are mixed with each other: 1 is none; 0 is the micro-batch, which then has to be even
            and leave no smaller one at the end.
    """
    if mix_group:
        return list(range(mix_group, rank_batch + 1, mix_group))
    return [size for size in range(2, rank_batch + 1, 2) if rank_batch % size == 0]


def search(candidates: Sequence[int], measure: Callable[[int], Trial]) -> list[Trial]:
    """Find the largest that fits: rise by doubling until one does not, then halve the gap.

    It is found where each that is smaller than one that fits does so too.

    Args:
        candidates: rising.
        measure: tries one.

    Returns:
        The trials, in order: the largest that fits and, where there is one, the next larger candidate among them.
    """
    trials: list[Trial] = []
    good, bad, place = -1, len(candidates), 0
    while bad - good > 1:
        trials.append(measure(candidates[place]))
        if trials[-1].fits:
            good = place
        else:
            bad = place
        if bad < len(candidates):
            place = (good + bad) // 2
        else:
            place = max(good + 1, bisect_right(candidates, 2 * candidates[good]) - 1)
    return trials


def _settings(micro_batch: int, accumulation: int, global_batch: int) -> dict[str, int]:
    return {
        "DATA.BATCH_SIZE": micro_batch,
        "TRAIN.ACCUMULATION_STEPS": accumulation,
        "TRAIN.GLOBAL_BATCH": global_batch,
    }


def _with_settings(cfg: Config, settings: dict[str, int]) -> Config:
    return Config(cfg.flat() | settings, {**cfg.origins, **dict.fromkeys(settings, "main.py fit")})


def _read_data(cfg: Config) -> tuple[int, int]:
    """Images and classes of the training set."""
    task = build_task(cfg)
    assert task.train_data is not None
    return task.train_data.num_images, task.num_classes


def _result(trial: Trial) -> str:
    peak = f"{trial.peak_bytes / _GIB:.2f} GiB"
    return (
        f"do not fit, {peak} reached"
        if trial.images_per_s is None
        else f"{peak}, {trial.images_per_s:.1f} images/s"
    )


def _nothing_fits(cfg: Config, smallest: Trial, meter: Meter, device: str, precision: str) -> str:
    help_by = [f"a smaller DATA.IMG_SIZE (now {cfg.DATA.IMG_SIZE})"]
    if precision == "fp32":
        help_by.insert(0, "AMP_DTYPE bf16")
    if len(cfg.checkpoint_stages) < len(cfg.MODEL.selected.DEPTHS):
        help_by.insert(0, "TRAIN.USE_CHECKPOINT True")
    if cfg.AUG.is_mixing and cfg.AUG.MIX_GROUP > 2:
        help_by.append(f"a smaller AUG.MIX_GROUP (now {cfg.AUG.MIX_GROUP})")
    return (
        f"main.py fit: nothing fits: {smallest.micro_batch} image(s) at a time, the fewest that can be, reached "
        f"{smallest.peak_bytes / _GIB:.2f} GiB before they failed, and a process may take "
        f"{meter.limit_bytes / _GIB:.2f} GiB of {device}; what would help: {', '.join(help_by)}, or more memory, where "
        f"--memory-gb and --processes say that there is"
    )


def _notes(cfg: Config, processes: int, device_type: str) -> list[str]:
    notes = []
    if cfg.AUG.is_mixing and not cfg.AUG.MIX_GROUP:
        notes.append(
            "AUG.MIX_GROUP is 0, so images are mixed within a micro-batch, and one of another size mixes others; with "
            "the key given, what is learned stays the same"
        )
    if processes > 1:
        notes.append(
            "measured in one process; what several exchange (buffers of NCCL or gloo) is not counted"
        )
    if processes > 1 and cfg.DIST.STRATEGY != "ddp":
        notes.append(
            f"DIST.STRATEGY is {cfg.DIST.STRATEGY}, and the whole model was measured; a part of it takes less"
        )
    if device_type == "cpu":
        notes.append("peak memory is that of a process that loads no images; loading them takes more")
    else:
        notes.append(
            "peak memory is what torch's allocator reserved; CUDA itself and augmentation on the device "
            "(DATA.AUGMENT_ON) take more"
        )
    return notes
