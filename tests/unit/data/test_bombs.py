"""Small files of images that would unpack to far more than a picture are refused before they do."""

import struct
import zlib
from collections.abc import Callable

import pytest

from swin_train.data.decode import decode

SIDE = 60_000
LIMIT = "pixels are more than the limit of 50000000"
PILLOWS_LIMIT = "could be decompression bomb"
ZEROS = zlib.compress(bytes(1 << 26), 9)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, color: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def gif(screen: int, frame: int) -> bytes:
    size = struct.pack("<HH", screen, screen), struct.pack("<HH", frame, frame)
    return b"GIF89a" + size[0] + b"\0\0\0,\0\0\0\0" + size[1] + b"\0\x08\x02\x4c\x01\0;"


def tiff(side: int) -> bytes:
    """Deflated, and of one strip."""
    tags = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: side, 279: len(ZEROS)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(ZEROS))
        + ZEROS
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


def bmp(side: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def jpeg(side: int) -> bytes:
    return b"\xff\xd8\xff\xc0\0\x0b\x08" + struct.pack(">HH", side, side) + b"\x01\x01\x11\0\xff\xd9"


def webp(side: int) -> bytes:
    pixels = b"\x2f" + struct.pack("<I", (side - 1) | (side - 1) << 14) + bytes(5)
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8L" + struct.pack("<I", 10) + pixels


BOMBS: dict[str, tuple[bytes, str]] = {
    "a PNG of 100 million pixels": (png(10_000, 10_000, chunk(b"IDAT", ZEROS)), LIMIT),
    "a PNG of 3600 million pixels": (png(SIDE, SIDE, chunk(b"IDAT", ZEROS)), PILLOWS_LIMIT),
    "a GIF of a large screen": (gif(65535, 1), PILLOWS_LIMIT),
    "a GIF of a large frame": (gif(1, 65535), PILLOWS_LIMIT),
    "a TIFF": (tiff(8_000), LIMIT),
    "a large TIFF": (tiff(SIDE), PILLOWS_LIMIT),
    "a BMP": (bmp(SIDE), PILLOWS_LIMIT),
    "a PPM": (b"P6 60000 60000 255\n", PILLOWS_LIMIT),
    "a JPEG of 64 million pixels": (jpeg(8_000), LIMIT),
    "a JPEG of 4300 million pixels": (jpeg(65_500), PILLOWS_LIMIT),
    "a WebP of 64 million pixels": (webp(8_000), LIMIT),
    "a WebP of 268 million pixels": (webp(16_383), PILLOWS_LIMIT),
    "a text": (png(4, 4, chunk(b"zTXt", b"a\0\0" + ZEROS)), "too large"),
    "an international text": (png(4, 4, chunk(b"iTXt", b"a\0\1\0\0\0" + ZEROS)), "too large"),
    "a color profile": (png(4, 4, chunk(b"iCCP", b"a\0\0" + ZEROS)), "too large"),
    "many texts": (
        png(4, 4, *[chunk(b"zTXt", b"%d\0\0" % n + zlib.compress(bytes(10**6), 9)) for n in range(200)]),
        "Too much memory used in text chunks",
    ),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_100_mb(name: str, confined: Callable) -> None:
    data, reason = BOMBS[name]
    assert len(data) < 1 << 19

    message = confined(lambda: decode(data, 3, "train/cat/x.png"))

    assert message.startswith("train/cat/x.png: cannot be decoded (")
    assert reason in message
