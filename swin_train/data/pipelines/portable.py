"""``portable``: torchvision's SIMD resize of uint8 pixels, then batched operations. Needs no compiler."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from swin_train.data import draws
from swin_train.data.decode import as_image, as_pixels
from swin_train.data.pipelines import exact
from swin_train.data.pipelines.pipeline import Memory, Place, Plan, Shown, fresh, stack
from swin_train.data.plan import plan_erasures, plan_operations
from swin_train.data.recipe.erasing import ErasingMode
from swin_train.data.recipe.evaluation import EvalRecipe
from swin_train.data.recipe.view import Box, Recipe, View
from swin_train.kernels.augment import Erasures, Normalisation, operate
from swin_train.kernels.augment.finish_tensors import finish_into

_BILINEAR, _BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
_MODES = {_BILINEAR: "bilinear", _BICUBIC: "bicubic"}
# Operations that Pillow does clearly faster on a CPU than tensors: milliseconds at 224 x 224, there and back included.
_PILLOWS = {
    ("Rotate", _BILINEAR),  # 1.0 against 1.6
    ("Rotate", _BICUBIC),  # 2.1 against 5.6
    ("Blur", None),  # 1.9 against 5.3
}  # The others: within a few per cent, or slower, as a bicubic shear (2.3 against 1.5) or sharpness (0.7 against 0.4).


@dataclass(frozen=True)
class PortableTrain:
    """The training recipe.

    Attributes:
        recipe: draws the views.
        fill: colour of what rotation, shear and translation bring in, 0 to 255 per channel.
        erasing_mode: what erased rectangles hold; see ``RandomErasing``.
        normalisation: given: the batch is finished here; None: that is left to the device.
    """

    recipe: Recipe
    fill: tuple[int, ...]
    erasing_mode: ErasingMode
    normalisation: Normalisation | None

    def show(self, pixels: NDArray[np.uint8], place: Place) -> Shown:
        """The crop of a random view, uint8."""
        height, width = pixels.shape[:2]
        recipe = self.recipe.at(place.epoch)
        view = recipe.draw(width, height, draws.sample_rng(*place))
        sides = recipe.size[1], recipe.size[0]
        resized = _resize(_cut(_picture(pixels), view.crop.box), sides, view.crop.resample)
        left, top = view.crop.shift
        if left or top:
            resized = F.pad(resized, (-left, left, -top, top))  # black outside the picture
        return Shown(resized[0], view)

    def collate(self, shown: Sequence[Shown], memory: Memory = fresh) -> tuple[Tensor, Plan | None]:
        """A batch, finished here or by the device."""
        views = [one.view for one in shown if one.view is not None]
        erasures = plan_erasures(views, self.erasing_mode)
        if self.normalisation is None:
            height, width = shown[0].pixels.shape[1:]
            operations = plan_operations(views, (height, width), self.fill)
            return _stack_as_they_lie(shown, memory), Plan(operations, erasures)
        images = _operate(stack(shown, fresh), views, self.fill)
        return _finish(images, self.normalisation, memory, erasures), None


@dataclass(frozen=True)
class PortableEval:
    """The evaluation transform.

    Attributes:
        recipe: what is shown of a picture.
        normalisation: given: the batch is finished here; None: that is left to the device.
    """

    recipe: EvalRecipe
    normalisation: Normalisation | None

    def show(self, pixels: NDArray[np.uint8], place: Place) -> Shown:
        """The picture as evaluation shows it, uint8."""
        view = self.recipe.view(pixels.shape[1], pixels.shape[0])
        resized = _resize(_picture(pixels), view.sides, view.resample)
        return Shown(_cut(resized, view.window)[0])

    def collate(self, shown: Sequence[Shown], memory: Memory = fresh) -> tuple[Tensor, Plan | None]:
        """A batch, finished here or by the device."""
        if self.normalisation is None:
            return _stack_as_they_lie(shown, memory), Plan(None, None)
        return _finish(stack(shown, fresh), self.normalisation, memory), None


def _picture(pixels: NDArray[np.uint8]) -> Tensor:
    """[1, channels, height, width], channels last in memory, which torch resizes fastest.

    It tells that from the strides, that of the first dimension included.
    """
    return torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)


def _cut(picture: Tensor, box: Box) -> Tensor:
    left, top, right, bottom = box
    return picture[:, :, top:bottom, left:right]


def _stack_as_they_lie(shown: Sequence[Shown], memory: Memory) -> Tensor:
    """One tensor of all pixels, channels last in memory: a device sorts them faster."""
    channels, height, width = shown[0].pixels.shape
    batch = memory((len(shown), height, width, channels), torch.uint8)
    torch.stack([one.pixels.permute(1, 2, 0) for one in shown], out=batch)
    return batch.permute(0, 3, 1, 2)


def _operate(images: Tensor, views: Sequence[View], fill: tuple[int, ...]) -> Tensor:
    """What the views do to the images, each on the CPU by what is faster: Pillow, or tensors, with the same bits."""
    left = [view._replace(flip=False, ops=()) if _is_for_pillow(view) else view for view in views]
    out = operate(images, plan_operations(left, (images.shape[2], images.shape[3]), fill))
    for pixels, view in zip(out, views, strict=True):
        if _is_for_pillow(view):
            image = exact.operate(as_image(pixels.permute(1, 2, 0).contiguous().numpy()), view, fill)
            pixels.copy_(torch.from_numpy(as_pixels(image)).permute(2, 0, 1))
    return out


def _is_for_pillow(view: View) -> bool:
    return any((op.name, op.resample) in _PILLOWS for op in view.ops)


def _finish(
    images: Tensor, normalisation: Normalisation, memory: Memory, erasures: Erasures | None = None
) -> Tensor:
    return finish_into(memory(tuple(images.shape), torch.float32), images, normalisation, erasures)


def _resize(picture: Tensor, sides: tuple[int, int], resample: Image.Resampling) -> Tensor:
    width, height = sides
    if picture.shape[2:] == (height, width):
        return picture
    return F.interpolate(picture, (height, width), mode=_MODES[resample], antialias=True)
