"""The fast decoder of plain JPEG files: Pillow's pixels, or it leaves the file to libjpeg."""

import ctypes
import functools
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from swin_train.data.native.build import library_path
from swin_train.data.native.tiling import tile

PLAIN = ["4:4:4", "4:2:2", "4:2:0", "grey", "restarts"]
SIZES = [(8, 1), (8, 8), (9, 15), (16, 16), (17, 17), (33, 18), (67, 45), (131, 77), (240, 100)]
TAKE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int)


class Region(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("left", "top", "right", "bottom")]


class Sink(ctypes.Structure):
    _fields_ = [("take", TAKE), ("owner", ctypes.c_void_p)]


@functools.cache
def library() -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(library_path()))
    loaded.sw_baseline_create.restype = ctypes.c_void_p
    loaded.sw_baseline_destroy.argtypes = [ctypes.c_void_p]
    loaded.sw_baseline_decode.argtypes = [
        *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, Region),
        *(ctypes.POINTER(Sink), ctypes.c_int),
    ]
    return loaded


@pytest.fixture
def decoder() -> Iterator[int]:
    decoder = library().sw_baseline_create()
    yield decoder
    library().sw_baseline_destroy(decoder)


@pytest.fixture(params=[0, 1], ids=["portable", "simd"])
def simd(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def decode(decoder: int, jpeg: bytes, box: Any, simd: int = 1) -> Any:
    """Pixels [height, width, 3], or None: the file is left to libjpeg."""
    left, top, right, bottom = box
    out = np.zeros((max(bottom - top, 1), max(right - left, 1), 4), np.uint8)

    def take(_owner: int, pixels: int, stride: int, row: int, count: int) -> None:
        for i in range(count):
            ctypes.memmove(out[row + i].ctypes.data, pixels + i * stride, out[0].nbytes)

    sink = Sink(TAKE(take), None)
    done = library().sw_baseline_decode(decoder, jpeg, len(jpeg), Region(*box), sink, simd)
    return out[..., :3] if done else None


def assert_equal_regions(decoder, jpeg, simd, pixels, random_box, count=20):
    whole = np.broadcast_to(pixels(jpeg), (*pixels(jpeg).shape[:2], 3))
    height, width = whole.shape[:2]
    rng = np.random.default_rng(0)
    for box in [(0, 0, width, height), *(random_box(rng, width, height) for _ in range(count))]:
        left, top, right, bottom = box
        found = decode(decoder, jpeg, box, simd)
        assert found is not None, box
        np.testing.assert_array_equal(found, whole[top:bottom, left:right], str(box))


@pytest.mark.parametrize("plain", PLAIN)
@pytest.mark.parametrize("size", SIZES)
def test_plain_files_have_pillows_pixels(decoder, plain, size, simd, make_jpeg, pixels, random_box):
    assert_equal_regions(decoder, make_jpeg(plain, *size), simd, pixels, random_box)


@pytest.mark.parametrize("quality", [1, 30, 75, 95, 100])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("optimize", [False, True])
def test_at_every_quality_and_with_tables_of_their_own(
    decoder, quality, subsampling, optimize, simd, photograph, encode, pixels, random_box
):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (50, 90, 3), np.uint8))
    stripes = Image.fromarray(np.tile(np.uint8([[[0, 255, 0]], [[255, 0, 255]]]), (25, 90, 1)))
    for image in (photograph(90, 50), noise, stripes, Image.new("RGB", (90, 50), "red")):
        options = {"quality": quality, "subsampling": subsampling, "optimize": optimize}
        jpeg = encode(image, **options)
        assert_equal_regions(decoder, jpeg, simd, pixels, random_box, count=5)


@pytest.mark.parametrize("restarts", [{"restart_marker_blocks": 1}, {"restart_marker_rows": 1}])
def test_restart_markers_are_followed(decoder, restarts, simd, photograph, encode, pixels, random_box):
    assert_equal_regions(decoder, encode(photograph(90, 70), **restarts), simd, pixels, random_box)


def test_tiled_files_are_plain(decoder, make_jpeg, pixels, random_box):
    assert_equal_regions(decoder, tile(make_jpeg("4:2:0", 240, 180)), 1, pixels, random_box)


def with_tables(jpeg: bytes, quant_index: int) -> bytes:
    """The file with another number of the first component's quantisation table."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 12] + bytes([quant_index]) + jpeg[at + 13 :]


def test_what_is_not_plain_is_left_to_libjpeg(decoder, make_jpeg, photograph, encode):
    size, box = (64, 48), (0, 0, 64, 48)
    plain = make_jpeg("4:2:0", *size)
    assert decode(decoder, plain, box) is not None

    for kind in ("4:4:0", "4:1:1", "rgb", "progressive", "progressive 4:4:4"):
        assert decode(decoder, make_jpeg(kind, *size), (0, 0, 8, 8)) is None, kind
    assert decode(decoder, make_jpeg("4:2:0", 7, 9), (0, 0, 7, 9)) is None
    assert decode(decoder, encode(photograph(*size).convert("CMYK")), box) is None
    assert decode(decoder, with_tables(plain, 3), box) is None
    assert decode(decoder, plain[:2] + b"\xff\xe0\x00\x04ab" + plain[20:], box) is not None
    for adobe in (0, 2):  # RGB, YCCK
        app14 = b"\xff\xee\x00\x0eAdobe" + bytes(6) + bytes([adobe])
        assert decode(decoder, plain[:2] + app14 + plain[20:], box) is None


@pytest.mark.parametrize("box", [(0, 0, 65, 48), (-1, 0, 9, 9), (5, 5, 5, 9), (9, 9, 4, 4), (0, 0, 64, 49)])
def test_a_region_outside_the_picture_is_not_decoded(decoder, make_jpeg, box):
    assert decode(decoder, make_jpeg("4:2:0", 64, 48), box) is None


def test_damage_is_left_to_libjpeg(decoder, make_jpeg):
    jpeg, box = make_jpeg("4:2:0", 64, 48), (0, 0, 64, 48)
    middle = len(jpeg) - 400
    restarts = make_jpeg("restarts", 64, 48)
    marker = restarts.index(b"\xff\xd1")

    for damaged in (
        jpeg[:middle] + 100 * b"\xff\x00" + jpeg[middle + 200 :],  # no code is all ones
        jpeg[:middle] + b"\xff\xd9" + jpeg[middle + 2 :],
        jpeg[:middle],
        restarts[: marker + 1] + b"\xd2" + restarts[marker + 2 :],
        restarts[:marker] + restarts[marker + 2 :],
    ):
        assert decode(decoder, damaged, box) is None


def dht(kind: int, counts: list[int], symbols: bytes) -> bytes:
    return b"\xff\xc4" + struct.pack(">H", 19 + len(symbols)) + bytes([kind, *counts]) + symbols


@pytest.mark.parametrize(
    ("kind", "counts", "symbols"),
    [
        (0x00, [3, *[0] * 15], b"\0\1\2"),  # more codes than there are
        (0x00, [2, *[0] * 15], b"\0\1"),  # all ones
        (0x00, [0, 1, *[0] * 14], b"\x0c"),  # a difference of 12 bits
        (0x10, [0, 1, *[0] * 14], b"\x0b"),  # a coefficient of 11 bits
        (0x10, [0, 1, *[0] * 14], b"\x50"),  # of a progressive file
    ],
)
def test_codes_that_no_baseline_file_has_are_left_to_libjpeg(decoder, make_jpeg, kind, counts, symbols):
    jpeg = make_jpeg("grey", 16, 16)
    scan = jpeg.index(b"\xff\xda")

    assert decode(decoder, jpeg[:scan] + dht(kind, counts, symbols) + jpeg[scan:], (0, 0, 16, 16)) is None


def test_what_was_decoded_before_leaves_nothing_behind(decoder, photograph, encode, pixels, random_box):
    jpegs = [
        encode(photograph(*size), optimize=optimize, subsampling=subsampling)
        for size, optimize, subsampling in (((90, 50), True, 2), ((33, 70), False, 0), ((64, 64), True, 1))
    ]
    for jpeg in jpegs + jpegs[::-1]:
        assert decode(decoder, jpeg[: len(jpeg) // 2] + b"\xff\xd9", (0, 0, 32, 48)) is None
        assert_equal_regions(decoder, jpeg, 1, pixels, random_box, count=3)
