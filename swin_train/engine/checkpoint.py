"""Checkpoints: training states that resume exactly, and weights for use elsewhere.

``checkpoints/step-00001250/`` holds ``state.safetensors`` (``model.*``, ``ema.*``, ``optim.*``),
``train.json`` (counters, what the run was started with, and what its weights are) and ``MANIFEST.json``.
``weights/{last,best,best_ema}.safetensors`` hold a model alone, under the published names.
"""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from swin_train.config import Config, to_dict
from swin_train.distributed import Runtime
from swin_train.engine.commit import commit_folder, free_name, remove_folder, sweep
from swin_train.engine.identity import RunFacts, compare_runs
from swin_train.engine.run_folder import RunFolder
from swin_train.engine.state import TrainState
from swin_train.errors import NumericsError, StorageError, UserError
from swin_train.weights.download import is_url
from swin_train.weights.manifest import DamagedFolder, verify_folder
from swin_train.weights.read import STATE_FILE
from swin_train.weights.write import save_tensors, write_weights

logger = logging.getLogger(__name__)

_SCHEMA = 1
_STEP_FOLDER = re.compile(r"step-(\d{8})")


class Checkpointer:
    """Finds the state to continue from, and saves new ones.

    The main process chooses and writes; all processes read what it chose.

    Raises:
        UserError: checkpoints exist, but none is whole, or ``TRAIN.AUTO_RESUME`` is off and a run is there.
    """

    def __init__(self, cfg: Config, folder: RunFolder, runtime: Runtime) -> None:
        self._cfg, self._folder, self._runtime = cfg, folder, runtime
        chosen = runtime.from_main(self._choose)
        self.source = Path(chosen) if chosen else None

    @property
    def recorded(self) -> RunFacts | None:
        """What the run that is resumed was started with; None for a new run."""
        return read_train_json(self.source)["run"] if self.source else None

    def check_identity(self, facts: RunFacts) -> None:
        """Refuse to continue a run as another one; say which other settings changed since.

        Raises:
            UserError: naming every difference with both values.
        """
        if self.source is None:
            return
        content = read_train_json(self.source)
        differences, changes = compare_runs(self._cfg, facts, content["config"], content["run"])
        if differences:
            raise UserError(
                f"{self.source}: the run cannot go on as it began: {'; '.join(differences)}; restore them, "
                f"or start a new run under another TAG"
            )
        if changes:
            logger.warning("settings changed since %s was saved: %s", self.source.name, "; ".join(changes))

    def resume(self, state: TrainState) -> None:
        """Put ``state`` where the saved one was; without one it stays as it is."""
        if self.source is None:
            return
        tensors = load_file(self.source / STATE_FILE)
        try:
            state.restore(tensors, read_train_json(self.source)["state"])
        except UserError as error:
            raise UserError(f"{self.source}: {error}") from None
        if self.source.parent != self._folder.checkpoints:
            state.best.clear()  # those weights are in the other run's folder
        logger.info(
            "resumed from %s: %d of %d updates made, epoch %d",
            self.source,
            state.step,
            state.plan.total_steps,
            state.epoch,
        )

    def save(self, state: TrainState, facts: RunFacts, header: Mapping[str, str]) -> None:
        """Write the training state, and ``header``, what its weights are; keep the newest ``SAVE_KEEP``.

        Raises:
            NumericsError: in every process, when a number in it is not finite.
            StorageError: in every process, when it could not be written. Older checkpoints are untouched.
        """
        self._runtime.from_main(lambda: self._save(state, facts, header))

    def save_weights(self, name: str, state: TrainState, kind: str, header: Mapping[str, str]) -> None:
        """Write ``weights/NAME.safetensors`` from the ``raw`` or ``ema`` model.

        Raises:
            StorageError: in every process, when it could not be written.
        """

        path = self._folder.weights / f"{name}.safetensors"
        self._runtime.from_main(lambda: write_weights(path, state.weights()[kind].state_dict(), header))

    def _choose(self) -> str | None:
        """Return the newest whole checkpoint of the run's own folder, else the one ``--resume`` names."""
        cfg, own = self._cfg, self._folder.checkpoints
        sweep(own)
        found = step_folders(own)
        if found and not cfg.TRAIN.AUTO_RESUME:
            raise UserError(
                f"{own}: a run is there already and TRAIN.AUTO_RESUME is off; choose another TAG or "
                f"--output, or set TRAIN.AUTO_RESUME True to continue it"
            )
        if found:
            if cfg.MODEL.RESUME:
                logger.warning(
                    "MODEL.RESUME %s is not read: the run's own folder has checkpoints", cfg.MODEL.RESUME
                )
            chosen = newest_whole(own)
            for damaged in found[found.index(chosen) + 1 :]:  # out of the way of those that come
                damaged.rename(free_name(own / f"damaged-{damaged.name}"))
            return str(chosen)
        if not cfg.MODEL.RESUME:
            return None
        if is_url(cfg.MODEL.RESUME):
            raise UserError(
                f"MODEL.RESUME: {cfg.MODEL.RESUME} is a URL, which gives weights and no training state to go on from; "
                f"start from its weights with --pretrained {cfg.MODEL.RESUME}"
            )
        return str(_named_state(Path(cfg.MODEL.RESUME)))

    def _save(self, state: TrainState, facts: RunFacts, header: Mapping[str, str]) -> None:
        folder = self._folder.checkpoints / f"step-{state.step:08d}"
        tensors = state.tensors()
        check_finite(tensors, state.step)
        content = {
            "schema": _SCHEMA,
            "state": state.numbers(),
            "run": facts,
            "header": {name: json.loads(value) for name, value in header.items()},
            "config": to_dict(self._cfg),
        }

        def write(beside: Path) -> None:
            save_tensors(beside / STATE_FILE, tensors)
            (beside / "train.json").write_text(json.dumps(content, indent=1), encoding="utf-8")

        try:
            commit_folder(folder, write, {"schema": _SCHEMA, "step": state.step})
        except (OSError, SafetensorError) as error:
            raise StorageError(
                f"{folder}: cannot be written ({error}); older checkpoints are intact"
            ) from None
        logger.info("saved %s", folder)
        for old in step_folders(self._folder.checkpoints)[: -self._cfg.SAVE_KEEP]:
            remove_folder(old)


def check_finite(tensors: Mapping[str, Tensor], step: int) -> None:
    """Refuse to save numbers from which no run could go on.

    Raises:
        NumericsError: naming the first tensor that holds one that is not finite.
    """
    names = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
    finite = torch.stack([tensors[name].isfinite().all().cpu() for name in names])
    if not finite.all():
        worst = names[int(finite.logical_not().nonzero()[0])]
        raise NumericsError(
            f"step {step}: {worst} holds numbers that are not finite; it was not saved, and older checkpoints are "
            f"intact. Lower TRAIN.BASE_LR, lengthen the warm-up, or use AMP_DTYPE bf16 or fp32"
        )


def read_train_json(folder: Path) -> dict[str, Any]:
    """Return the part of a training state that is no tensor.

    Raises:
        UserError: another version wrote it in a form that this one does not know.
    """
    try:
        content = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder / 'train.json'}: cannot be read ({error}); give a whole checkpoint folder"
        ) from None
    if content["schema"] != _SCHEMA:
        raise UserError(
            f"{folder}: written in checkpoint schema {content['schema']}, this version reads {_SCHEMA}; "
            f"use the version of swin_train that wrote it"
        )
    return content


def step_folders(checkpoints: Path) -> list[Path]:
    """Return the committed training states in ``checkpoints``, oldest first."""
    if not checkpoints.is_dir():
        return []
    return sorted(path for path in checkpoints.iterdir() if _STEP_FOLDER.fullmatch(path.name))


def is_whole(folder: Path) -> bool:
    """Whether the files of a training state are those of its manifest; says so when they are not."""
    try:
        verify_folder(folder)
    except DamagedFolder as damage:
        logger.warning("checkpoint passed over: %s", damage)
        return False
    return True


def newest_whole(checkpoints: Path) -> Path:
    """Return the newest training state whose files are those of its manifest.

    Raises:
        UserError: there are some, and all are damaged.
    """
    found = step_folders(checkpoints)
    for folder in reversed(found):
        if is_whole(folder):
            return folder
    raise UserError(
        f"{checkpoints}: none of its {len(found)} checkpoint(s) is whole; restore one, or move the folder "
        f"away to start anew"
    )


def _named_state(path: Path) -> Path:
    """Return the training state that ``--resume PATH`` means: a step folder, or a run's newest."""
    if not path.exists():
        raise UserError(
            f"MODEL.RESUME: {path} does not exist; give a checkpoint folder step-N or a run's folder"
        )
    for checkpoints in (path, path / "checkpoints"):
        if step_folders(checkpoints):
            return newest_whole(checkpoints)
    if path.is_dir() and _STEP_FOLDER.fullmatch(path.name):
        try:
            verify_folder(path)
        except DamagedFolder as damage:
            raise UserError(f"MODEL.RESUME: {damage}; give another checkpoint") from None
        return path
    raise UserError(
        f"MODEL.RESUME: {path} holds no training state to go on from; give a checkpoint folder step-N or a "
        f"run's folder, or start from its weights with --pretrained {path}"
    )
