"""The training states of a run on disk: which there are, which are whole, and what each says."""

import json
import logging
import re
from pathlib import Path
from typing import Any

from swin_train.engine.migrations import SCHEMA, migrate
from swin_train.errors import UserError
from swin_train.weights.manifest import DamagedFolder, verify_folder

logger = logging.getLogger(__name__)

_STEP_FOLDER = re.compile(r"step-(\d{8})")


def step_folder(checkpoints: Path, step: int) -> Path:
    """Return the folder of the training state after ``step`` updates."""
    return checkpoints / f"step-{step:08d}"


def step_of(folder: Path) -> int:
    """Return the number of updates in the name of a step folder."""
    return int(folder.name.removeprefix("step-"))


def step_folders(checkpoints: Path) -> list[Path]:
    """Return the committed training states in ``checkpoints``, oldest first."""
    if not checkpoints.is_dir():
        return []
    return sorted(path for path in checkpoints.iterdir() if _STEP_FOLDER.fullmatch(path.name))


def read_train_json(folder: Path) -> dict[str, Any]:
    """Return the part of a training state that is no tensor, in today's schema.

    Raises:
        UserError: it cannot be read, or a later version wrote it in a form that this one does not know.
    """
    try:
        content = json.loads((folder / "train.json").read_text(encoding="utf-8"))
        schema = content["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder / 'train.json'}: cannot be read ({error}); give a whole checkpoint folder"
        ) from None
    if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
        raise UserError(
            f"{folder}: written in checkpoint schema {schema}, this version reads 1 to {SCHEMA}; "
            f"use the version of swin_train that wrote it"
        )
    return migrate(content)


def is_whole(folder: Path, *, is_said: bool = True) -> bool:
    """Whether the files of a training state are those of its manifest; where they are not, says so if asked to."""
    try:
        verify_folder(folder)
    except DamagedFolder as damage:
        if is_said:
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


def named_state(path: Path) -> Path:
    """Return the training state that ``--resume PATH`` means: a step folder, or a run's newest.

    Raises:
        UserError: there is none, or it is damaged.
    """
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
