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
from swin_train.data.pipelines.pipeline import Place, Plan, Shown, stack
from swin_train.data.plan import plan_erasures, plan_operations
from swin_train.data.recipe.erasing import ErasingMode
from swin_train.data.recipe.evaluation import EvalRecipe
from swin_train.data.recipe.view import Box, Recipe
from swin_train.kernels.augment import Normalisation, finish, operate

_MODES = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}


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
        resized = _resize(_cut(_planes(pixels), view.crop.box), sides, view.crop.resample)
        left, top = view.crop.shift
        if left or top:
            resized = F.pad(resized, (-left, left, -top, top))  # black outside the picture
        return Shown(resized.contiguous(), view)

    def collate(self, shown: Sequence[Shown]) -> tuple[Tensor, Plan | None]:
        """A batch, finished here or by the device."""
        images, views = stack(shown), [one.view for one in shown if one.view is not None]
        operations = plan_operations(views, (images.shape[2], images.shape[3]), self.fill)
        erasures = plan_erasures(views, self.erasing_mode)
        if self.normalisation is None:
            return images, Plan(operations, erasures)
        return finish(operate(images, operations), self.normalisation, erasures=erasures), None


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
        resized = _resize(_planes(pixels), view.sides, view.resample)
        return Shown(_cut(resized, view.window).contiguous())

    def collate(self, shown: Sequence[Shown]) -> tuple[Tensor, Plan | None]:
        """A batch, finished here or by the device."""
        images = stack(shown)
        if self.normalisation is None:
            return images, Plan(None, None)
        return finish(images, self.normalisation), None


def _planes(pixels: NDArray[np.uint8]) -> Tensor:
    """[channels, height, width], with the pixels in memory as they were: torch is fastest on channels-last."""
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _cut(pixels: Tensor, box: Box) -> Tensor:
    left, top, right, bottom = box
    return pixels[:, top:bottom, left:right]


def _resize(pixels: Tensor, sides: tuple[int, int], resample: Image.Resampling) -> Tensor:
    width, height = sides
    if pixels.shape[1:] == (height, width):
        return pixels
    return F.interpolate(pixels[None], (height, width), mode=_MODES[resample], antialias=True)[0]
