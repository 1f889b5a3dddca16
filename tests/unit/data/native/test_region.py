"""A region of a JPEG is decoded to the pixels of the whole picture, which are Pillow's."""

import io

import numpy as np
import pytest
from PIL import Image

from swin_train.data.native.tiling import tile

SIZES = [
    (1, 1),
    (2, 3),
    (7, 5),
    (8, 8),
    (9, 15),
    (16, 16),
    (17, 17),
    (33, 17),
    (67, 45),
    (131, 77),
    (240, 100),
]


@pytest.mark.parametrize("size", SIZES)
def test_a_region_has_the_pixels_of_the_whole_picture(
    pool, kind, size, make_jpeg, pixels, random_box, crop_to, see
):
    jpeg = make_jpeg(kind, *size)
    whole = np.broadcast_to(pixels(jpeg), (*pixels(jpeg).shape[:2], 3))
    height, width = whole.shape[:2]
    rng = np.random.default_rng(0)

    for left, top, right, bottom in [
        (0, 0, width, height),
        *(random_box(rng, width, height) for _ in range(30)),
    ]:
        crops = crop_to((left, top, right, bottom))
        view = see(pool, jpeg, crops, (bottom - top, right - left))

        np.testing.assert_array_equal(view, whole[top:bottom, left:right], str((left, top, right, bottom)))


def test_a_region_of_a_tiled_file_too(pool, make_jpeg, pixels, random_box, crop_to, see):
    jpeg = make_jpeg("4:2:0", 240, 180)
    tiled, rng = tile(jpeg), np.random.default_rng(0)

    for box in [random_box(rng, 240, 180) for _ in range(60)]:
        left, top, right, bottom = box
        view = see(pool, tiled, crop_to(box), (bottom - top, right - left))

        np.testing.assert_array_equal(view, pixels(jpeg)[top:bottom, left:right], str(box))


def test_a_region_of_pixels_is_cut_out(pool, photograph, random_box, crop_to, see):
    picture, rng = np.asarray(photograph(101, 67)), np.random.default_rng(0)

    for box in [random_box(rng, 101, 67) for _ in range(20)]:
        left, top, right, bottom = box
        for channels in (1, 3):
            view = see(pool, picture[..., :channels], crop_to(box), (bottom - top, right - left))
            expected = picture[top:bottom, left:right, : channels if channels == 3 else 1]
            np.testing.assert_array_equal(view, np.broadcast_to(expected, view.shape))


def test_whole_pictures_are_decoded(pool, kind, make_jpeg, pixels):
    jpegs = [make_jpeg(kind, *size) for size in SIZES]

    decoded = pool.decode(pool.load(jpegs))

    for found, jpeg in zip(decoded, jpegs, strict=True):
        np.testing.assert_array_equal(found, pixels(jpeg))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_one_channel_is_pillows_grey(pool, mode, photograph, encode, crop_to, see):
    jpeg = encode(photograph(90, 60).convert(mode))
    box = (7, 5, 83, 51)

    view = see(pool, jpeg, crop_to(box), (46, 76), channels=1)

    expected = Image.open(io.BytesIO(jpeg)).convert("L").crop(box)
    np.testing.assert_array_equal(view[..., 0], np.asarray(expected))


def test_what_was_decoded_before_does_not_complete_a_file(pool, photograph, encode, crop_to):
    whole = encode(photograph(16, 16))
    at = whole.index(b"\xff\xdb")  # the first table of quantisation becomes a comment
    without_table = whole[:at] + b"\xff\xfe" + whole[at + 2 :]
    out = np.empty((2, 3, 16, 16), np.uint8)

    problems = pool.render(pool.load([whole, without_table]), crop_to(*[(0, 0, 16, 16)] * 2), out)

    assert problems == [None, "cannot be decoded (Quantization table 0x00 was not defined)"]
