"""Bytes of an image file -> 8-bit picture. The only place, beside the native extension, that touches a codec.

Plain JPEGs are decoded by libjpeg-turbo (simplejpeg), whose pixels are Pillow's own and which tells damage that
Pillow shows as garbage; all else by Pillow. torchvision.io ends the process on a damaged PNG and has no limit on
the size of what it unpacks.
"""

import io

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFile

from swin_train.errors import DataError

MAX_PIXELS = 50_000_000  # the largest picture of ImageNet has 25 million
_MODES = {1: "L", 3: "RGB"}  # by number of channels
CHANNELS = tuple(_MODES)
_PLAIN_JPEG = {"Gray", "YCbCr", "RGB"}  # color spaces whose way to RGB is beyond doubt
# libjpeg's words for lost pixels. Its other warnings (bytes to spare, an end mark that is missing) may leave the
# picture whole: Pillow decides there.
_LOST_PIXELS = ("bad Huffman code", "premature end of data segment", "instead of RST", "bad progression")
# What the accepted file extensions may really hold; Pillow's other readers (some start programs) stay shut.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")


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


class TooManyPixels(ValueError):
    """A picture that would take too much memory, refused before it is unpacked."""


def decode(data: bytes, channels: int, name: str) -> NDArray[np.uint8]:
    """The first frame of an image file, [height, width, channels].

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
        pixels = _decode_plain_jpeg(data, channels)
        return _decode_by_pillow(data, _MODES[channels]) if pixels is None else pixels
    # Readers raise whatever a broken header leads them to: OSError, SyntaxError, struct.error, KeyError, ...
    except Exception as error:
        raise DecodeError(name, f"cannot be decoded ({_reason(error, data)})") from error


def as_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """A picture of mode "L" or "RGB" from its pixels, [height, width, 1 or 3]."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def as_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a picture of mode "L" or "RGB", [height, width, 1 or 3]."""
    return np.array(image).reshape(image.height, image.width, -1)


def _decode_plain_jpeg(data: bytes, channels: int) -> NDArray[np.uint8] | None:
    """Pixels of a JPEG in grey or three colors, [height, width, channels]; None: it is for Pillow."""
    if not data.startswith(b"\xff\xd8"):
        return None
    try:
        height, width, color_space, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(width, height)
        if color_space not in _PLAIN_JPEG:
            return None
        is_grey = color_space == "Gray" and channels == 1
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "GRAY" if is_grey else "RGB")
    except TooManyPixels:
        raise
    except ValueError as error:
        if any(words in str(error) for words in _LOST_PIXELS):
            raise
        return None
    # libjpeg's own grey is its luma plane; Pillow's is computed from the colors, and Pillow's counts.
    return pixels if pixels.shape[2] == channels else as_pixels(as_image(pixels).convert("L"))


def _decode_by_pillow(data: bytes, mode: str) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    _check_size(*image.size)
    image.load()
    return as_pixels(_to_8_bits(image, mode))


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise TooManyPixels(f"{width} x {height} pixels are more than the limit of {MAX_PIXELS}")


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
    if image.mode == "LAB":  # from which Pillow knows no direct way to grey
        image = image.convert("RGB")
    return image.convert(mode)


def _reason(error: Exception, data: bytes) -> str:
    if not data:
        return "the file is empty"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image of a supported format: " + ", ".join(FORMATS)  # Pillow's text shows an address
    return " ".join(str(error).split()) or type(error).__name__
