"""Checkpoints: training states that resume exactly, and weights for use elsewhere.

``checkpoints/step-00001250/`` holds ``state.safetensors`` (``model.*``, ``ema.*``, ``optim.*``),
``train.json`` (counters and what the run was started with) and ``MANIFEST.json``.
``weights/{last,best,best_ema}.safetensors`` hold a model alone, under the published names.
"""

import json
import logging
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from swin_train.config import Config, to_dict
from swin_train.distributed import Runtime
from swin_train.engine.commit import DamagedFolder, commit_folder, remove_folder, sweep, verify_folder
from swin_train.engine.plan import RunPlan
from swin_train.engine.run_folder import RunFolder
from swin_train.engine.state import TrainState
from swin_train.errors import StorageError, UserError
from swin_train.weights.write import write_weights

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
    def recorded(self) -> dict[str, Any] | None:
        """What the run that is resumed was started with; None for a new run."""
        return read_train_json(self.source)["run"] if self.source else None

    def check_identity(self, plan: RunPlan, class_names: tuple[str, ...]) -> None:
        """Refuse to continue a run with another seed, other images or other classes.

        Raises:
            UserError: naming every difference with both values.
        """
        recorded = self.recorded
        if recorded is None:
            return
        now = run_facts(plan, class_names)
        names = {"seed": "SEED", "num_images": "training images", "class_names": "classes"}
        differences = [
            f"{label} was {_short(recorded[fact])}, now {_short(now[fact])}"
            for fact, label in names.items()
            if recorded[fact] != now[fact]
        ]
        if differences:
            raise UserError(
                f"{self.source}: the run cannot go on as it began: {'; '.join(differences)}; restore them, "
                f"or start a new run under another TAG"
            )

    def resume(self, state: TrainState) -> None:
        """Put ``state`` where the saved one was; without one it stays as it is."""
        if self.source is None:
            return
        tensors = load_file(self.source / "state.safetensors")
        try:
            state.restore(tensors, read_train_json(self.source)["state"])
        except UserError as error:
            raise UserError(f"{self.source}: {error}") from None
        logger.info(
            "resumed from %s: %d of %d updates made, epoch %d",
            self.source,
            state.step,
            state.plan.total_steps,
            state.epoch,
        )

    def save(self, state: TrainState, class_names: tuple[str, ...]) -> None:
        """Write the training state; keep the newest ``SAVE_KEEP``.

        Raises:
            StorageError: in every process, when it could not be written. Older checkpoints are untouched.
        """
        self._runtime.from_main(lambda: self._save(state, class_names))

    def save_weights(self, name: str, state: TrainState, kind: str, facts: dict[str, str]) -> None:
        """Write ``weights/NAME.safetensors`` from the ``raw`` or ``ema`` model.

        Raises:
            StorageError: in every process, when it could not be written.
        """

        path = self._folder.weights / f"{name}.safetensors"
        self._runtime.from_main(lambda: write_weights(path, state.weights()[kind].state_dict(), facts))

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
            return str(newest_whole(own))
        if not cfg.MODEL.RESUME:
            return None
        return str(_named_state(Path(cfg.MODEL.RESUME)))

    def _save(self, state: TrainState, class_names: tuple[str, ...]) -> None:
        folder = self._folder.checkpoints / f"step-{state.step:08d}"
        if folder.exists():
            if is_whole(folder):  # saved before a crash that came right after
                return
            remove_folder(folder)  # damaged: an older one was resumed from, and it is written anew
        content = {
            "schema": _SCHEMA,
            "state": state.numbers(),
            "run": run_facts(state.plan, class_names),
            "config": to_dict(self._cfg),
        }

        def write(beside: Path) -> None:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors().items()}
            save_file(tensors, beside / "state.safetensors")
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


def run_facts(plan: RunPlan, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Return what a run is started with and keeps to its end."""
    return {
        "seed": plan.seed,
        "global_batch": plan.global_batch,
        "mix_group": plan.mix_group,
        "num_images": plan.num_images,
        "class_names": list(class_names),
    }


def read_train_json(folder: Path) -> dict[str, Any]:
    """Return the part of a training state that is no tensor.

    Raises:
        UserError: another version wrote it in a form that this one does not know.
    """
    content = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    if content["schema"] != _SCHEMA:
        raise UserError(
            f"{folder}: written in checkpoint schema {content['schema']}, this version reads {_SCHEMA}; "
            f"use the version of swin_train that wrote it"
        )
    return content


def check_whole(path: Path) -> None:
    """Check that a training state, where ``path`` is one, is as it was committed.

    Raises:
        UserError: a file of it is missing or damaged.
    """
    if not _STEP_FOLDER.fullmatch(path.name) or not path.is_dir():
        return
    try:
        verify_folder(path)
    except DamagedFolder as damage:
        raise UserError(f"MODEL.RESUME: {damage}; give another checkpoint") from None


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
        check_whole(path)
        return path
    raise UserError(
        f"MODEL.RESUME: {path} holds no training state to go on from; give a checkpoint folder step-N or a "
        f"run's folder, or start from its weights with --pretrained {path}"
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else text[:97] + "..."
