"""Made-up pictures of ImageNet's number and size, to measure with where there is no data."""

import functools
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swin_train.data import draws
from swin_train.data.formats.source import FileSpan, ImageSource

_COUNTS = {"train": 1_281_167, "val": 50_000}
_NUM_CLASSES = 1_000
_POOL = 64  # different pictures
_SIDES = ((500, 375), (375, 500), (500, 333), (500, 500), (333, 500), (400, 300), (640, 480), (500, 400))
_QUALITY = 96  # with this noise the files have the 110 kB of ImageNet's on average


class Synthetic(ImageSource):
    """As many images as ImageNet has, which are copies of 64 JPEG files of noise like that of photographs.

    Every machine makes the same pixels from the same draws. Nothing can be learned from them.

    Args:
        root: not used.
        split: train or val.

    Attributes:
        classes: 1,000.
        labels: [num_images], all classes in turn.
        sizes: [num_images], in bytes.
    """

    def __init__(self, root: str, split: str) -> None:
        self.classes = tuple(f"class_{label:03d}" for label in range(_NUM_CLASSES))
        self.labels: NDArray[np.int64] = np.arange(_COUNTS[split], dtype=np.int64) % _NUM_CLASSES
        self._pictures = _pictures()
        pool = np.array([len(picture) for picture in self._pictures], np.int64)
        self.sizes: NDArray[np.int64] = np.resize(pool, _COUNTS[split])
        self._split = split

    def read(self, index: int) -> bytes:
        """Image ``index``, a JPEG file."""
        return self._pictures[index % _POOL]

    def span(self, index: int) -> FileSpan | None:
        """None: the images lie in memory."""
        return None

    def name(self, index: int) -> str:
        """SPLIT/NUMBER.jpg."""
        return f"{self._split}/{index:07d}.jpg"


@functools.cache
def _pictures() -> tuple[bytes, ...]:
    return tuple(_picture(number) for number in range(_POOL))


def _picture(number: int) -> bytes:
    """Sum of noise at several scales, the coarser the stronger, as in photographs."""
    width, height = _SIDES[number % len(_SIDES)]
    pixels = np.full((height, width, 3), 128.0, np.float32)
    for scale in (1, 2, 4, 8, 16, 32, 64):
        rows, columns = -(-height // scale), -(-width // scale)
        noise = draws.normal_noise(draws.key(number, scale), rows * columns * 3).reshape(rows, columns, 3)
        pixels += 3.2 * scale**0.6 * noise.repeat(scale, 0).repeat(scale, 1)[:height, :width]
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
