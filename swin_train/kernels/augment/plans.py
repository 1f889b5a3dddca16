"""Plans: what was drawn for each row of a batch, as tensors that travel with the batch."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Self

import torch
from torch import Tensor


class OpCode(IntEnum):
    """What is done to a row, and what its value means; the C code uses the same numbers."""

    IDENTITY = 0
    AUTO_CONTRAST = 1  # ImageOps.autocontrast
    EQUALIZE = 2  # ImageOps.equalize
    INVERT = 3
    POSTERIZE = 4  # bits kept; none: black
    SOLARIZE = 5  # threshold, from which on values are inverted
    SOLARIZE_ADD = 6  # added to values below 128
    BRIGHTNESS = 7  # factor of ImageEnhance.Brightness; the next three likewise
    CONTRAST = 8
    COLOR = 9
    SHARPNESS = 10
    AFFINE = 11  # Image.transform by the row's matrix and filter; no value
    GREY = 12  # convert("L"), in as many channels as before
    BLUR = 13  # radius of ImageFilter.GaussianBlur


class _Plan:
    """Tensors that move together; a dataclass."""

    def to(self, device: torch.device | str) -> Self:
        """The plan on a device; the host does not wait where its memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """The plan in page-locked host memory."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, move: Callable[[Tensor], Tensor]) -> Self:
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        moved = {name: move(value) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **moved)  # type: ignore[type-var]


@dataclass(frozen=True)
class Operations(_Plan):
    """What is done to each image of a batch: layer 0, layer 1, and so on.

    Attributes:
        flips: [B] bool: mirrored first.
        codes: [layers, B] int32 ``OpCode``.
        values: [layers, B] float64, what the code says; 0 where it has none.
        matrices: [layers, B, 6] float64, from a pixel of the result to one of the image, as
            ``Image.transform(..., AFFINE, matrix)`` takes them.
        bicubic: [layers, B] bool: filter of AFFINE; otherwise bilinear.
        fill: value per channel, 0..255, of what AFFINE brings in.
        occurring: the codes there are. Read from ``codes`` where not given, so make plans on the host.
    """

    flips: Tensor
    codes: Tensor
    values: Tensor
    matrices: Tensor
    bicubic: Tensor
    fill: tuple[int, ...]
    occurring: frozenset[int] | None = None

    def __post_init__(self) -> None:
        if self.occurring is None:
            object.__setattr__(self, "occurring", frozenset(self.codes.unique().tolist()))


@dataclass(frozen=True)
class Normalisation(_Plan):
    """Mean and deviation by channel, [C] float32, of images in [0, 1]."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Erasures(_Plan):
    """Rectangles overwritten after normalisation, in order.

    Attributes:
        boxes: [count, B, 4] int32: left, top, right and bottom; an empty box erases nothing.
        keys: [count, B] int64: of the noise.
        mode: ``const`` writes 0, ``rand`` one normal deviate per channel, ``pixel`` one per value, in the
            order channel, row, column of the box.
    """

    boxes: Tensor
    keys: Tensor
    mode: str


@dataclass(frozen=True)
class MixPlan(_Plan):
    """How each image is mixed with another: Mixup and CutMix.

    Attributes:
        partners: [B] int64: row of the other image.
        weights: [B] float64: of the image itself where both are averaged; the partner has the rest. In float64,
            so that the rest is rounded to float32 only once.
        boxes: [B, 4] int32: top, bottom, left and right of what the partner shows through; where a box is
            empty, both are averaged.
    """

    partners: Tensor
    weights: Tensor
    boxes: Tensor
