"""One number for a training state, whatever files it is spread over."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from swin_train.weights.manifest import verify_folder
from swin_train.weights.stored_tensors import StoredTensors


def state_digest(folder: Path) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes of all tensors of a step folder, in order of names.

    Raises:
        DamagedFolder: its files are not those of its manifest; DCP itself would fill holes with anything.
    """
    verify_folder(folder)
    tensors = read_state(folder)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_state(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a step folder, put together from its shards."""
    stored = StoredTensors(folder)
    return stored.read(list(stored.meta))


def newest_state(run: Path) -> Path:
    """Return the newest committed step folder of a run."""
    return sorted((run / "checkpoints").glob("step-*"))[-1]
