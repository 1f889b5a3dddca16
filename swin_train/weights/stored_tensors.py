"""Tensors in the safetensors files of a folder, whole or in parts: torch.distributed.checkpoint, without its pickles.

Its native format runs code when it is read. Its Hugging Face writer and reader do not; but they notice neither a
damaged nor a missing file, so that whoever reads has held the folder against its manifest before.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

_FILE_BYTES = 128 << 20  # the writer builds each file in memory first


class StoredTensors:
    """The tensors that a folder holds.

    Attributes:
        meta: each of them by name, without values.

    Raises:
        OSError, SafetensorError: a file cannot be read, or does not hold all of a tensor; also later.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        entries = _reader(folder).read_metadata().state_dict_metadata
        self.meta = {
            name: _meta(name, entry)
            for name, entry in entries.items()
            if isinstance(entry, TensorStorageMetadata)
        }

    def read_into(self, tensors: Mapping[str, Tensor]) -> None:
        """Fill ``tensors`` in place: of one that is spread over processes, the part that this process holds.

        Each must have the shape of the stored one; no other process takes part.
        """
        if tensors:
            _quiet()
            with _plain_errors():
                dcp.load(dict(tensors), storage_reader=_reader(self._folder), no_dist=True)

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Return tensors on the CPU."""
        tensors = {name: torch.empty_like(self.meta[name], device="cpu") for name in names}
        self.read_into(tensors)
        return tensors


def _meta(name: str, entry: TensorStorageMetadata) -> Tensor:
    """Return a stored tensor without values. Its shape is what its files say of one another: nobody adds them up."""
    stored, size = sum(math.prod(chunk.sizes) for chunk in entry.chunks), math.prod(entry.size)
    if stored != size:
        raise OSError(f"{name} has {size} values, of which the files hold {stored}")
    return torch.empty(entry.size, dtype=entry.properties.dtype, device="meta")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Raise as OSError what torch.distributed.checkpoint raises as something that is no Exception."""
    try:
        yield
    except CheckpointException as error:
        failures = sorted(dict(error.failures).items())
        raise OSError("; ".join(f"rank {rank}: {failure[0]}" for rank, failure in failures)) from error


def _reader(folder: Path) -> HuggingFaceStorageReader:
    return HuggingFaceStorageReader(str(folder))


def store_tensors(folder: Path, tensors: Mapping[str, Tensor], group: dist.ProcessGroup | None) -> None:
    """Write tensors into ``folder``, every value once, each process what it holds; the caller makes them durable.

    Args:
        folder: exists, is empty, and is the same for all processes.
        tensors: on the CPU; every process gives the same names.
        group: of the processes, gloo; None: this one alone.

    Raises:
        OSError: in every process, when a file could not be written in one.
    """
    _quiet()
    writer = HuggingFaceStorageWriter(
        str(folder), fqn_to_index_mapping=_files(tensors), thread_count=1, save_distributed=True
    )
    writer.sync_files = False
    # Else it copies ahead from the current CUDA device, though these tensors are on the host; and in a thread of its
    # own that is the first one, for all processes of a machine.
    writer.per_thread_copy_ahead = 0
    with _plain_errors():
        dcp.save(dict(tensors), storage_writer=writer, process_group=group, no_dist=group is None)


def files_of(folder: Path, rank: int) -> list[Path]:
    """Return the files that process ``rank`` wrote."""
    return sorted(folder.glob(f"shard-{rank + 1:05d}-*.safetensors"))


def _files(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Number the file of each tensor, from 1, so that none grows beyond what memory should hold of it twice."""
    numbers, number, filled = {}, 1, 0
    for name in sorted(tensors):
        size = math.prod(tensors[name].shape) * tensors[name].element_size()
        if filled and filled + size > _FILE_BYTES:
            number, filled = number + 1, 0
        numbers[name] = number
        filled += size
    return numbers


def _quiet() -> None:
    warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
