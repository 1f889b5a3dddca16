"""The weights within a training state: a run's ``step-N`` folder, whose tensors may lie in parts in several files."""

import re
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from swin_train.errors import UserError
from swin_train.weights.manifest import MANIFEST, DamagedFolder, verify_folder
from swin_train.weights.stored_tensors import StoredTensors

_FILE = re.compile(r"state\.safetensors|shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")  # the first: schema 1


def training_state_at(path: Path) -> Path | None:
    """Return the folder of the training state that ``path``, a folder or one of its files, is or belongs to."""
    if _FILE.fullmatch(path.name) and path.is_file():
        return path.parent
    if path.is_dir() and ((path / MANIFEST).is_file() or any(map(_is_file_of_state, path.iterdir()))):
        return path
    return None


def read_section(folder: Path, section: str, called: str) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors below ``section``, without it, and the section of every tensor in the folder.

    Args:
        folder: of a training state; it is held against its manifest first.
        section: such as "model".
        called: what messages call these tensors.

    Raises:
        UserError: the folder is damaged or lacks the section.
    """
    try:
        verify_folder(folder)
    except DamagedFolder as damage:
        raise UserError(f"{damage}; give another checkpoint, or the whole of this folder") from None
    try:
        stored = StoredTensors(folder)
        sections = [name.partition(".")[0] for name in stored.meta]
        names = [name for name in stored.meta if name.startswith(f"{section}.")]
        state = {name.removeprefix(f"{section}."): value for name, value in stored.read(names).items()}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{folder}: cannot be read ({error}); copy it again (delete it first)") from error
    if not state:
        held = ", ".join(sorted(set(sections))) or "no tensors"
        raise UserError(f"{folder}: holds no {called} weights; it holds: {held}")
    return state, sections


def _is_file_of_state(path: Path) -> bool:
    return _FILE.fullmatch(path.name) is not None
