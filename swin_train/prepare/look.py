"""What one image file is: whether it can be used, and what is unusual about it."""

import hashlib
import io
from dataclasses import dataclass

from PIL import Image

from swin_train.data.decode import FORMATS, DecodeError, decode

TINY = 32  # pixels: a side below
HUGE = 4096  # pixels: a side above
_ENDINGS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}


@dataclass(frozen=True)
class Look:
    """What was seen.

    Attributes:
        digest: SHA-256 of the bytes; zeros where they could not be read.
        size: of the file, in bytes.
        problem: why the image cannot be used, or None.
        traits: unusual but usable: "tiny", "huge", "16 bits", "CMYK", "grey", "alpha", "other ending".
    """

    digest: bytes
    size: int
    problem: str | None = None
    traits: tuple[str, ...] = ()


def look(data: bytes, name: str) -> Look:
    """Decode an image file whole, as training does, and say what it is."""
    digest = hashlib.sha256(data).digest()
    try:
        height, width, _ = decode(data, 3, name).shape
    except DecodeError as error:
        return Look(digest, len(data), error.reason)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:  # its header only
        return Look(digest, len(data), None, _traits(image, min(height, width), max(height, width), name))


def _traits(image: Image.Image, short: int, long: int, name: str) -> tuple[str, ...]:
    mode, ending = image.mode, f".{name.rpartition('.')[2].lower()}"
    found = {
        "tiny": short < TINY,
        "huge": long > HUGE,
        "16 bits": mode.startswith("I"),
        "CMYK": mode in ("CMYK", "YCCK"),
        "grey": mode in ("1", "L", "LA", "La"),
        "alpha": mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info,
        "other ending": "/" not in ending and ending not in _ENDINGS.get(image.format or "", ()),
    }
    return tuple(trait for trait, is_so in found.items() if is_so)
