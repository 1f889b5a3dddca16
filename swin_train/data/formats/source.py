"""What every data format gives: the images of one split, read in any order."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class FileSpan(NamedTuple):
    """Where the encoded bytes of an image lie in a local file.

    Attributes:
        path: of the file.
        offset: of the first byte.
        length: in bytes; -1: to the end of the file.
        is_whole: whether the file must end there too; one of another length is not read.
    """

    path: bytes
    offset: int
    length: int
    is_whole: bool = False


class ImageSource(ABC):
    """One split of a data set: encoded images and their labels.

    A source is opened once, and read by threads and by forked processes at the same time.

    Attributes:
        classes: names of the classes, by label.
        labels: [num_images].
        sizes: [num_images], bytes of each encoded image; -1 where it could not be learnt.
        shards: the file that each image is in, [num_images], where a file holds many; otherwise None.
        is_near: whether all images can be on this machine at the same time.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    shards: NDArray[np.int64] | NDArray[np.int32] | None = None
    is_near: bool = True

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Encoded image ``index``; OSError when it cannot be read."""

    @abstractmethod
    def span(self, index: int) -> FileSpan | None:
        """Where the bytes lie that ``read`` gives, for readers without Python; None: only ``read`` has them.

        ``read`` checks more: what a span leads to that is no image, ``read`` can name the fault of.
        """

    @abstractmethod
    def name(self, index: int) -> str:
        """What messages call image ``index``: SPLIT/PATH, printable, another for each image."""
