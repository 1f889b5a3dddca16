"""Weights -> files, which are there whole or not at all."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from swin_train.errors import StorageError


def write_weights(path: str | Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors to ``path``; a reader sees the old file or the whole new one, also after a crash.

    Args:
        path: of the .safetensors file; its folder exists.
        state: tensors by name, on any device; those that share memory are written apart.
        metadata: stored in the file's header; "weights" is "ema" for averaged weights.

    Raises:
        StorageError: the file system refuses.
    """
    _write_whole(Path(path), lambda beside: save_tensors(beside, state, dict(metadata)))


def write_torch(path: str | Path, state: Mapping[str, Tensor], wrapper: str | None = None) -> None:
    """Write tensors as a .pth file that ``torch.load(weights_only=True)`` reads, as safely as ``write_weights``.

    Args:
        path: of the file; its folder exists.
        state: tensors by name, on any device; those that share memory are written apart.
        wrapper: the key that the file's dict holds ``state`` under, such as "model"; None writes it bare.

    Raises:
        StorageError: the file system refuses.
    """
    plain = _separate(state)

    def save(beside: Path) -> None:
        with beside.open("wb") as file:  # by its path, torch would write the temporary name into the file
            try:
                torch.save({wrapper: plain} if wrapper else plain, file)  # noqa: TID251  (tensors alone)
            except RuntimeError as error:
                # torch's zip writer hides the file's own error behind one of its own.
                raise OSError(str(error.__context__ or error)) from error

    _write_whole(Path(path), save)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, as safely as ``write_weights``.

    Raises:
        StorageError: the file system refuses.
    """
    _write_whole(Path(path), lambda beside: beside.write_text(text, encoding="utf-8"))


def _write_whole(path: Path, save: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        try:
            save(temporary)
            put_in_place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"{path}: cannot be written ({error}); see to free space and permissions"
        ) from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file in place, readable by whoever may read the files of this process.

    Raises:
        OSError, SafetensorError: the file system refuses.
    """
    path.touch()
    mode = path.stat().st_mode  # safetensors replaces the file by one for its owner alone
    save_file(_separate(tensors), path, metadata)
    path.chmod(mode)


def _separate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors, each with memory of its own: safetensors refuses others, torch saves all of it."""
    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        memory = tensor.untyped_storage()
        is_shared = memory.data_ptr() in seen or memory.nbytes() > tensor.nbytes
        separate[name] = tensor.clone() if is_shared else tensor
        seen.add(memory.data_ptr())
    return separate


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a written file its name, so that it is there whole or not at all, also after a crash."""
    flush_to_disk(temporary)
    temporary.replace(path)
    flush_to_disk(path.parent)  # the new name itself


def flush_to_disk(path: Path) -> None:
    """Make sure that a file or a folder has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
