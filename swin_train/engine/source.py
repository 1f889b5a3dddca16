"""Which training state a launch goes on from: the main process chooses, and every machine looks whether it is whole."""

import logging
from functools import partial
from pathlib import Path

from swin_train.config import Config
from swin_train.distributed import Runtime
from swin_train.engine.commit import free_name, sweep
from swin_train.engine.step_folders import is_whole, named_state, newest_whole, step_folders
from swin_train.errors import UserError
from swin_train.weights.download import is_url

logger = logging.getLogger(__name__)


def find_source(cfg: Config, checkpoints: Path, runtime: Runtime) -> Path | None:
    """Return the newest whole state of the run's own folder, else the one ``--resume`` names, else None.

    Clocks and dates of files have no say: numbers of updates decide. Damaged states that are newer are put aside.

    Args:
        cfg: the configuration.
        checkpoints: the run's own folder of states.
        runtime: of this process; all call this together and get the same answer.

    Raises:
        UserError: states exist, but none is whole, or ``TRAIN.AUTO_RESUME`` is off and a run is there.
    """
    chosen = runtime.from_main(partial(_choose, cfg, checkpoints))
    while chosen is not None and _is_damaged_elsewhere(Path(chosen), runtime):
        chosen = runtime.from_main(partial(_choose_older, Path(chosen), checkpoints))
    return Path(chosen) if chosen else None


def _choose(cfg: Config, checkpoints: Path) -> str | None:
    sweep(checkpoints)
    found = step_folders(checkpoints)
    if found and not cfg.TRAIN.AUTO_RESUME:
        raise UserError(
            f"{checkpoints}: a run is there already and TRAIN.AUTO_RESUME is off; choose another TAG or "
            f"--output, or set TRAIN.AUTO_RESUME True to continue it"
        )
    if found:
        if cfg.MODEL.RESUME:
            logger.warning(
                "MODEL.RESUME %s is not read: the run's own folder has checkpoints", cfg.MODEL.RESUME
            )
        chosen = newest_whole(checkpoints)
        for damaged in found[found.index(chosen) + 1 :]:  # out of the way of those that come
            _put_aside(damaged)
        return str(chosen)
    if not cfg.MODEL.RESUME:
        return None
    if is_url(cfg.MODEL.RESUME):
        raise UserError(
            f"MODEL.RESUME: {cfg.MODEL.RESUME} is a URL, which gives weights and no training state to go on from; "
            f"start from its weights with --pretrained {cfg.MODEL.RESUME}"
        )
    return str(named_state(Path(cfg.MODEL.RESUME)))


def _is_damaged_elsewhere(folder: Path, runtime: Runtime) -> bool:
    """Have each other machine look at a state, whose disk may show it otherwise."""
    if runtime.world_size == runtime.local_world_size:
        return False
    is_looking = runtime.local_rank == 0 and not runtime.is_main
    return bool(runtime.files.largest([int(is_looking and not is_whole(folder))])[0])


def _choose_older(damaged: Path, checkpoints: Path) -> str:
    if damaged.parent != checkpoints:
        raise UserError(
            f"MODEL.RESUME: {damaged} is not whole as another machine sees it; give another checkpoint"
        )
    _put_aside(damaged)
    return str(newest_whole(checkpoints))


def _put_aside(damaged: Path) -> None:
    damaged.rename(free_name(damaged.with_name(f"damaged-{damaged.name}")))
