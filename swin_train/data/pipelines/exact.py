"""``exact``: Pillow's pixel operations, one after the other. What the other back ends are held against."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from timm.data import auto_augment as timm_augment
from torch import Tensor

from swin_train.data import draws
from swin_train.data.decode import as_image, as_pixels
from swin_train.data.pipelines.pipeline import Memory, Place, Shown, fresh, stack
from swin_train.data.recipe.erasing import ErasingMode
from swin_train.data.recipe.evaluation import EvalRecipe
from swin_train.data.recipe.view import Crop, Erasure, Op, Recipe, Size, View


class Normalize:
    """8-bit picture -> (value / 255 - mean) / std, with one mean and std per channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self._std = torch.tensor(std, dtype=torch.float32)[:, None, None]

    def __call__(self, image: Image.Image) -> Tensor:
        """[channels, height, width] float32, bit-equal to torchvision's ToTensor and Normalize."""
        pixels = torch.from_numpy(as_pixels(image))
        return pixels.permute(2, 0, 1).contiguous().float().div_(255).sub_(self._mean).div_(self._std)


@dataclass(frozen=True)
class ExactTrain:
    """The training recipe.

    Attributes:
        recipe: draws the views.
        normalize: picture to tensor.
        fill: colour of what rotation, shear and translation bring in, 0 to 255 per channel.
        erasing_mode: what erased rectangles hold; see ``RandomErasing``.
    """

    recipe: Recipe
    normalize: Normalize
    fill: tuple[int, ...]
    erasing_mode: ErasingMode = "pixel"

    def show(self, pixels: NDArray[np.uint8], place: Place) -> Shown:
        """A random view, float32 and finished."""
        image, recipe = as_image(pixels), self.recipe.at(place.epoch)
        view = recipe.draw(image.width, image.height, draws.sample_rng(*place))
        return Shown(self.render(image, view, recipe.size))

    def render(self, image: Image.Image, view: View, size: Size) -> Tensor:
        """The view of the picture, [channels, *size] float32, normalised."""
        finished = self.normalize(operate(crop(image, view.crop, size), view, self.fill))
        for erasure in view.erasures:
            erase(finished, erasure, self.erasing_mode)
        return finished

    def collate(self, shown: Sequence[Shown], memory: Memory = fresh) -> tuple[Tensor, None]:
        """A finished batch."""
        return stack(shown, memory), None


@dataclass(frozen=True)
class ExactEval:
    """The evaluation transform.

    Attributes:
        recipe: what is shown of a picture.
        normalize: picture to tensor.
    """

    recipe: EvalRecipe
    normalize: Normalize

    def show(self, pixels: NDArray[np.uint8], place: Place) -> Shown:
        """The picture as evaluation shows it, float32 and finished."""
        view = self.recipe.view(pixels.shape[1], pixels.shape[0])
        return Shown(self.normalize(_resize(as_image(pixels), view.sides, view.resample).crop(view.window)))

    def collate(self, shown: Sequence[Shown], memory: Memory = fresh) -> tuple[Tensor, None]:
        """A finished batch."""
        return stack(shown, memory), None


def crop(image: Image.Image, crop: Crop, size: Size) -> Image.Image:
    """The part that is shown, resized to ``size`` and moved."""
    height, width = size
    # Cropped first: resize(box=...) would let the filter see pixels outside the crop.
    image = _resize(image.crop(crop.box), (width, height), crop.resample)
    left, top = crop.shift
    if left or top:
        image = image.crop((left, top, left + width, top + height))  # black outside the picture
    return image


def operate(image: Image.Image, view: View, fill: tuple[int, ...]) -> Image.Image:
    """The resized picture mirrored, if so drawn, and changed by the operations of the view."""
    if view.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for op in view.ops:
        image = apply(image, op, fill)
    return image


def apply(image: Image.Image, op: Op, fill: tuple[int, ...]) -> Image.Image:
    """An image of the same size and mode, changed by one operation."""
    arguments = () if op.argument is None else (op.argument,)
    if op.resample is None:
        return OPERATIONS[op.name](image, *arguments)
    color = fill if len(fill) > 1 else fill[0]
    return OPERATIONS[op.name](image, *arguments, fillcolor=color, resample=op.resample)


def erase(pixels: Tensor, erasure: Erasure, mode: str) -> None:
    """Overwrite a rectangle of a normalised picture, in place."""
    left, top, right, bottom = erasure.box
    patch = pixels[:, top:bottom, left:right]
    if mode == "const":
        patch.zero_()
        return
    shape = patch.shape if mode == "pixel" else (len(patch), 1, 1)
    noise = draws.normal_noise(erasure.key, math.prod(shape))
    patch.copy_(torch.from_numpy(noise).view(shape))


def _resize(image: Image.Image, sides: tuple[int, int], resample: Image.Resampling) -> Image.Image:
    return image if image.size == sides else image.resize(sides, resample)


def _posterize(image: Image.Image, bits: float) -> Image.Image:
    """Keep the upper ``bits`` bits; none left is black, as in the Pillow of the published runs."""
    if bits >= 8:
        return image
    return ImageOps.posterize(image, int(bits)) if bits > 0 else Image.new(image.mode, image.size)


def _grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert(image.mode)


def _blur(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


# What each operation does to the pixels.
OPERATIONS: dict[str, Callable[..., Image.Image]] = {
    "AutoContrast": timm_augment.auto_contrast,
    "Equalize": timm_augment.equalize,
    "Invert": timm_augment.invert,
    "Rotate": timm_augment.rotate,
    "Posterize": _posterize,
    "Solarize": timm_augment.solarize,
    "SolarizeAdd": timm_augment.solarize_add,
    "Color": timm_augment.color,
    "Contrast": timm_augment.contrast,
    "Brightness": timm_augment.brightness,
    "Sharpness": timm_augment.sharpness,
    "ShearX": timm_augment.shear_x,
    "ShearY": timm_augment.shear_y,
    "TranslateX": timm_augment.translate_x_abs,
    "TranslateY": timm_augment.translate_y_abs,
    "TranslateXRel": timm_augment.translate_x_rel,
    "TranslateYRel": timm_augment.translate_y_rel,
    "Grey": _grey,
    "Blur": _blur,
}
