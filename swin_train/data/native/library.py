"""The compiled extension, called through ctypes, which lets other Python threads run meanwhile."""

import ctypes
import functools
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swin_train.data.native.batch import MESSAGE, Batch, make_batch, read_messages, set_finish, set_operations
from swin_train.data.native.build import library_path
from swin_train.data.native.pictures import Crops, Item, Pictures
from swin_train.errors import UserError
from swin_train.kernels.augment import Erasures, Normalisation, Operations

__all__ = ["Crops", "Item", "Pictures", "Pool", "unavailable"]

_SIMD_LEVELS: dict[bool | str, int] = {False: 0, "avx2": 1, True: 2}  # of simd.h


def unavailable() -> str | None:
    """Why the extension cannot be used, or None: the end of a sentence that begins with its name."""
    try:
        _library()
    except UserError as error:
        return str(error)
    return None


@functools.cache
def _library() -> ctypes.CDLL:
    path = library_path()
    if path is None:
        raise UserError("is not built; run python main.py build-native")
    try:
        library = ctypes.CDLL(str(path), use_errno=True)
    except OSError as error:
        raise UserError(f"cannot be loaded ({error}); run python main.py build-native") from None
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "sw_jpeg_is_usable": (integer, []),
        "sw_pool_create": (pointer, [integer, integer]),
        "sw_pool_destroy": (None, [pointer]),
        "sw_load": (None, [pointer, pointer, integer]),
        "sw_release": (None, [pointer, integer]),
        "sw_render": (None, [pointer, pointer]),
        "sw_render_augmented": (None, [pointer, pointer]),
        "sw_decode": (None, [pointer, pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = library[name]
        function.restype, function.argtypes = result, arguments
        setattr(library, name, function)  # a subscript gives a new object, of no types, each time
    if not library.sw_jpeg_is_usable():
        raise UserError(
            "was built with another libjpeg than the one that is there; run python main.py build-native"
        )
    return library


class Pool:
    """C threads that load and render pictures; they end with ``close`` or when the pool is collected.

    Calls may come from several threads of Python at once; batches are worked off in the order in which they
    come. The threads do not outlive a fork: the child must make a pool of its own.

    Args:
        threads: at least 1.
        simd: use vector instructions where the processor has them, or those up to AVX2 only. The results are the
            same bits without; SWIN_TRAIN_NO_SIMD=1 in the environment forbids them.

    Raises:
        UserError: the extension cannot be used, or the threads cannot be started.
    """

    def __init__(self, threads: int, *, simd: bool | Literal["avx2"] = True) -> None:
        if threads < 1:
            raise ValueError(f"Pool: threads is {threads}; it must be at least 1")
        problem = unavailable()
        if problem:
            raise UserError(f"the native extension {problem}")
        self._library = _library()
        self._process = os.getpid()
        if os.environ.get("SWIN_TRAIN_NO_SIMD", "") not in ("", "0"):
            simd = False
        self._handle = self._library.sw_pool_create(threads, _SIMD_LEVELS[simd])
        if not self._handle:
            reason = os.strerror(ctypes.get_errno())
            raise UserError(f"the native extension cannot start {threads} threads ({reason}); use fewer")
        self._num_calls = 0
        self._idle = threading.Condition()
        self._finalizer = weakref.finalize(self, _destroy, self._library, self._handle, self._process)
        self._finalizer.atexit = (
            False  # the process ends them; one may hang in a read, and be waited for for ever
        )

    def close(self) -> None:
        """End the threads when the calls in work have returned; nothing can be called afterwards."""
        with self._idle:
            self._handle = None
            if self._process == os.getpid():
                self._idle.wait_for(lambda: self._num_calls == 0)
        self._finalizer()

    def load(self, items: Sequence[Item]) -> Pictures:
        """Read files and look at the headers.

        Args:
            items: spans of files, which the threads read; encoded bytes; or pixels, [height, width, 1 or 3] uint8.

        Raises:
            ValueError: pixels have another shape or type.
        """
        pictures = Pictures(items, self._library)
        with self._in_use() as handle:
            self._library.sw_load(handle, pictures.records.ctypes.data, len(pictures))
        pictures.note_states()
        return pictures

    def render(self, pictures: Pictures, crops: Crops, out: Tensor | NDArray[np.uint8]) -> list[str | None]:
        """Decode, crop, resize, shift and mirror.

        Args:
            pictures: B of them.
            crops: what is shown of each.
            out: [B, 1 or 3, height, width] uint8, contiguous, on the CPU; rows that have no result stay as they are.

        Returns:
            By picture, what is wrong with it, or None. One that has no crop or no pixels is left out.

        Raises:
            ValueError: an argument has another shape or type.
        """
        batch, kept = make_batch(pictures, crops, out, torch.uint8)
        batch.bytes = kept["out"].ctypes.data
        with self._in_use() as handle:
            self._library.sw_render(handle, ctypes.byref(batch))
        return read_messages(kept["messages"], pictures)

    def render_augmented(
        self,
        pictures: Pictures,
        crops: Crops,
        operations: Operations | None,
        normalisation: Normalisation,
        erasures: Erasures | None,
        out: Tensor | NDArray[np.float32],
    ) -> list[str | None]:
        """``render``, then the steps of ``kernels.augment`` except the mix, into float32.

        Its result is that of ``operate`` and ``finish`` on what ``render`` gives.
        """
        batch, kept = make_batch(pictures, crops, out, torch.float32)
        batch.floats = kept["out"].ctypes.data
        set_operations(batch, kept, operations)
        set_finish(batch, kept, normalisation, erasures)
        with self._in_use() as handle:
            self._library.sw_render_augmented(handle, ctypes.byref(batch))
        return read_messages(kept["messages"], pictures)

    def decode(self, pictures: Pictures) -> list[NDArray[np.uint8] | str]:
        """The whole pictures, [height, width, 1 or 3], 1 for a grey one; or what is wrong."""
        records = pictures.records
        decoded = [
            np.empty((0, 0, 1) if pictures.reason(row) else (height, width, channels), np.uint8)
            for row, (height, width, channels) in enumerate(records[["height", "width", "channels"]].tolist())
        ]
        targets = np.array([pixels.ctypes.data for pixels in decoded], np.uintp)
        messages = np.zeros((len(records), MESSAGE), np.uint8)
        batch = Batch(pictures=records.ctypes.data, count=len(records))
        batch.messages, batch.decoded = messages.ctypes.data, targets.ctypes.data
        with self._in_use() as handle:
            self._library.sw_decode(handle, ctypes.byref(batch))
        problems = read_messages(messages, pictures)
        return [problem or pixels for problem, pixels in zip(problems, decoded, strict=True)]

    @contextmanager
    def _in_use(self) -> Iterator[int]:
        if self._process != os.getpid():
            raise RuntimeError(
                "the pool was made before a fork, and its threads are not in this process; make another"
            )
        with self._idle:
            if self._handle is None:
                raise RuntimeError("the pool is closed")
            handle, self._num_calls = self._handle, self._num_calls + 1
        try:
            yield handle
        finally:
            with self._idle:
                self._num_calls -= 1
                self._idle.notify_all()


def _destroy(library: ctypes.CDLL, handle: int, process: int) -> None:
    if process == os.getpid():  # a forked child has the handle, but not the threads
        library.sw_pool_destroy(handle)
