"""How a batch gets from a worker process to the main one: in memory that both share, used again and again.

torch would make a file in shared memory of each tensor: of the time for a batch that is cropped and resized, an
eighth would go into fresh pages and into handing those files over. Here the images lie in a slot that the main
process lends with the request, and all else, a few kilobytes, is one message. Nothing is taken from /dev/shm.
"""

import io
import itertools
import math
import mmap
import pickle
import queue
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from swin_train.data.images import Loaded
from swin_train.data.pipelines.pipeline import Memory
from swin_train.data.sampler import BatchRequest
from swin_train.errors import DataError


class Slots:
    """Memory for batches of images, which processes that are forked from this one share with it.

    Args:
        count: batches.
        size: bytes of each.
    """

    def __init__(self, count: int, size: int) -> None:
        # unlike a file in /dev/shm, limited by nothing but the memory there is
        self._memory = np.frombuffer(mmap.mmap(-1, max(1, count * size)), np.uint8)
        self._size = size
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(count):
            self._free.put(slot)
        self.number = next(_numbers)
        _slots[self.number] = self

    def take(self) -> int | None:
        """A free slot, or None when all are in use."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            return None

    def tensor(self, slot: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The beginning of a slot.

        Raises:
            ValueError: it is too small.
        """
        return self._tensor(self._bytes(slot, shape, dtype), shape, dtype)

    def lend(self, slot: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The beginning of a slot, which is free again when no tensor looks at it any more."""
        # The tensor's storage keeps this array alive, and this array alone: its end is the end of all views.
        lent = self._bytes(slot, shape, dtype)
        weakref.finalize(lent, self._free.put, slot).atexit = False
        return self._tensor(lent, shape, dtype)

