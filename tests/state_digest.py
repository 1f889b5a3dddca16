"""One number for a training state, whatever files it is spread over."""

import hashlib
import warnings
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageReader

from swin_train.weights.manifest import verify_folder


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


def read_state(folder: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a step folder, put together from its shards."""
    described = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    tensors = {name: torch.empty(fact.size, dtype=fact.properties.dtype) for name, fact in described.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # which is what is meant
        dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    return tensors


def newest_state(run: Path) -> Path:
    """Return the newest committed step folder of a run."""
    return sorted((run / "checkpoints").glob("step-*"))[-1]
