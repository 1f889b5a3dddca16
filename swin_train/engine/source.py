"""Which training state a launch goes on from: the main process chooses, and every machine looks whether it is whole."""

import logging
from functools import partial
from pathlib import Path

from swin_train.config import Config
from swin_train.distributed import Runtime
from swin_train.engine.commit import free_name, sweep
from swin_train.engine.every_machine import machines_without
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
    refused: list[str] = []
    while chosen is not None and (where := machines_without(partial(is_whole, Path(chosen)), runtime)):
        refused.append(chosen)
        chosen = runtime.from_main(partial(_choose_older, refused, ", ".join(where)))
    if runtime.is_main and chosen is not None and Path(chosen).parent == checkpoints:
        for newer in step_folders(checkpoints):  # damaged: out of the way of those that come
            if newer.name > Path(chosen).name:
                newer.rename(free_name(newer.with_name(f"damaged-{newer.name}")))
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
        return str(newest_whole(checkpoints))
    if any(checkpoints.glob("damaged-step-*")):
        raise UserError(
            f"{checkpoints}: all its checkpoints were put aside as damaged; restore one of them as step-N, or choose "
            f"another TAG to start anew"
        )
    if not cfg.MODEL.RESUME:
        return None
    if is_url(cfg.MODEL.RESUME):
        raise UserError(
            f"MODEL.RESUME: {cfg.MODEL.RESUME} is a URL, which gives weights and no training state to go on from; "
            f"start from its weights with --pretrained {cfg.MODEL.RESUME}"
        )
    return str(named_state(Path(cfg.MODEL.RESUME)))


def _choose_older(refused: list[str], where: str) -> str:
    """Return the newest whole state before those that some machine cannot read."""
    oldest = Path(refused[-1])
    for folder in reversed(step_folders(oldest.parent)):
        if folder.name < oldest.name and is_whole(folder):
            return str(folder)
    raise UserError(
        f"{refused[0]}: is not whole as {where} sees it, nor is any older state; see to it that every machine reads "
        f"the same folder"
    )
