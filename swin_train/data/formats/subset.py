"""Part of a data set: some of its classes, or a share of the images of each."""

import difflib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from swin_train.data import draws
from swin_train.data.formats.names import listing
from swin_train.data.formats.source import FileSpan, ImageSource
from swin_train.errors import UserError


class Subset(ImageSource):
    """Some images of a source, under their names there.

    Args:
        source: the whole.
        images: indices of the part's images, ascending, [num_images].
        classes: the labels that are kept, ascending; they are numbered anew.
    """

    def __init__(self, source: ImageSource, images: NDArray[np.int64], classes: NDArray[np.int64]) -> None:
        self._source = source
        self._images = images
        self.classes = tuple(source.classes[label] for label in classes.tolist())
        self.labels: NDArray[np.int64] = np.searchsorted(classes, source.labels[images])
        self.sizes: NDArray[np.int64] = source.sizes[images]
        self.shards = None if source.shards is None else source.shards[images]
        self.is_near = source.is_near

    def read(self, index: int) -> bytes:
        """Encoded image ``index``; raises as the source does."""
        return self._source.read(int(self._images[index]))

    def span(self, index: int) -> FileSpan | None:
        """Where the bytes of image ``index`` lie."""
        return self._source.span(int(self._images[index]))

    def name(self, index: int) -> str:
        """What messages call image ``index``."""
        return self._source.name(int(self._images[index]))


def with_classes(source: ImageSource, names: Sequence[str]) -> ImageSource:
    """The images of these classes; all where none are named.

    Raises:
        UserError: there is no such class.
    """
    if not names:
        return source
    for name in names:
        if name not in source.classes:
            near = difflib.get_close_matches(name, source.classes, n=1)
            known = f"did you mean {near[0]}?" if near else f"there are {listing(list(source.classes))}."
            raise UserError(f"DATA.CLASSES: {name!r} is none of the {source.num_classes} classes; {known}")
    classes = np.array([label for label, name in enumerate(source.classes) if name in names])
    return Subset(source, np.flatnonzero(np.isin(source.labels, classes)), classes)


def with_fraction(source: ImageSource, fraction: float, seed: int) -> ImageSource:
    """A share of the images of every class, rounded, but at least one; a larger share holds the smaller ones.

    Args:
        source: the whole.
        fraction: in (0, 1].
        seed: of the run; which images are taken follows from it and from their places in the source.
    """
    if fraction == 1:
        return source
    hashes = draws.mix64_array(
        np.arange(source.num_images, dtype=np.uint64) ^ np.uint64(draws.key(seed, draws.Stream.SUBSET))
    )
    by_class = np.lexsort((hashes, source.labels))
    counts = np.bincount(source.labels, minlength=source.num_classes)
    ranks = np.arange(source.num_images) - np.repeat(np.cumsum(counts) - counts, counts)
    taken = np.repeat(np.maximum(1, np.rint(counts * fraction)), counts)
    return Subset(source, np.sort(by_class[ranks < taken]), np.arange(source.num_classes))
