"""Content of an image file -> content to write: the same bytes, or re-encoded at a maximum side."""

import io
from dataclasses import dataclass

from PIL import Image

from swin_train.data.decode import DecodeError, as_image, decode

_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "PPM": ".ppm", "TIFF": ".tif", "WEBP": ".webp"}


@dataclass(frozen=True)
class Recoding:
    """A change of the recipe: pictures with a side above ``max_side`` pixels shrink to it.

    They are resized by Lanczos and written as JPEG of ``quality`` without chroma subsampling; smaller pictures
    stay as they are.
    """

    max_side: int
    quality: int


@dataclass(frozen=True)
class Checked:
    """What becomes of one image file.

    Attributes:
        data: to write.
        suffix: the ending of the new content; "" when it is what was read.
        problem: why it cannot be decoded, or None.
    """

    data: bytes
    suffix: str = ""
    problem: str | None = None


def check(data: bytes, name: str, recoding: Recoding | None) -> Checked:
    """Decode an image file whole, and re-encode it where ``recoding`` asks for that.

    What cannot be decoded stays as it is.
    """
    try:
        picture = as_image(decode(data, 3, name))
    except DecodeError as error:
        return Checked(data, problem=error.reason)
    if recoding is None or max(picture.size) <= recoding.max_side:
        return Checked(data)
    return Checked(_shrink(picture, recoding), ".jpg")


def suffix_of(data: bytes) -> str:
    """The ending for a file of this content, one that readers of folders take for an image's."""
    try:
        with Image.open(io.BytesIO(data), formats=tuple(_SUFFIXES)) as image:
            return _SUFFIXES[image.format or ""]
    except Exception:  # readers raise anything
        return ".jpg"


def _shrink(picture: Image.Image, recoding: Recoding) -> bytes:
    scale = recoding.max_side / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    small = picture.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=recoding.quality, subsampling=0, optimize=True)
    return buffer.getvalue()
