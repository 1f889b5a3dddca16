"""Augmentation behind the crop: drawn operations on a batch of 8-bit images, and the finish of the batch.

What was drawn is told by plans, which name the operations, the erasures and the partner of every row of a
batch; what that does to the pixels is here. A row's result depends on its own plan (and its partner's), never
on the rest of the batch.

Contract, for every implementation:

1. *operate*: the mirror image where asked, then layer after layer the operation of each row, uint8 in between.
   Each gives the bits that Pillow 13 gives on x86-64 in modes RGB and L; see ``OpCode``;
2. *finish*: (value / 255 - mean) / std in float32, then the erasures in their order;
3. *mix*: weight * image + (1 - weight) * partner, or the partner inside a box; the partner as step 2 left it.

The noise of an erasure is ``normal_noise(key, count)`` of swin_train/data/draws.py, where that law lives; the
last bits of its logarithm, sine and cosine may differ from one device to another. All else is bit-equal.
"""

import importlib.util
from collections.abc import Sized

import torch
from torch import Tensor

from swin_train.kernels.augment import finish_tensors, operate_tensors
from swin_train.kernels.augment.plans import Erasures, MixPlan, Normalisation, OpCode, Operations

__all__ = ["Erasures", "MixPlan", "Normalisation", "OpCode", "Operations", "finish", "mix_images", "operate"]


def operate(images: Tensor, operations: Operations) -> Tensor:
    """Step 1 of the contract, by the fastest implementation for the device.

    Args:
        images: [B, 1 or 3, height, width] uint8; not changed.
        operations: on the same device.

    Returns:
        The same shape and type.

    Raises:
        ValueError: images or operations have another shape or type.
    """
    _check_images("operate", images)
    _check_channels("operate", images, fill=operations.fill)
    _check_rows("operate", images, operations.matrices)
    if _has_kernels(images):
        from swin_train.kernels.augment import operate_triton  # here, as Triton is not everywhere

        return operate_triton.operate(images.contiguous(), operations)
    return operate_tensors.operate(images.contiguous(), operations)


def finish(
    images: Tensor,
    normalisation: Normalisation,
    *,
    erasures: Erasures | None = None,
    mix: MixPlan | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Steps 2 and 3 of the contract, by the fastest implementation for the device.

    Args:
        images: [B, 1 or 3, height, width] uint8; not changed.
        normalisation, erasures, mix: on the same device.
        dtype: of the result; a floating-point type.

    Returns:
        The same shape, computed in float32, in ``dtype``.

    Raises:
        ValueError: the images or a plan have another shape or type.
    """
    _check_images("finish", images)
    _check_channels("finish", images, mean=normalisation.mean, std=normalisation.std)
    for plan in (erasures, mix):
        if plan is not None:
            _check_rows("finish", images, plan.boxes)
    if _has_kernels(images):
        from swin_train.kernels.augment import finish_triton  # here, as Triton is not everywhere

        return finish_triton.finish(images.contiguous(), normalisation, erasures, mix, dtype)
    return finish_tensors.finish(images.contiguous(), normalisation, erasures, mix, dtype)


def mix_images(images: Tensor, mix: MixPlan) -> Tensor:
    """Step 3 of the contract alone, for images that are finished already.

    Args:
        images: [B, channels, height, width], floating point; not changed.
        mix: on the same device.

    Raises:
        ValueError: the plan is of another batch.
    """
    _check_rows("mix_images", images, mix.boxes)
    if _has_kernels(images):
        from swin_train.kernels.augment import finish_triton  # here, as Triton is not everywhere

        return finish_triton.mix_images(images.contiguous(), mix)
    return finish_tensors.mix_images(images.contiguous(), mix)


def _check_images(where: str, images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"{where}: images are {images.dtype} {list(images.shape)}; "
            "expected torch.uint8 [B, 1 or 3, height, width]"
        )


def _check_channels(where: str, images: Tensor, **values: Sized) -> None:
    for name, by_channel in values.items():
        if len(by_channel) != images.shape[1]:
            raise ValueError(
                f"{where}: {name} has {len(by_channel)} values; the images have {images.shape[1]} channels"
            )


def _check_rows(where: str, images: Tensor, rows: Tensor) -> None:
    """The last dimension but one counts the images."""
    if rows.shape[-2] != len(images):
        raise ValueError(f"{where}: the plan is of {rows.shape[-2]} images; the batch has {len(images)}")


def _has_kernels(images: Tensor) -> bool:
    return images.is_cuda and importlib.util.find_spec("triton") is not None
