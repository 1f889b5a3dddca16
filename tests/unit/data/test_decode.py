import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFile

from swin_train.data.decode import DecodeError, as_image, decode

_RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def noise(side: int = 64) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def flip_idat_byte() -> bytes:
    data = bytearray(encode(noise()))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    return bytes(data)


DAMAGED: dict[str, tuple[Callable[[], bytes], str]] = {
    "no bytes": (lambda: b"", "the file is empty"),
    "text": (lambda: b"<html>404</html>", "not an image of a supported format"),
    "half a JPEG": (lambda: encode(noise(), "JPEG")[:2000], "truncated"),
    "JPEG without its end": (lambda: encode(noise(), "JPEG")[:-20], "truncated"),
    "half a PNG": (lambda: encode(noise())[:2000], "truncated"),
    "bad compressed data": (flip_idat_byte, "broken data stream"),
    "no pixels": (lambda: png(4, 4), "x.png"),
    "bad header": (lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"ab"), "x.png"),
    "too many pixels": (
        lambda: png(10_000, 5_001),
        "10000 x 5001 pixels are more than the limit of 50000000",
    ),
    "a bomb": (lambda: png(60_000, 60_000), "decompression bomb"),
    "a text bomb": (lambda: png(4, 4, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**24)))), "too large"),
    "floats": (lambda: encode(Image.new("F", (4, 4)), "TIFF"), "floats"),
    "32-bit integers": (lambda: encode(Image.new("I", (4, 4), 70_000), "TIFF"), "32-bit integers"),
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_damaged_data_is_one_error_that_names_the_file_and_the_reason(kind: str) -> None:
    make, reason = DAMAGED[kind]

    with pytest.raises(DecodeError, match=reason) as caught:
        decode(make(), 3, "train/cat/x.png")

    assert str(caught.value).startswith("train/cat/x.png: cannot be decoded (")
    assert caught.value.name == "train/cat/x.png"
    assert "0x" not in str(caught.value)


def test_truncated_images_are_never_loaded_as_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)

    with pytest.raises(RuntimeError, match="LOAD_TRUNCATED_IMAGES is on"):
        decode(encode(noise()), 3, "x")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP"])
def test_every_supported_format_equals_pillow(format: str) -> None:
    data = encode(noise(), format)

    pixels = decode(data, 3, "x")

    assert pixels.shape == (64, 64, 3)
    assert pixels.tobytes() == Image.open(io.BytesIO(data)).convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_modes_become_rgb_or_grey_as_pillow_converts_them(mode: str) -> None:
    original = noise().convert(mode)
    data = encode(original, "TIFF")

    assert decode(data, 3, "x").tobytes() == original.convert("RGB").tobytes()
    assert decode(data, 1, "x").tobytes() == original.convert("L").tobytes()


def test_a_picture_in_lab_colors_becomes_rgb_and_its_grey() -> None:
    lab = Image.fromarray(np.asarray(noise()), "LAB")
    data = encode(lab, "TIFF")

    rgb = decode(data, 3, "x")

    assert rgb.shape == (64, 64, 3)
    assert decode(data, 1, "x").tobytes() == as_image(rgb).convert("L").tobytes()


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_its_upper_8_bits(format: str) -> None:
    data = encode(Image.fromarray(_RAMP.astype(np.uint16) * 256 + 17), format)

    assert np.array_equal(decode(data, 1, "x")[..., 0], _RAMP)
    assert np.array_equal(decode(data, 3, "x"), np.repeat(_RAMP[..., None], 3, axis=2))


def test_an_orientation_tag_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(noise(8).crop((0, 0, 8, 4)), "JPEG", exif=exif)

    assert decode(data, 3, "x").shape == (4, 8, 3)


def test_an_animation_gives_its_first_frame() -> None:
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")

    image = as_image(decode(encode(red, "GIF", save_all=True, append_images=[blue]), 3, "x"))

    assert image.getpixel((0, 0)) == (255, 0, 0)
