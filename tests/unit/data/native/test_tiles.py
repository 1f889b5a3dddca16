"""Tiled JPEGs: the pixels of their sources, whole and in regions, and no harm from damaged ones."""

import ctypes
import functools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from swin_train.data.native import tiling
from swin_train.data.native.build import library_path
from swin_train.data.native.library import Pool
from swin_train.data.native.tiling import NotTileable, tile
from swin_train.errors import UserError

Box = tuple[int, int, int, int]
Encode = Callable[..., bytes]
MakeJpeg = Callable[[str, int, int], bytes]
Pixels = Callable[[bytes], NDArray[np.uint8]]
NOT_TILED, BAD_REGION = -1, -2  # SW_TILES_...
SIZES = [(1, 1), (2, 3), (8, 8), (16, 17), (33, 17), (67, 45), (131, 77), (240, 100)]


@functools.cache
def library() -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(library_path()))
    loaded.sw_tiled_region.restype = ctypes.c_long
    return loaded


def is_tiled(data: bytes) -> bool:
    return bool(library().sw_is_tiled(data, ctypes.c_size_t(len(data))))


def region(tiled: bytes, box: Box) -> tuple[bytes, int, int] | int:
    """The JPEG that holds the box, and which pixel its first one is; or an error code."""
    buffer, capacity = ctypes.c_void_p(), ctypes.c_size_t()
    left, top = ctypes.c_int(), ctypes.c_int()
    # a copy of the exact length, so that tools which watch memory see a read behind its end
    length = library().sw_tiled_region(
        ctypes.create_string_buffer(tiled, len(tiled)), ctypes.c_size_t(len(tiled)), *box,
        ctypes.byref(buffer), ctypes.byref(capacity), ctypes.byref(left), ctypes.byref(top),
    )  # fmt: skip
    jpeg = ctypes.string_at(buffer, length) if length > 0 else b""
    library().sw_tiled_free(buffer)
    return (jpeg, left.value, top.value) if length > 0 else length


def region_pixels(tiled: bytes, box: Box, pixels: Pixels) -> NDArray[np.uint8]:
    found = region(tiled, box)
    assert isinstance(found, tuple), found
    jpeg, left, top = found
    return pixels(jpeg)[box[1] - top : box[3] - top, box[0] - left : box[2] - left]


def test_the_tiled_file_shows_the_same_pixels_whole_and_in_every_region(
    kind: str, make_jpeg: MakeJpeg, pixels: Pixels, random_box: Callable[..., Box]
) -> None:
    rng = np.random.default_rng(0)
    for size in SIZES:
        jpeg = make_jpeg(kind, *size)
        whole = pixels(jpeg)
        for side in (8, 16, 64):
            tiled = tile(jpeg, side)
            assert is_tiled(tiled)
            np.testing.assert_array_equal(pixels(tiled), whole)
            for _ in range(10):
                left, top, right, bottom = box = random_box(rng, whole.shape[1], whole.shape[0])
                np.testing.assert_array_equal(
                    region_pixels(tiled, box, pixels), whole[top:bottom, left:right]
                )


def test_the_last_pixels_of_a_picture_that_ends_right_behind_a_tile_are_smooth_too(
    make_jpeg: MakeJpeg, pixels: Pixels
) -> None:
    jpeg = make_jpeg("4:2:0", 83, 40)  # 5 tiles of 16 and 3 pixels, which libjpeg alone would not smooth

    last_column = region_pixels(tile(jpeg, 16), (82, 0, 83, 40), pixels)

    np.testing.assert_array_equal(last_column, pixels(jpeg)[:, 82:])


def test_the_pool_renders_a_tiled_file_as_it_renders_its_source(
    kind: str, pool: Pool, make_jpeg: MakeJpeg, crop_to: Any, see: Any
) -> None:
    jpeg = make_jpeg(kind, 240, 100)
    crops = crop_to((70, 15, 115, 50))

    of_source, of_tiled = (see(pool, item, crops, (32, 32)) for item in (jpeg, tile(jpeg)))

    assert len(np.unique(of_source)) > 9  # some kinds show the sky
    np.testing.assert_array_equal(of_tiled, of_source)


def test_a_region_is_cut_out_of_the_file(make_jpeg: MakeJpeg, pixels: Pixels) -> None:
    tiled = tile(make_jpeg("4:4:4", 256, 256))

    found = region(tiled, (70, 70, 100, 100))

    assert isinstance(found, tuple)
    jpeg, left, top = found
    assert (left, top) == (64, 64)
    assert pixels(jpeg).shape == (40, 64, 3)
    assert len(jpeg) < len(tiled) / 10


@pytest.mark.parametrize(("quality", "subsampling"), [(94, 2), (96, 0)])
def test_photographs_become_smaller(
    quality: int, subsampling: int, photograph: Callable[..., Image.Image], encode: Encode
) -> None:
    images = [photograph(640, 427, name) for name in ("china.jpg", "flower.jpg")]
    jpegs = [encode(image, quality=quality, subsampling=subsampling) for image in images]

    ratio = sum(len(tile(jpeg)) for jpeg in jpegs) / sum(map(len, jpegs))

    assert 0.93 < ratio < 0.99


def test_only_what_decoding_needs_is_kept(
    photograph: Callable[..., Image.Image], encode: Encode, pixels: Pixels
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    jpeg = encode(photograph(40, 30), exif=exif, icc_profile=b"profile" * 99, comment=b"a comment")

    tiled = tile(jpeg)

    assert jpeg.count(b"profile") == 99
    assert not any(word in tiled for word in (b"profile", b"Exif", b"a comment"))
    np.testing.assert_array_equal(pixels(tiled), pixels(jpeg))


def test_tiles_of_a_large_picture_are_wider_so_that_their_table_fits_into_a_segment(
    encode: Encode, pixels: Pixels
) -> None:
    jpeg = encode(Image.new("L", (1456, 1456), 77))  # 33,124 tiles of 8 pixels; 32,762 is the limit

    tiled = tile(jpeg, 8)

    assert is_tiled(tiled)
    assert tiled[tiled.index(b"\xff\xdd") + 4 :][:2] == b"\0\2"  # MCUs in a tile
    np.testing.assert_array_equal(region_pixels(tiled, (1400, 1400, 1456, 1456), pixels), 77)


def with_many_scans(grey: bytes, count: int) -> bytes:
    """Three components, each in scans of its own, the first in as many more as make ``count``.

    Args:
        grey: a grey file of one block.
        count: of scans.
    """
    frame, scan = grey.index(b"\xff\xc0"), grey.index(b"\xff\xda")
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    header = (
        grey[:frame] + struct.pack(">HHBHHB", 0xFFC0, 17, 8, 8, 8, 3) + components + grey[frame + 13 : scan]
    )
    scans = [
        bytes([0xFF, 0xDA, 0, 8, 1, number, 0, 0, 63, 0]) + grey[scan + 10 : -2]
        for number in (1, 2, 3, *[1] * (count - 3))
    ]
    return header + b"".join(scans) + b"\xff\xd9"


def test_components_in_scans_of_their_own_are_tiled(make_jpeg: MakeJpeg, pixels: Pixels) -> None:
    jpeg = with_many_scans(make_jpeg("grey", 8, 8), 3)

    np.testing.assert_array_equal(pixels(tile(jpeg)), pixels(jpeg))


UNTILEABLE = {
    "empty": "no JPEG",
    "PNG": "no JPEG",
    "cut off": "damaged",
    "ends early": "damaged",
    "too many scans": "damaged",
    "CMYK": "CMYK",
    "12 bits": "8 bits|damaged",  # libjpeg-turbo 3 reads 12 bits, older ones refuse them
    "arithmetic coding": "arithmetically",
    "huge": "50 million pixels",
    "long rows": "65,535 bytes",
    "smoothed by the decoder": "would not stay the same",
}


@pytest.fixture
def untileable(make_jpeg: MakeJpeg, encode: Encode) -> dict[str, bytes]:
    grey, jpeg, progressive = (make_jpeg(kind, 131, 77) for kind in ("grey", "4:2:0", "progressive"))
    third_scan = [at for at in range(len(progressive)) if progressive[at : at + 2] == b"\xff\xda"][2]
    size = struct.pack(">HH", 77, 131)
    noise = np.random.default_rng(0).integers(0, 256, (8, 8 * 1009, 3), np.uint8)
    return {
        "empty": b"",
        "PNG": b"\x89PNG\r\n\x1a\n" + bytes(99),
        "cut off": jpeg[:-900],
        "ends early": jpeg[:-900] + b"\xff\xd9",
        "too many scans": with_many_scans(make_jpeg("grey", 8, 8), 101),
        "CMYK": encode(Image.new("CMYK", (20, 20))),
        "12 bits": grey.replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c"),
        "arithmetic coding": grey.replace(b"\xff\xc0", b"\xff\xc9"),
        "huge": jpeg.replace(size, struct.pack(">HH", 5001, 10_000), 1),
        "long rows": encode(  # 1009 blocks cannot be parted evenly
            Image.fromarray(noise), quality=100, subsampling=0
        ),
        "smoothed by the decoder": progressive[:third_scan] + b"\xff\xd9",
    }


@pytest.mark.parametrize("case", UNTILEABLE)
def test_what_cannot_be_tiled_is_refused_with_the_reason(untileable: dict[str, bytes], case: str) -> None:
    with pytest.raises(NotTileable, match=UNTILEABLE[case]):
        tile(untileable[case])


def test_tiling_without_the_extension_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swin_train.data.native.tiling.unavailable", lambda: "is not built; build it")
    monkeypatch.setattr("swin_train.data.native.tiling._library", tiling._library.__wrapped__)

    with pytest.raises(UserError, match="the native extension is not built; build it"):
        tile(b"")


def table_of(tiled: bytes) -> tuple[int, int]:
    """Where the table's segment begins and ends."""
    at = tiled.index(b"\xff\xef")
    return at, at + 2 + int.from_bytes(tiled[at + 2 : at + 4], "big")


def test_damaged_structures_are_no_tiled_files(make_jpeg: MakeJpeg) -> None:
    tiled = tile(make_jpeg("4:2:0", 131, 77))
    start, end = table_of(tiled)
    interval = tiled.index(b"\xff\xdd") + 4
    rows = tile(make_jpeg("4:2:0", 131, 77), 131)  # of 9 MCUs
    width = tiled.index(b"\xff\xc0") + 7
    damaged = {
        "shorter": tiled[:-1],
        "longer": tiled + b"\0",
        "a length": tiled[: end - 1] + bytes([tiled[end - 1] ^ 1]) + tiled[end:],
        "no table": tiled[:start] + tiled[end:],
        "two tables": tiled[:end] + tiled[start:],
        "another interval": tiled[:interval] + b"\0\2" + tiled[interval + 2 :],
        "an interval that does not part a row": rows.replace(b"\xff\xdd\0\4\0\x09", b"\xff\xdd\0\4\0\5"),
        "another width": tiled[:width] + b"\0\xff" + tiled[width + 2 :],
        "a plain JPEG": make_jpeg("4:2:0", 131, 77),
        "nothing": b"",
    }

    assert is_tiled(tiled)
    assert is_tiled(rows)
    assert {name: is_tiled(data) for name, data in damaged.items()} == dict.fromkeys(damaged, False)
    assert {name: region(data, (0, 0, 9, 9)) for name, data in damaged.items()} == dict.fromkeys(
        damaged, NOT_TILED
    )


def test_a_table_that_is_not_that_of_the_data_is_noticed(make_jpeg: MakeJpeg) -> None:
    tiled = tile(make_jpeg("4:2:0", 131, 77), 48)
    _, end = table_of(tiled)
    changed = tiled[: end - 3] + bytes([tiled[end - 3] - 1, tiled[end - 2], tiled[end - 1] + 1]) + tiled[end:]

    assert is_tiled(changed)  # the sum is right
    assert region(changed, (120, 70, 131, 77)) == NOT_TILED


@pytest.mark.parametrize(
    "box", [(-1, 0, 5, 5), (0, -1, 5, 5), (0, 0, 132, 5), (0, 0, 5, 78), (5, 0, 5, 5), (0, 9, 5, 2)]
)
def test_regions_outside_of_the_picture_are_refused(box: Box, make_jpeg: MakeJpeg) -> None:
    assert region(tile(make_jpeg("4:2:0", 131, 77)), box) == BAD_REGION


def test_random_damage_does_no_harm(make_jpeg: MakeJpeg, random_box: Callable[..., Box]) -> None:
    rng = np.random.default_rng(0)
    sources = [tile(make_jpeg(kind, 67, 45), 16) for kind in ("4:2:0", "4:4:4", "grey")]
    found = 0
    for number in range(3000):
        data = bytearray(sources[number % 3])
        for at in rng.integers(0, len(data) if number % 2 else 700, rng.integers(0, 4)):
            data[min(at, len(data) - 1)] = rng.integers(256)
        del data[int(rng.integers(len(data))) if number % 7 == 0 else len(data) :]
        result = region(bytes(data), random_box(rng, 67, 45))
        found += isinstance(result, tuple)

    assert 500 < found < 2900  # both paths were taken
