"""The views of a batch as tensors, from which the batched operations compute."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from swin_train.data.recipe.erasing import ErasingMode
from swin_train.data.recipe.view import Op, Size, View
from swin_train.kernels.augment import Erasures, OpCode, Operations

Matrix = tuple[float, float, float, float, float, float]  # output -> input pixels, as Pillow's AFFINE

_CODES = {
    "AutoContrast": OpCode.AUTO_CONTRAST,
    "Equalize": OpCode.EQUALIZE,
    "Invert": OpCode.INVERT,
    "Posterize": OpCode.POSTERIZE,
    "Solarize": OpCode.SOLARIZE,
    "SolarizeAdd": OpCode.SOLARIZE_ADD,
    "Color": OpCode.COLOR,
    "Contrast": OpCode.CONTRAST,
    "Brightness": OpCode.BRIGHTNESS,
    "Sharpness": OpCode.SHARPNESS,
    "Grey": OpCode.GREY,
    "Blur": OpCode.BLUR,
}
_IDENTITY: Matrix = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def plan_operations(views: Sequence[View], size: Size, fill: tuple[int, ...]) -> Operations:
    """What happens to each image of a batch between resizing and normalisation.

    Args:
        views: of the images.
        size: height and width of the images.
        fill: colour of what geometric operations bring in, 0 to 255 per channel.
    """
    layers = max((len(view.ops) for view in views), default=0)
    shape = (layers, len(views))
    codes = np.zeros(shape, dtype=np.int32)
    values = np.zeros(shape)
    matrices = np.tile(np.array(_IDENTITY), (*shape, 1))
    bicubic = np.zeros(shape, dtype=np.bool_)
    for image, view in enumerate(views):
        for layer, op in enumerate(view.ops):
            if op.name in _CODES:
                codes[layer, image] = _CODES[op.name]
                values[layer, image] = op.argument or 0.0
            else:
                codes[layer, image] = OpCode.AFFINE
                matrices[layer, image] = affine_matrix(op, size)
                bicubic[layer, image] = op.resample == Image.Resampling.BICUBIC
    flips = np.array([view.flip for view in views], dtype=np.bool_)
    return Operations(
        torch.from_numpy(flips),
        torch.from_numpy(codes),
        torch.from_numpy(values),
        torch.from_numpy(matrices),
        torch.from_numpy(bicubic),
        fill,
    )


def affine_matrix(op: Op, size: Size) -> Matrix:
    """The map from output to input pixels of a geometric operation, with the bits that timm and Pillow compute."""
    height, width = size
    amount = op.argument or 0.0
    if op.name == "Rotate":
        return _rotation(amount, width, height)
    matrices: dict[str, Matrix] = {
        "ShearX": (1.0, amount, 0.0, 0.0, 1.0, 0.0),
        "ShearY": (1.0, 0.0, 0.0, amount, 1.0, 0.0),
        "TranslateX": (1.0, 0.0, amount, 0.0, 1.0, 0.0),
        "TranslateY": (1.0, 0.0, 0.0, 0.0, 1.0, amount),
        "TranslateXRel": (1.0, 0.0, amount * width, 0.0, 1.0, 0.0),
        "TranslateYRel": (1.0, 0.0, 0.0, 0.0, 1.0, amount * height),
    }
    return matrices[op.name]


def _rotation(degrees: float, width: int, height: int) -> Matrix:
    """Pillow's rotation about the centre; it rounds sine and cosine to 15 digits."""
    angle = -math.radians(degrees % 360.0)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    return (cos, sin, -cos * x - sin * y + x, -sin, cos, sin * x - cos * y + y)


def plan_erasures(views: Sequence[View], mode: ErasingMode) -> Erasures | None:
    """What is overwritten in each image of a batch after normalisation; None: nothing in any."""
    count = max((len(view.erasures) for view in views), default=0)
    if not count:
        return None
    boxes = np.zeros((count, len(views), 4), dtype=np.int32)
    keys = np.zeros((count, len(views)), dtype=np.int64)
    for image, view in enumerate(views):
        for place, erasure in enumerate(view.erasures):
            boxes[place, image] = erasure.box
            keys[place, image] = erasure.key
    return Erasures(torch.from_numpy(boxes), torch.from_numpy(keys), mode)
