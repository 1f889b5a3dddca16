"""What an evaluation shows of a picture; nothing is drawn."""

from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

from swin_train.data.recipe.crop import is_small
from swin_train.data.recipe.limits import Size, check_resizable
from swin_train.data.recipe.view import Box

_CROPPED, _RESIZED = 224, 256  # evaluation shows the model this much of what the picture is resized to


class EvalView(NamedTuple):
    """What a picture is resized to (width and height), what is cut out of that, and the filter."""

    sides: tuple[int, int]
    window: Box
    resample: Image.Resampling


@dataclass(frozen=True)
class EvalRecipe:
    """The evaluation transform.

    Attributes:
        size: of the result.
        central_crop: resize the picture until it covers 256/224 of the size, and cut out the centre; otherwise,
            and at a small size, squash the picture to the size.
        resample: the filter.
    """

    size: Size
    central_crop: bool
    resample: Image.Resampling

    def view(self, width: int, height: int) -> EvalView:
        """What is shown of a picture of this size.

        Raises:
            TooElongated: it would have too many pixels on the way.
        """
        size_height, size_width = self.size
        if not self.central_crop or is_small(self.size):
            sides = (size_width, size_height)
            check_resizable((width, height), sides, self.size)
            return EvalView(sides, (0, 0, *sides), self.resample)
        sides = _covering(width, height, size_to_cover(self.size))
        check_resizable((width, height), sides, size_to_cover(self.size))
        left, top = round((sides[0] - size_width) / 2), round((sides[1] - size_height) / 2)
        return EvalView(sides, (left, top, left + size_width, top + size_height), self.resample)


def size_to_cover(size: Size) -> Size:
    """What a picture is resized to cover before an evaluation cuts its centre of ``size`` out."""
    height, width = size
    return height * _RESIZED // _CROPPED, width * _RESIZED // _CROPPED


def _covering(width: int, height: int, size: Size) -> tuple[int, int]:
    """Width and height of the whole picture in its own ratio, as small as covers the size."""
    size_height, size_width = size
    if size_height == size_width:  # torchvision's rule, which rounds down
        shorter = min(width, height)
        return size_height * width // shorter, size_height * height // shorter
    scale = min(width / size_width, height / size_height)  # timm's, which rounds to the nearest
    return round(width / scale), round(height / scale)
