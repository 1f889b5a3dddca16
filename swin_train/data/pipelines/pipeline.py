"""What every back end has in common: what it is given, and what it hands over."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swin_train.data.recipe.view import View
from swin_train.kernels.augment import Erasures, Operations

Memory = Callable[[tuple[int, ...], torch.dtype], Tensor]
"""Gives a batch its memory: from the shape and the type to a tensor."""


def fresh(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory of this process alone."""
    return torch.empty(shape, dtype=dtype)


class Place(NamedTuple):
    """Which draw is meant: the seed of the run, the epoch, the image, and which showing of it in the epoch."""

    seed: int
    epoch: int
    image: int
    repeat: int = 0


class Plan(NamedTuple):
    """What is left to do to the uint8 images of a batch, beside normalising and mixing them."""

    operations: Operations | None
    erasures: Erasures | None

    def to(self, device: torch.device) -> "Plan":
        """The same plan on the device."""
        operations, erasures = self
        return Plan(operations and operations.to(device), erasures and erasures.to(device))


class Shown(NamedTuple):
    """One image as a pipeline hands it to ``collate``, and the view whose later steps are still to be done."""

    pixels: Tensor
    view: View | None = None


class Pipeline(Protocol):
    """What happens to decoded pictures in a worker process, for training or for evaluation."""

    def show(self, pixels: NDArray[np.uint8], place: Place) -> Shown:
        """A picture [height, width, channels] as the model shall see it.

        Raises:
            TooElongated: it would have more pixels on the way than any picture may.
        """

    def collate(self, shown: Sequence[Shown], memory: Memory = fresh) -> tuple[Tensor, Plan | None]:
        """A batch [B, channels, height, width]: float32 and finished, or uint8 with what is left to do."""


def stack(shown: Sequence[Shown], memory: Memory) -> Tensor:
    """One tensor of all pixels."""
    first = shown[0].pixels
    batch = memory((len(shown), *first.shape), first.dtype)
    return torch.stack([one.pixels for one in shown], out=batch)
