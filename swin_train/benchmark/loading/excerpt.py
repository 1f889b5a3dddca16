"""The images that are measured: as many as a pass needs, whatever the size of the data set."""

import logging
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swin_train.data.decode import DecodeError, decode
from swin_train.data.encoded import read
from swin_train.data.formats import FileSpan, ImageSource
from swin_train.data.formats.subset import Subset
from swin_train.errors import UserError

logger = logging.getLogger(__name__)

_SEED = 0


class Excerpt(ImageSource):
    """``num_images`` random images of ``source``, the same ones every time; again from the first if it has fewer."""

    def __init__(self, source: ImageSource, num_images: int) -> None:
        order = np.random.default_rng(_SEED).permutation(source.num_images)
        self._source = source
        self._images = np.resize(order, num_images)
        self.classes = source.classes
        self.labels: NDArray[np.int64] = source.labels[self._images]
        self.sizes: NDArray[np.int64] = source.sizes[self._images]

    @property
    def num_classes(self) -> int:
        """Number of classes of the whole set."""
        return self._source.num_classes

    def read(self, index: int) -> bytes:
        """Encoded image ``index``."""
        return self._source.read(int(self._images[index]))

    def span(self, index: int) -> FileSpan | None:
        """Where its bytes lie, if they lie in one file."""
        return self._source.span(int(self._images[index]))

    def name(self, index: int) -> str:
        """What messages call it."""
        return self._source.name(int(self._images[index]))


def without_bad(source: ImageSource, num_images: int) -> ImageSource:
    """A source of which an ``Excerpt`` of so many images holds none that cannot be decoded.

    Raises:
        UserError: there is no other.
    """
    order = np.random.default_rng(_SEED).permutation(source.num_images)[:num_images]
    bad = [image for image in order.tolist() if not _is_good(source, image)]
    if not bad:
        return source
    logger.warning("left out %d images that cannot be decoded, among them %s", len(bad), source.name(bad[0]))
    good = np.setdiff1d(order, bad)
    if not len(good):
        raise UserError(
            f"benchmark loader: none of {len(bad)} images can be decoded; see main.py verify-data."
        )
    return Subset(source, good, np.arange(source.num_classes))


def _is_good(source: ImageSource, image: int) -> bool:
    try:
        decode(read(source, image, source.name(image)), 3, source.name(image))
    except DecodeError:
        return False
    return True


class Decoded(ImageSource):
    """All images of ``source`` as pixels in memory, to measure what comes after decoding; for the native back end."""

    def __init__(self, source: ImageSource, channels: int) -> None:
        self.classes, self.labels, self.sizes = source.classes, source.labels, source.sizes
        self._source = source
        self._pixels = [decode(source.read(i), channels, source.name(i)) for i in range(source.num_images)]

    def read(self, index: int) -> bytes:
        """Pixels [height, width, channels] in the place of bytes: the C threads take both."""
        return self._pixels[index]  # type: ignore[return-value]

    def span(self, index: int) -> None:
        """Nowhere."""
        return

    def name(self, index: int) -> str:
        """What messages call it."""
        return self._source.name(index)


def whole_file(source: ImageSource, index: int) -> Path | None:
    """The file that holds image ``index`` and nothing else; None where there is none."""
    span = source.span(index)
    if span is None or span.offset:
        return None
    path = Path(os.fsdecode(span.path))
    return path if span.length in (-1, path.stat().st_size) else None
