"""Which images make up which batch: a pure function of the seed, the epoch and the step."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from swin_train.data.orders import Order, OrderLaw, Shuffled


@dataclass(frozen=True)
class BatchRequest:
    """The images of one micro-batch.

    Attributes:
        epoch: counted from 0.
        step: within the epoch.
        indices: of the images in the data set, [B].
        positions: of the images in the global batch, or in the whole split for evaluation, [B].
        repeats: how often each image was shown before in the epoch, [B].
    """

    epoch: int
    step: int
    indices: NDArray[np.int64]
    positions: NDArray[np.int64]
    repeats: NDArray[np.int64]

    def showings(self) -> Iterator[tuple[int, int]]:
        """The index of each image, and how often it was shown before."""
        return zip(self.indices.tolist(), self.repeats.tolist(), strict=True)


@dataclass(frozen=True)
class BatchGeometry:
    """How global batches are cut from an epoch's order, and what of them falls to this process.

    Attributes:
        num_images: in the training set.
        global_batch: images per update, over all processes.
        world_size: number of processes.
        rank: of this process.
        micro_batch: images per forward pass; the last of a step may be smaller.
        mix_group: images that are mixed among themselves; 0 without mixing.
        seed: of the run.

    Raises:
        ValueError: the processes cannot share the batch equally, or a group would be torn apart.
    """

    num_images: int
    global_batch: int
    world_size: int
    rank: int
    micro_batch: int
    mix_group: int
    seed: int

    def __post_init__(self) -> None:
        if self.global_batch % self.world_size:
            raise ValueError(
                f"global_batch {self.global_batch} must be a multiple of world_size {self.world_size}."
            )
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} must be below world_size {self.world_size}.")
        if self.mix_group and (self.rank_batch % self.mix_group or self.micro_batch % self.mix_group):
            raise ValueError(
                f"{self.rank_batch} images per process and {self.micro_batch} per micro-batch "
                f"must both be multiples of mix_group {self.mix_group}."
            )

    @property
    def rank_batch(self) -> int:
        """Images of this process per update."""
        return self.global_batch // self.world_size

    @property
    def micro_batches(self) -> int:
        """Forward passes of this process per update."""
        return math.ceil(self.rank_batch / self.micro_batch)

    @property
    def steps_per_epoch(self) -> int:
        """Updates per epoch; the images that do not fill a last batch are left out."""
        return self.num_images // self.global_batch

    def requests(self, order: Order, epoch: int, first_step: int = 0) -> Iterator[BatchRequest]:
        """The micro-batches of this process, from ``first_step`` to the end of the epoch, which has this order."""
        first, end = self.rank * self.rank_batch, (self.rank + 1) * self.rank_batch
        for step in range(first_step, self.steps_per_epoch):
            images, repeats = (
                part[step * self.global_batch : (step + 1) * self.global_batch] for part in order
            )
            for start in range(first, end, self.micro_batch):
                positions = np.arange(start, min(start + self.micro_batch, end))
                yield BatchRequest(epoch, step, images[positions], positions, repeats[positions])


class EpochSampler(Sampler[BatchRequest]):
    """Requests of the epoch that was last chosen; persistent workers need one sampler for all epochs.

    Args:
        geometry: which part of the order is whose.
        law: what is shown in an epoch; None: every image once, shuffled.
    """

    def __init__(self, geometry: BatchGeometry, law: OrderLaw | None = None) -> None:
        self.geometry = geometry
        self._law = law or Shuffled(geometry.num_images, geometry.seed)
        self._start = (0, 0)

    def start_at(self, epoch: int, first_step: int) -> None:
        """Choose where the next pass begins."""
        self._start = (epoch, first_step)

    def images_of(self, epoch: int, step: int) -> list[int]:
        """The images of global batch ``step`` of an epoch, in its order."""
        batch = self.geometry.global_batch
        images, _ = self._law(epoch)
        return images[step * batch : (step + 1) * batch].tolist()

    def __iter__(self) -> Iterator[BatchRequest]:
        epoch, first_step = self._start
        return self.geometry.requests(self._law(epoch), epoch, first_step)


@dataclass(frozen=True)
class EvalSampler(Sampler[BatchRequest]):
    """Every image of a split once over all processes, with equally many batches on each.

    The last processes are filled up with repeats of the last image, at positions from ``num_images`` on.

    Attributes:
        num_images: in the split.
        world_size: number of processes.
        rank: of this process.
        batch_size: images per forward pass.
    """

    num_images: int
    world_size: int
    rank: int
    batch_size: int

    def __len__(self) -> int:
        return math.ceil(self._share / self.batch_size)

    @property
    def _share(self) -> int:
        return math.ceil(self.num_images / self.world_size)

    def __iter__(self) -> Iterator[BatchRequest]:
        first, end = self.rank * self._share, (self.rank + 1) * self._share
        for step, start in enumerate(range(first, end, self.batch_size)):
            positions = np.arange(start, min(start + self.batch_size, end))
            indices = np.minimum(positions, self.num_images - 1)
            yield BatchRequest(0, step, indices, positions, np.zeros_like(indices))
