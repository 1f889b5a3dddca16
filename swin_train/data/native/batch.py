"""The struct of a batch that the C threads work on, made from checked arrays and plans."""

import ctypes
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from swin_train.data.native.pictures import Crops, Pictures
from swin_train.kernels.augment import Erasures, Normalisation, Operations

MESSAGE = 200  # SW_MESSAGE
_MAX_SIDE = 65535  # SW_MAX_SIDE
_ERASURE_MODES = ("const", "rand", "pixel")  # by the number that the C code gives them
_OPERATION = np.dtype(
    [("code", np.int32), ("bicubic", np.int32), ("value", np.float64), ("matrix", np.float64, 6)], align=True
)
_ERASURE = np.dtype([("box", np.int32, 4), ("key", np.int64)], align=True)


class Batch(ctypes.Structure):
    """sw_batch of batch.h."""

    _fields_ = (
        ("pictures", ctypes.c_void_p),
        ("limits", ctypes.c_void_p),
        ("boxes", ctypes.c_void_p),
        ("bicubic", ctypes.c_void_p),
        ("mirrored", ctypes.c_void_p),
        ("shifts", ctypes.c_void_p),
        ("count", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("messages", ctypes.c_void_p),
        ("bytes", ctypes.c_void_p),
        ("floats", ctypes.c_void_p),
        ("operations", ctypes.c_void_p),
        ("mean", ctypes.c_void_p),
        ("std", ctypes.c_void_p),
        ("erasures", ctypes.c_void_p),
        ("num_operations", ctypes.c_int32),
        ("num_erasures", ctypes.c_int32),
        ("erasure_mode", ctypes.c_int32),
        ("fill", ctypes.c_uint8 * 4),
        ("decoded", ctypes.c_void_p),
    )


def make_batch(
    pictures: Pictures, crops: Crops, out: Any, dtype: torch.dtype
) -> tuple[Batch, dict[str, NDArray[Any]]]:
    """The struct without what is done to the views, and the arrays that it points to."""
    count = len(pictures)
    images = _checked_out(out, count, dtype)
    kept = _checked_crops(crops, count)
    kept |= {"out": images, "messages": np.zeros((count, MESSAGE), np.uint8)}
    batch = Batch(pictures=pictures.records.ctypes.data, count=count)
    _, batch.channels, batch.height, batch.width = images.shape
    for name in ("limits", "boxes", "bicubic", "mirrored", "shifts", "messages"):
        setattr(batch, name, kept[name].ctypes.data)
    return batch, kept


def _checked_out(out: Any, count: int, dtype: torch.dtype) -> NDArray[Any]:
    images = torch.as_tensor(out) if isinstance(out, np.ndarray) else out
    shape = tuple(images.shape)
    is_right = len(shape) == 4 and shape[0] == count and shape[1] in (1, 3) and 0 not in shape[2:]
    if not is_right or max(shape[2:]) > _MAX_SIDE or images.dtype != dtype:
        raise ValueError(
            f"out is {images.dtype} {list(shape)}; it must be {dtype} [{count}, 1 or 3, height, width]"
        )
    if images.device.type != "cpu" or not images.is_contiguous():
        raise ValueError("out must be contiguous and on the CPU")
    return images.numpy()


def _checked_crops(crops: Crops, count: int) -> dict[str, NDArray[Any]]:
    def checked(name: str, dtype: Any, *shape: int) -> NDArray[Any]:
        values: NDArray[Any] = getattr(crops, name)
        if values.dtype != dtype or values.shape != (count, *shape):
            wanted = f"{np.dtype(dtype)} {[count, *shape]}"
            raise ValueError(f"crops.{name} is {values.dtype} {list(values.shape)}; it must be {wanted}")
        return np.ascontiguousarray(values)

    return {
        "limits": checked("limits", np.int32, 4),
        "boxes": checked("boxes", np.float64, 4),
        "bicubic": checked("filters", np.uint8),
        "mirrored": checked("flips", np.bool_),
        "shifts": checked("shifts", np.int32, 2),
    }


def set_operations(batch: Batch, kept: dict[str, NDArray[Any]], operations: Operations | None) -> None:
    """Point ``batch`` to the operations, [B, layers]; their mirror image comes right after that of the crop."""
    if operations is None:
        return
    layers, count = operations.codes.shape
    if (count, len(operations.fill)) != (batch.count, batch.channels):
        raise ValueError(
            f"operations are for {count} images with {len(operations.fill)} channels; out has {batch.count} with "
            f"{batch.channels}"
        )
    records = np.zeros((count, layers), _OPERATION)
    records["code"] = operations.codes.T
    records["bicubic"] = operations.bicubic.T
    records["value"] = operations.values.T
    records["matrix"] = operations.matrices.transpose(0, 1)
    kept["operations"] = records
    kept["mirrored"] = kept["mirrored"] ^ operations.flips.numpy()
    batch.operations, batch.num_operations = records.ctypes.data, layers
    batch.mirrored = kept["mirrored"].ctypes.data
    fill = operations.fill if len(operations.fill) == 3 else operations.fill * 3
    batch.fill = (ctypes.c_uint8 * 4)(*fill)


def set_finish(
    batch: Batch, kept: dict[str, NDArray[Any]], normalisation: Normalisation, erasures: Erasures | None
) -> None:
    """Point ``batch`` to the mean and deviation of its channels and to the erasures, [B, number]."""
    for name in ("mean", "std"):
        values: NDArray[Any] = getattr(normalisation, name).numpy().astype(np.float32).ravel()
        if len(values) != batch.channels:
            raise ValueError(f"{name} has {len(values)} values; out has {batch.channels} channels")
        kept[name] = values
        setattr(batch, name, values.ctypes.data)
    if erasures is None:
        return
    number, count = erasures.keys.shape
    if count != batch.count or tuple(erasures.boxes.shape) != (number, count, 4):
        raise ValueError(f"erasures are for {count} images; out has {batch.count}")
    records = np.zeros((count, number), _ERASURE)
    records["box"] = erasures.boxes.transpose(0, 1)
    records["key"] = erasures.keys.T
    kept["erasures"] = records
    batch.erasures, batch.num_erasures = records.ctypes.data, number
    batch.erasure_mode = _ERASURE_MODES.index(erasures.mode)


def read_messages(messages: NDArray[np.uint8], pictures: Pictures) -> list[str | None]:
    """By picture, what the threads found wrong with it, or None."""
    problems: list[str | None] = [None] * len(messages)
    for row in np.flatnonzero(messages[:, 0]).tolist():
        text = messages[row].tobytes().split(b"\0")[0].decode(errors="replace")
        problems[row] = pictures.reason(row) or f"cannot be decoded ({text})"
    return problems
