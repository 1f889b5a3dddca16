"""A training state on disk: a folder that exists only when it is complete, written by all processes together.

Written beside, fsynced, hashed, renamed. Every stage is agreed: what fails in one process fails in all.
"""

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from swin_train.distributed.channel import Channel
from swin_train.engine.migrations import SCHEMA
from swin_train.engine.step_folders import is_whole
from swin_train.errors import PeerLost, StorageError, UserError, as_told, told
from swin_train.weights.manifest import entry, write_manifest
from swin_train.weights.stored_tensors import files_of, store_tensors
from swin_train.weights.write import flush_to_disk

_OF_TRASH = re.compile(r"\.trash-(step-\d{8}).*")
_ROOM = 1.2  # times the bytes of a state that must be free before it is written


@dataclass(frozen=True)
class Commit:
    """What one training state is made of.

    Attributes:
        folder: its final path.
        tensors: on the CPU, of each what this process holds.
        content: train.json, as text.
        step: updates made.
        owner: number of the launch among those that held the run's folder.
        check_owner: raises where the run is no longer this launch's; called by the main process, last of all.
    """

    folder: Path
    tensors: Mapping[str, Tensor]
    content: str
    step: int
    owner: int
    check_owner: Callable[[], None]

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors, over all processes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    @property
    def beside(self) -> Path:
        """Where it is written first, by this launch alone."""
        return self.folder.with_name(f".tmp-{self.folder.name}-{self.owner}")


def commit(state: Commit, channel: Channel) -> None:
    """Make the folder of ``state`` appear at once or not at all; all processes call this together.

    A folder of that name, which is of the same update without its evaluation, gives way.

    Raises:
        StorageError: in every process, where one could not write.
        LockLost: in every process, where another launch has taken over.
    """
    try:
        _agreed(channel, lambda: _make_room(state) if channel.rank == 0 else None)
        entries = _agreed(channel, lambda: _write_part(state, channel))
        known = {name: found for part in entries for name, found in part.items()}
        _agreed(channel, lambda: _finish(state, known) if channel.rank == 0 else None)
    except BaseException:
        if channel.rank == 0:
            shutil.rmtree(state.beside, ignore_errors=True)
        raise


def _agreed(channel: Channel, work: Callable[[], Any]) -> list[Any]:
    """Do ``work`` in every process and return all results, or raise in all what one of them raised."""
    failure: UserError | None = None
    result: Any = None
    try:
        result = work()
    except (OSError, SafetensorError) as error:
        failure = StorageError(str(error))
    except PeerLost:
        raise
    except UserError as error:
        failure = error
    answers = channel.gather([told(failure) if failure else None, result])
    if failure is not None:
        raise failure
    for other, _ in answers:
        if other is not None:
            raise as_told(other)
    return [answer for _, answer in answers]


def _make_room(state: Commit) -> None:
    shutil.rmtree(state.beside, ignore_errors=True)
    state.beside.mkdir(parents=True)
    disk = os.statvfs(state.beside)
    free, needed = disk.f_bavail * disk.f_frsize, int(_ROOM * state.num_bytes)
    if free < needed:
        raise StorageError(
            f"{free / 1e6:.0f} MB are free and {needed / 1e6:.0f} MB needed; see to free space"
        )


def _write_part(state: Commit, channel: Channel) -> dict[str, Any]:
    """Write what this process holds, and return the manifest's entries of its files."""
    store_tensors(state.beside, state.tensors, channel.group)
    files = files_of(state.beside, channel.rank)
    for path in files:
        flush_to_disk(path)
    return {path.name: entry(path) for path in files}


def _finish(state: Commit, known: Mapping[str, Mapping[str, Any]]) -> None:
    train_json = state.beside / "train.json"
    train_json.write_text(state.content, encoding="utf-8")
    write_manifest(state.beside, {"schema": SCHEMA, "step": state.step, "owner": state.owner}, known)
    for path in (*state.beside.iterdir(), state.beside):
        flush_to_disk(path)
    state.check_owner()
    given_way = None
    if state.folder.exists():
        given_way = state.folder.rename(_trash(state.folder))  # sweep brings it back if this is the end
    state.beside.rename(state.folder)
    flush_to_disk(state.folder.parent)
    if given_way is not None:
        shutil.rmtree(given_way, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Delete a committed folder so that a half-deleted one is never taken for it."""
    shutil.rmtree(folder.rename(_trash(folder)), ignore_errors=True)


def _trash(folder: Path) -> Path:
    return free_name(folder.with_name(f".trash-{folder.name}"))


def free_name(path: Path) -> Path:
    """Return ``path``, or the first of ``path-2``, ``path-3`` and so on that does not exist."""
    number, free = 2, path
    while free.exists():
        free, number = path.with_name(f"{path.name}-{number}"), number + 1
    return free


def sweep(parent: Path) -> None:
    """Delete what crashes left half written or half deleted in ``parent``.

    What was to give way to a folder that never came, and is whole, comes back.
    """
    for folder in parent.glob(".tmp-*"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in sorted(parent.glob(".trash-*")):
        given_way = folder.with_name(_OF_TRASH.sub(r"\1", folder.name))
        if not given_way.exists() and is_whole(folder, is_said=False):
            folder.rename(given_way)
        else:
            shutil.rmtree(folder, ignore_errors=True)
