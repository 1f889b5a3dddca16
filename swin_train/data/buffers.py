"""Memory for batches that is used again: fresh pages, or locking them, would take a fifth of the time."""

import math
import queue
import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Buffers:
    """As many as are in use at once.

    Args:
        dtype: of the pixels, uint8 or float32.
        pinned: whether the memory is page-locked. torch then keeps and reuses it by itself, and waits for copies
            to a device that are still reading it.
    """

    def __init__(self, dtype: torch.dtype, *, pinned: bool) -> None:
        self._dtype = dtype
        self._pinned = pinned
        self._free: queue.SimpleQueue[NDArray[np.uint8]] = queue.SimpleQueue()

    def take(self, shape: tuple[int, ...]) -> Tensor:
        """Memory for a batch, which comes back by itself when no tensor looks at it any more."""
        if self._pinned:
            return torch.empty(shape, dtype=self._dtype, pin_memory=True)
        size = math.prod(shape) * self._dtype.itemsize
        try:
            memory = self._free.get_nowait()
        except queue.Empty:
            memory = np.empty(size, dtype=np.uint8)
        if len(memory) < size:
            memory = np.empty(size, dtype=np.uint8)
        # The tensor's storage keeps this array alive, and this array alone: its end is the end of all views.
        lent = memory[:size]
        weakref.finalize(lent, self._free.put, memory).atexit = False
        return torch.from_numpy(lent).view(self._dtype).view(shape)
