"""Bytes of an image file -> 8-bit picture. The only place that touches a codec, and Pillow the only codec:
torchvision.io ends the process on a damaged PNG and has no limit on the size of what it unpacks."""

import io

import numpy as np
from PIL import Image, ImageFile

from swin_train.errors import DataError

MAX_PIXELS = 50_000_000  # the largest picture of ImageNet has 25 million
_MODES = {1: "L", 3: "RGB"}  # by number of channels
CHANNELS = tuple(_MODES)
# What the accepted file extensions may really hold; Pillow's other readers (some start programs) stay shut.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")


class DecodeError(DataError):
    """A file that holds no picture, or none that can be made the model's input.

    Attributes:
        name: of the file.
        reason: what is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}.")
        self.name = name
        self.reason = reason


def decode(data: bytes, channels: int, name: str) -> Image.Image:
    """The first frame of an image file in mode "L" (1 channel) or "RGB" (3 channels).

    Greys of 16 bits keep their upper 8 (Pillow alone would turn them white), transparency is dropped, and an
    EXIF orientation is not applied, as in the pipelines behind the published results.

    Args:
        data: content of the file.
        channels: 1 or 3.
        name: of the file, for messages.

    Raises:
        DecodeError: the data is damaged, of another format, larger than 50 million pixels, or of a kind
            without a defined 8-bit range (floats, 32-bit integers).
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise RuntimeError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on: damaged images would load as grey. Leave it off."
        )
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width} x {height} pixels are more than the limit of {MAX_PIXELS}")
        image.load()
        return _to_8_bits(image, _MODES[channels])
    # Readers raise whatever a broken header leads them to: OSError, SyntaxError, struct.error, KeyError, ...
    except Exception as error:
        raise DecodeError(name, f"cannot be decoded ({_reason(error, data)})") from error


def _to_8_bits(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image
    if image.mode == "F":
        raise ValueError("its pixels are floats, which have no defined range")
    if image.mode.startswith("I"):  # I;16, I;16B, ...: 16 bits; I: 16 bits held in 32
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 0xFFFF:
            raise ValueError("its pixels are 32-bit integers, which have no defined range")
        image = Image.fromarray((levels >> 8).astype(np.uint8))
    return image.convert(mode)


def _reason(error: Exception, data: bytes) -> str:
    if not data:
        return "the file is empty"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image of a supported format: " + ", ".join(_FORMATS)  # Pillow's text shows an address
    return " ".join(str(error).split()) or type(error).__name__
