"""JPEG -> tiled JPEG: the same pixels in a file that every decoder reads, and ``Pool`` only in part (tiles.h)."""

import ctypes
import functools

from swin_train.data.native.build import library_path
from swin_train.data.native.library import unavailable
from swin_train.errors import UserError

_REASONS = {
    -1: "its structure cannot be read back",
    -3: "there is not enough memory",
    -4: "it is no JPEG, or a damaged one",
    -5: "it is CMYK, has other than 8 bits, or is arithmetically coded",
    -6: "it has more than 50 million pixels, or a tile of more than 65,535 bytes",
    -7: "its pixels would not stay the same",
}  # SW_TILES_... in tiles.h


class NotTileable(Exception):
    """The picture has to be kept as it is; the text says why."""


def tile(jpeg: bytes, side: int = 64) -> bytes:
    """A tiled JPEG with the pixels of ``jpeg``, which has been decoded and compared.

    Comments, profiles and EXIF data are dropped. Threads may call it at the same time.

    Args:
        jpeg: content of a file.
        side: wanted width of a tile, in pixels.

    Raises:
        NotTileable: the data is damaged, no JPEG, or of a kind that cannot be tiled.
        UserError: the native extension is not there.
    """
    library = _library()
    tiled = ctypes.c_void_p()
    length = library.sw_tiled_pack(jpeg, len(jpeg), side, ctypes.byref(tiled))
    if length < 0:
        raise NotTileable(_REASONS[length])
    try:
        return ctypes.string_at(tiled, length)
    finally:
        library.sw_tiled_free(tiled)


@functools.cache
def _library() -> ctypes.CDLL:
    if problem := unavailable():
        raise UserError(f"the native extension {problem}")
    library = ctypes.CDLL(str(library_path()))
    library.sw_tiled_pack.restype = ctypes.c_long
    library.sw_tiled_pack.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
    library.sw_tiled_free.restype = None
    library.sw_tiled_free.argtypes = [ctypes.c_void_p]
    return library
