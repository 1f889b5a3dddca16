"""Crop and resize against Pillow, and one picture by all ways."""

import io

import numpy as np
import pytest
from PIL import Image

from swin_train.data.native.library import Crops, Pool

FILTERS = [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC]  # by their numbers in Crops


def by_pillow(jpeg, box, size, resample):
    image = Image.open(io.BytesIO(jpeg)).convert("RGB").crop(box)
    return np.asarray(image.resize(size[::-1], resample))


def row_by_row(jpeg, box, size, resample):
    """The horizontal pass first, as Pillow did before version 13, and does where both sides shrink alike."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB").crop(box)
    return np.asarray(image.resize((size[1], image.height), resample).resize(size[::-1], resample))


def psnr(first, second):
    error = np.mean((first.astype(float) - second) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-9))


def off_by(first, second):
    return np.abs(first.astype(int) - second)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("side", [224, 64, 384])
def test_crop_and_resize_are_pillows(pool, number, side, photograph, encode, random_box, crop_to, see):
    rng, to_pillow, to_passes = np.random.default_rng(side), [], []
    for name in ("china.jpg", "flower.jpg"):
        jpeg = encode(photograph(640, 427, name), quality=95)
        for _ in range(12):
            left, top, right, bottom = random_box(rng, 560, 347)
            box = left, top, right + 80, bottom + 80
            crops = crop_to(box)
            crops.filters[:] = number
            view = see(pool, jpeg, crops, (side, side))
            to_pillow.append(psnr(view, by_pillow(jpeg, box, (side, side), FILTERS[number])))
            to_passes.append(psnr(view, row_by_row(jpeg, box, (side, side), FILTERS[number])))

    assert np.median(to_pillow) >= 70
    assert min(to_pillow) >= 50  # Pillow 13 shrinks columns first where the height shrinks much more
    assert np.median(to_passes) >= 76  # the weights have 16 bits


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((1, 1), (224, 224)),
        ((2, 300), (224, 7)),
        ((640, 1), (3, 500)),
        ((640, 427), (1, 1)),
        ((640, 427), (2, 900)),
    ],
)
def test_extreme_ratios_are_pillows_to_one_level(
    pool, number, picture, size, photograph, encode, crop_to, see
):
    jpeg = encode(photograph(*picture), quality=95)
    crops = crop_to((0, 0, *picture))
    crops.filters[:] = number

    view = see(pool, jpeg, crops, size)

    assert off_by(view, row_by_row(jpeg, (0, 0, *picture), size, FILTERS[number])).max() <= 1


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(("width", "height"), [(640, 427), (427, 640), (300, 300), (100, 180), (224, 224)])
def test_resize_then_centre_crop_is_one_step(pool, number, width, height, photograph, encode, see):
    jpeg = encode(photograph(min(width, 427), min(height, 427)).resize((width, height)), quality=95)
    scale = 256 / min(width, height)
    resized = int(width * scale), int(height * scale)
    left, top = (resized[0] - 224) // 2, (resized[1] - 224) // 2
    x, y = width / resized[0], height / resized[1]
    crops = Crops.empty(1)
    crops.limits[0] = 0, 0, width, height
    crops.boxes[0] = left * x, top * y, 224 * x, 224 * y
    crops.filters[:] = number

    view = see(pool, jpeg, crops, (224, 224))

    whole = row_by_row(jpeg, (0, 0, width, height), resized[::-1], FILTERS[number])
    difference = off_by(view, whole[top : top + 224, left : left + 224])
    assert difference.max() <= 2  # two passes of rounding
    assert (difference <= 1).mean() > 0.9999


@pytest.mark.parametrize("channels", [1, 3])
def test_vector_instructions_give_the_same_bits(channels, photograph, encode, random_box):
    jpeg = encode(photograph(320, 240))
    rng = np.random.default_rng(0)
    pools = Pool(1, simd=False), Pool(1, simd="avx2"), Pool(1)
    for size in [(1, 1), (3, 4), (7, 13), (32, 32), (97, 61), (224, 224)]:
        crops = Crops.empty(40)
        for row in range(40):
            left, top, right, bottom = random_box(rng, 320, 240)
            crops.limits[row] = left, top, right, bottom
            crops.boxes[row] = left, top, right - left, bottom - top
        crops.filters[:], crops.flips[:] = rng.integers(0, 2, (2, 40))
        items = [jpeg, np.asarray(photograph(320, 240))] * 20
        results = [np.empty((40, channels, *size), np.uint8) for _ in pools]

        for pool, out in zip(pools, results, strict=True):
            assert pool.render(pool.load(items), crops, out) == [None] * 40

        np.testing.assert_array_equal(results[1], results[0])
        np.testing.assert_array_equal(results[2], results[0])


def test_a_flat_area_stays_as_it_is(pool, crop_to, see):
    flat = np.full((301, 203, 3), 201, np.uint8)

    for size in [(224, 224), (1000, 3), (5, 7)]:
        assert (see(pool, flat, crop_to((3, 5, 200, 300)), size) == 201).all()


def test_a_mirrored_view_runs_from_right_to_left(pool, photograph, crop_to, see):
    crops = crop_to((10, 10, 90, 60))
    picture = np.asarray(photograph(100, 70))
    plain = see(pool, picture, crops, (32, 48))
    crops.flips[:] = True

    np.testing.assert_array_equal(see(pool, picture, crops, (32, 48)), plain[:, ::-1])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("shift", [(3, 0), (-3, 2), (0, -5), (31, 31), (32, 0), (0, -40), (-1000, 1000)])
def test_a_shifted_view_is_moved_over_black_before_it_is_mirrored(
    pool, shift, mirrored, photograph, crop_to, see
):
    x, y = shift
    picture = np.asarray(photograph(32, 32))
    crops = crop_to((0, 0, 32, 32))
    crops.shifts[:], crops.flips[:] = shift, mirrored

    view = see(pool, picture, crops, (32, 32))

    moved = Image.new("RGB", (32, 32))
    moved.paste(Image.fromarray(picture), shift)
    expected = np.asarray(moved)[:, :: -1 if mirrored else 1]
    np.testing.assert_array_equal(view, expected, f"{x} {y}")
