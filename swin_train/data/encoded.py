"""Encoded images as their source gives them, none larger than a picture should be."""

from swin_train.data.decode import DecodeError
from swin_train.data.formats.source import FileSpan, ImageSource

MAX_BYTES = 64 << 20  # of a file


def read(source: ImageSource, image: int, name: str) -> bytes:
    """The encoded image; DecodeError where it cannot be read, or is larger than any picture should be."""
    _refuse_huge(source, image, name)
    try:
        return source.read(image)
    except OSError as error:
        raise DecodeError(name, f"cannot be read ({error.strerror or error})") from error


def place_or_bytes(source: ImageSource, image: int) -> FileSpan | bytes:
    """Where the encoded image lies, or itself where only its source can read it; DecodeError as ``read``."""
    name = source.name(image)
    _refuse_huge(source, image, name)
    return source.span(image) or read(source, image, name)


def _refuse_huge(source: ImageSource, image: int, name: str) -> None:
    """Before it takes memory."""
    size = int(source.sizes[image])
    if size > MAX_BYTES:
        raise DecodeError(name, f"has {size} bytes, more than the limit of {MAX_BYTES}")
