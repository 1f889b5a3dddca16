"""The images that are measured: as many as a pass needs, whatever the size of the data set."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swin_train.data.decode import decode
from swin_train.data.formats import FileSpan, ImageSource

_SEED = 0


class Excerpt:
    """``num_images`` random images of ``source``, the same ones every time; again from the first if it has fewer."""

    def __init__(self, source: ImageSource, num_images: int) -> None:
        order = np.random.default_rng(_SEED).permutation(source.num_images)
        self._source = source
        self._images = np.resize(order, num_images)
        self.classes = source.classes
        self.labels: NDArray[np.int64] = source.labels[self._images]
        self.sizes: NDArray[np.int64] = source.sizes[self._images]

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self._images)

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


class Decoded:
    """All images of ``source`` as pixels in memory, to measure what comes after decoding; for the native back end."""

    def __init__(self, source: ImageSource, channels: int) -> None:
        self.classes, self.labels, self.sizes = source.classes, source.labels, source.sizes
        self.num_images, self.num_classes = source.num_images, source.num_classes
        self.name = source.name
        self._pixels = [decode(source.read(i), channels, source.name(i)) for i in range(source.num_images)]

    def read(self, index: int) -> bytes:
        """Pixels [height, width, channels] in the place of bytes: the C threads take both."""
        return self._pixels[index]  # type: ignore[return-value]

    def span(self, index: int) -> None:
        """Nowhere."""
        return


def whole_file(source: ImageSource, index: int) -> Path | None:
    """The file that holds image ``index`` and nothing else; None where there is none."""
    span = source.span(index)
    if span is None or span.offset:
        return None
    path = Path(os.fsdecode(span.path))
    return path if span.length in (-1, path.stat().st_size) else None
