"""How a batch gets from a worker process to the main one: in memory that both share, used again and again.

torch would make a file in shared memory of each tensor of each batch; fresh pages and handing over the files would
take an eighth of the time of a batch that is cropped and resized. Here images lie in a slot that the main process
lends with the request, and all else, a few kilobytes, is one message. Nothing is taken from /dev/shm.
"""

import io
import itertools
import math
import mmap
import pickle  # noqa: TID251  (between a process and those that it forked)
import queue
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler, get_worker_info

from swin_train.data.images import EvalImages, Loaded, TrainImages
from swin_train.data.sampler import BatchRequest
from swin_train.data.watch import AT_REST
from swin_train.errors import DataError


class Slots:
    """Memory for batches of images, shared with the processes that are forked from this one.

    Args:
        count: batches.
        size: bytes of each.
    """

    def __init__(self, count: int, size: int) -> None:
        self._size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = np.frombuffer(mmap.mmap(-1, max(1, count * self._size)), np.uint8)
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(count):
            self._free.put(slot)
        self.number = next(_numbers)
        _all_slots[self.number] = self

    def take(self) -> int | None:
        """A free slot, or None while all are in use."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            return None

    def tensor(self, slot: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The beginning of a slot, for the process that fills it."""
        return torch.from_numpy(self._bytes(slot, shape, dtype)).view(dtype).view(shape)

    def lend(self, slot: int, shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The same for the main process; the slot is free again when no tensor looks at it any more."""
        # The tensor's storage keeps this array alive, and this array alone: its end is the end of all views.
        lent = self._bytes(slot, shape, dtype)
        weakref.finalize(lent, self._free.put, slot).atexit = False
        return torch.from_numpy(lent).view(dtype).as_strided(shape, stride)

    def _bytes(self, slot: int, shape: tuple[int, ...], dtype: torch.dtype) -> NDArray[np.uint8]:
        size, start = math.prod(shape) * dtype.itemsize, slot * self._size
        if size > self._size:
            raise ValueError(f"a batch has {size} bytes; the slots have {self._size}")
        return self._memory[start : start + size]


_numbers = itertools.count()
_all_slots: "weakref.WeakValueDictionary[int, Slots]" = weakref.WeakValueDictionary()


class Order(NamedTuple):
    """A request, and the slot in which its images shall lie; None: there is none free."""

    request: BatchRequest
    slot: int | None


@dataclass(frozen=True)
class Orders(Sampler[Order]):
    """The requests of a sampler with slots, where there are any."""

    requests: Sampler[BatchRequest]
    slots: Slots | None

    def __iter__(self) -> Iterator[Order]:
        for request in self.requests:
            yield Order(request, None if self.slots is None else self.slots.take())


@dataclass(frozen=True)
class SharedBatches(Dataset["Loaded | DataError | Message"]):
    """What becomes of orders: in a worker process, messages."""

    images: TrainImages | EvalImages
    slots: Slots | None

    def __getitem__(self, order: Order) -> "Loaded | DataError | Message":
        if self.slots is None or order.slot is None:
            loaded = self.images(order.request)
            self.images.note(AT_REST)
            return loaded if get_worker_info() is None else Message(loaded, None)
        loaded = self.images(order.request, partial(self.slots.tensor, order.slot))
        self.images.note(AT_REST)
        return Message(loaded, partial(_lend, self.slots.number, order.slot))


@dataclass(frozen=True)
class Message:
    """A batch that turns into a ``Loaded`` or an error on its way to another process.

    Attributes:
        content: the batch, or why there is none.
        lend: makes the images' tensor there, from shape, strides and type; None: they travel as bytes.
    """

    content: Loaded | DataError
    lend: Callable[..., Tensor] | None

    def __reduce__(self) -> tuple[Any, ...]:
        message = io.BytesIO()
        _Pickler(message, self).dump(self.content)
        return pickle.loads, (message.getvalue(),)


class _Pickler(pickle.Pickler):
    """Knows the images of a message that lie in a slot, and writes all other tensors as plain bytes."""

    def __init__(self, file: io.BytesIO, message: Message) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._message = message

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return NotImplemented
        content, lend = self._message.content, self._message.lend
        if lend is not None and isinstance(content, Loaded) and value is content.images:
            return lend, (tuple(value.shape), value.stride(), value.dtype)
        return torch.from_numpy, (value.numpy(),)


def _lend(
    number: int, slot: int, shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype
) -> Tensor:
    return _all_slots[number].lend(slot, shape, stride, dtype)
