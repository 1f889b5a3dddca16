"""Images that are a file each: what the folder formats have in common."""

import os
import stat

import numpy as np
from numpy.typing import NDArray

from swin_train.data.formats.index import Index
from swin_train.data.formats.names import shown
from swin_train.data.formats.source import FileSpan, ImageSource


class ImageFiles(ImageSource):
    """Image files below a folder, as an index has them.

    Args:
        folder: below which the names of the index are paths.
        prefix: what ``name`` puts before them.
        index: of the images.

    Attributes:
        classes: names of the classes, by label.
        labels: [num_images].
        sizes: [num_images], in bytes; -1 where the index met no file, but a link to none.
    """

    def __init__(self, folder: str, prefix: str, index: Index) -> None:
        self.classes = index.classes
        self.labels: NDArray[np.int64] = index.labels
        self.sizes: NDArray[np.int64] = index.sizes
        self._folder = os.fsencode(folder)
        self._prefix = prefix
        self._index = index

    def read(self, index: int) -> bytes:
        """Content of the file of image ``index``.

        Raises:
            OSError: the file cannot be read, is a pipe or a device, or has another length than when it was indexed.
        """
        with open(self._path(index), "rb", buffering=0, opener=_open_regular) as file:
            size = os.fstat(file.fileno()).st_size  # before it takes memory
            data = file.read() if size == self.sizes[index] else b""
        if size != self.sizes[index]:
            # The time of the folder does not tell of it, so no check at the start could.
            self._index.drop()
            raise OSError(
                f"it has {size} bytes and had {self.sizes[index]} when the folder was indexed; "
                "start again, which indexes anew"
            )
        return data

    def span(self, index: int) -> FileSpan:
        """The file of image ``index``, which must have the length that it was indexed with."""
        return FileSpan(self._path(index), 0, int(self.sizes[index]), is_whole=True)

    def name(self, index: int) -> str:
        """Path of image ``index``, printable whatever bytes the file name has."""
        return self._prefix + shown(self._name(index))

    def _path(self, index: int) -> bytes:
        return b"%b/%b" % (self._folder, self._name(index))

    def _name(self, index: int) -> bytes:
        return self._index.name(index)


def _open_regular(path: str, flags: int) -> int:
    """An opener for ``open``: waits for nobody to write into a named pipe, and refuses it."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError("it is not a regular file")
