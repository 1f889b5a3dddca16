"""State dicts -> safetensors files, which are there whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path

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
    path = Path(path)
    try:
        _write_whole(path, state, dict(metadata))
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"{path}: cannot be written ({error}); see to free space and permissions"
        ) from error


def _write_whole(path: Path, state: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        save_tensors(temporary, state, metadata)
        flush_to_disk(temporary)
        temporary.replace(path)
        flush_to_disk(path.parent)  # the new name itself
    finally:
        temporary.unlink(missing_ok=True)


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
    """Contiguous CPU tensors, none of which shares memory with another: safetensors refuses those that do."""
    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return separate


def flush_to_disk(path: Path) -> None:
    """Make sure that a file or a folder has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
