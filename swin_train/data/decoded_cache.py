"""Decoded pictures kept in memory: the second time that an image is shown, it is neither read nor decoded."""

import io
import logging
import os
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swin_train.data import draws
from swin_train.data.decode import FORMATS, MAX_PIXELS
from swin_train.data.encoded import read
from swin_train.data.formats import ImageSource
from swin_train.data.native.library import Item, Pool
from swin_train.errors import UserError

logger = logging.getLogger(__name__)

_LOOKED_AT = 256  # images from whose sizes it follows how many fit
_FILLED = 0.9  # of the memory, at their mean size: the rest is for the error of the mean


class DecodedCache:
    """Pixels of as many images as fit, of one process.

    Which images, follows from the source alone, so that the same ones are hit whatever is loaded first. Nothing
    is given up again, because an epoch shows all images and none is due sooner than the others.

    Args:
        source: of the images.
        channels: of a picture, 1 or 3.
        gigabytes: what the pixels may take, in 10^9 bytes.

    Raises:
        UserError: the machine does not have so much memory.
    """

    def __init__(self, source: ImageSource, channels: int, gigabytes: float) -> None:
        has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
        if gigabytes > has:
            raise UserError(
                f"DATA.RAM_CACHE_GB is {gigabytes:g}, but this machine has {has:.0f} GB of memory, for all processes"
            )
        order = np.argsort(draws.mix64_array(np.arange(source.num_images, dtype=np.uint64)), kind="stable")
        # of shards that are far away, only the first ones are fetched for that
        sample = order if source.is_near else np.arange(source.num_images)
        mean = _mean_bytes(source, sample[:_LOOKED_AT], channels)
        count = min(source.num_images, int(_FILLED * gigabytes * 1e9 / mean))
        self._is_chosen = np.zeros(source.num_images, dtype=np.bool_)
        self._is_chosen[order[:count]] = True
        self._left = int(gigabytes * 1e9)
        self._pixels: dict[int, NDArray[np.uint8]] = {}
        self._changing = threading.Lock()
        logger.info("decoded pictures kept in memory: %d of %d", count, source.num_images)

    def get(self, image: int) -> NDArray[np.uint8] | None:
        """The pixels of an image, [height, width, channels], where they are kept."""
        return self._pixels.get(image)

    def put(self, image: int, pixels: NDArray[np.uint8]) -> None:
        """Keep the pixels of an image, if it is one of the chosen; no more than fit, should the mean be wrong."""
        with self._changing:
            if self._wants(image) and pixels.nbytes <= self._left:
                self._pixels[image] = pixels
                self._left -= pixels.nbytes

    def fill(self, images: Sequence[int], items: list[Item], pool: Pool) -> None:
        """Decode those of the images that are to be kept and are not yet, and put the pixels in the items' places.

        What the pool does not decode is left as it is.
        """
        rows = [row for row, image in enumerate(images) if self._wants(image)]
        if not rows:
            return
        decoded = pool.decode(pool.load([items[row] for row in rows]))
        for row, pixels in zip(rows, decoded, strict=True):
            if isinstance(pixels, np.ndarray):
                self.put(images[row], pixels)
                items[row] = pixels

    def _wants(self, image: int) -> bool:
        return bool(self._is_chosen[image]) and image not in self._pixels


def _mean_bytes(source: ImageSource, images: NDArray[np.int64], channels: int) -> float:
    """The mean size of decoded pictures, by their headers; those without a usable one do not count."""
    sizes = []
    for image in images.tolist():
        try:
            content = read(source, image, source.name(image))
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                pixels = picture.width * picture.height
        except Exception:  # noqa: S112  (bad images are told of where they are used)
            continue
        if pixels <= MAX_PIXELS:
            sizes.append(pixels * channels)
    return sum(sizes) / len(sizes) if sizes else float(MAX_PIXELS * channels)
