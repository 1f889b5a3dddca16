"""The C operations against Pillow and timm, bit for bit, through the C interface itself."""

import ctypes
import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from sklearn.datasets import load_sample_images
from timm.data import auto_augment as timm_augment

from swin_train.data import draws
from swin_train.data.native.build import compile_library, library_path
from swin_train.kernels.augment import OpCode

Pixels = NDArray[np.uint8]
Matrix = tuple[float, ...]

_SIZES = ((1, 1), (2, 3), (3, 3), (33, 17), (65, 130), (224, 224))  # width, height
_FILL = (124, 116, 104)
_MEAN, _STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
_NO_MATRIX = (0.0,) * 6


class _Op(ctypes.Structure):
    """sw_op of operations.h."""

    _fields_ = (
        ("code", ctypes.c_int32),
        ("bicubic", ctypes.c_int32),
        ("value", ctypes.c_double),
        ("matrix", ctypes.c_double * 6),
    )


class _Erasure(ctypes.Structure):
    """sw_erasure of operations.h."""

    _fields_ = (
        ("left", ctypes.c_int32),
        ("top", ctypes.c_int32),
        ("right", ctypes.c_int32),
        ("bottom", ctypes.c_int32),
        ("key", ctypes.c_int64),
    )


@pytest.fixture(scope="module", name="library")
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(library_path() or compile_library()))


def op(code: int, value: float = 0, matrix: Matrix = _NO_MATRIX, bicubic: bool = True) -> _Op:
    return _Op(code, bicubic, value, (ctypes.c_double * 6)(*matrix))


def pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def rgbx(image: Image.Image) -> Pixels:
    pixels = np.asarray(image.convert("RGB"))
    return np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 77, np.uint8)], 2)


def operate(library: ctypes.CDLL, image: Image.Image, *ops: _Op, simd: bool = True) -> Pixels:
    """The result, [height, width, 3]. The memory behind the picture must stay as it is."""
    pixels = rgbx(image)
    height, width, _ = pixels.shape
    guarded, scratch = (np.full(pixels.size + 64, 99, np.uint8) for _ in range(2))
    guarded[: pixels.size] = pixels.ravel()
    fill = bytes((*(_FILL if image.mode == "RGB" else _FILL[:1] * 3), 0))
    library.sw_operate(
        pointer(guarded), pointer(scratch), width, height, (_Op * len(ops))(*ops), len(ops), fill, int(simd)
    )
    assert (guarded[pixels.size :] == 99).all()
    assert (scratch[pixels.size :] == 99).all()
    return guarded[: pixels.size].reshape(pixels.shape)[:, :, :3]


def assert_pillows(library: ctypes.CDLL, image: Image.Image, wanted: Image.Image, *ops: _Op) -> None:
    for simd in (False, True):
        got = operate(library, image, *ops, simd=simd)
        np.testing.assert_array_equal(got, np.asarray(wanted.convert("RGB")), err_msg=f"{image} simd={simd}")


def pictures(width: int, height: int) -> Iterator[Image.Image]:
    """Real, noisy, flat and two-tone ones, and one of mode L."""
    rng = np.random.default_rng(width)
    for pixels in load_sample_images().images:
        yield Image.fromarray(pixels[90 : 90 + height, 210 : 210 + width])
    yield Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    yield Image.new("RGB", (width, height), (255, 17, 0))
    tones = np.uint8([[250, 3, 128], [2, 255, 127]])
    yield Image.fromarray(tones[np.add.outer(np.arange(height) // 5, np.arange(width) // 7) % 2])
    yield Image.fromarray(load_sample_images().images[1][50 : 50 + height, 99 : 99 + width]).convert("L")


def all_pictures() -> Iterator[Image.Image]:
    for width, height in _SIZES:
        yield from pictures(width, height)


@pytest.mark.parametrize(
    ("code", "function"),
    [
        (OpCode.AUTO_CONTRAST, ImageOps.autocontrast),
        (OpCode.EQUALIZE, ImageOps.equalize),
        (OpCode.INVERT, ImageOps.invert),
        (OpCode.GREY, lambda image: image.convert("L")),
        (OpCode.IDENTITY, lambda image: image),
    ],
)
def test_operations_without_a_value(library: ctypes.CDLL, code: int, function: Any) -> None:
    for image in all_pictures():
        assert_pillows(library, image, function(image), op(code))


@pytest.mark.parametrize("bits", range(9))
def test_posterize(library: ctypes.CDLL, bits: int) -> None:
    for image in all_pictures():
        wanted = ImageOps.posterize(image, bits) if bits else Image.new("RGB", image.size)
        assert_pillows(library, image, wanted, op(OpCode.POSTERIZE, bits))


@pytest.mark.parametrize("threshold", [0, 1, 100, 255, 256])
def test_solarize(library: ctypes.CDLL, threshold: int) -> None:
    for image in all_pictures():
        assert_pillows(library, image, ImageOps.solarize(image, threshold), op(OpCode.SOLARIZE, threshold))


@pytest.mark.parametrize("addend", [0, 1, 55, 110, 128, 255])
def test_solarize_add(library: ctypes.CDLL, addend: int) -> None:
    for image in all_pictures():
        wanted = timm_augment.solarize_add(image, addend)
        assert_pillows(library, image, wanted, op(OpCode.SOLARIZE_ADD, addend))


@pytest.mark.parametrize("factor", [0, 0.1, 0.6180339, 1, 1.9, 3.0, 1e12, -0.5])
@pytest.mark.parametrize(
    ("code", "enhancer"),
    [
        (OpCode.BRIGHTNESS, ImageEnhance.Brightness),
        (OpCode.CONTRAST, ImageEnhance.Contrast),
        (OpCode.COLOR, ImageEnhance.Color),
        (OpCode.SHARPNESS, ImageEnhance.Sharpness),
    ],
)
def test_enhancers(library: ctypes.CDLL, code: int, enhancer: Any, factor: float) -> None:
    for image in all_pictures():
        assert_pillows(library, image, enhancer(image).enhance(factor), op(code, factor))


@pytest.mark.parametrize("radius", [0, 0.1, 0.5, 1, 1.7, 2.4, 3, 25])
def test_blur(library: ctypes.CDLL, radius: float) -> None:
    for image in all_pictures():
        wanted = image.filter(ImageFilter.GaussianBlur(radius))
        assert_pillows(library, image, wanted, op(OpCode.BLUR, radius))


def rotation(degrees: float, width: int, height: int) -> Matrix:
    """The matrix of ``Image.rotate``."""
    angle = -math.radians(degrees % 360)
    cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    return cosine, sine, cosine * -x + sine * -y + x, -sine, cosine, -sine * -x + cosine * -y + y


def assert_transforms(library: ctypes.CDLL, image: Image.Image, matrix: Matrix, bicubic: bool) -> None:
    resample = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    fill = _FILL if image.mode == "RGB" else _FILL[0]
    wanted = image.transform(image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=fill)
    assert_pillows(library, image, wanted, op(OpCode.AFFINE, 0, matrix, bicubic))


@pytest.mark.parametrize("bicubic", [True, False])
@pytest.mark.parametrize(
    "matrix",
    [
        (1, 0.3, 0, 0, 1, 0),
        (1, -1 / 3, 0, 0, 1, 0),
        (1, 0, 0, 0.3, 1, 0),
        (1, 0, 0, -0.217, 1, 0),
        (1, 0, 0.45 * 224, 0, 1, 0),
        (1, 0, 0, 0, 1, -0.45 * 33),
        (1, 0, -0.45, 0, 1, 0),
        (1, 0, 0, 0, 1, 0),  # nothing moves
        (1, 0, -3, 0, 1, 2),  # whole pixels
        (1, 0.5, 0, 0.25, 1, 0),  # many results are whole numbers
        (-1, 0, 33, 0, -1, 17),
        (0.1, 0.02, 3, -0.03, 0.2, 1),
        (7.7, 0.3, -9, 1.1, -5.3, 50),
        (0, 0, 0.5, 0, 0, 0.5),
        (1, 0, 1e12, 0, 1, 0),
        (1, 1e300, 0, 1e300, 1, 0),
    ],
)
def test_affine(library: ctypes.CDLL, matrix: Matrix, bicubic: bool) -> None:
    for image in all_pictures():
        assert_transforms(library, image, matrix, bicubic)


@pytest.mark.parametrize("degrees", [30, -30, 0.001, 11.7, 90, 179])
def test_rotation(library: ctypes.CDLL, degrees: float) -> None:
    for image in all_pictures():
        matrix = rotation(degrees, *image.size)
        assert_transforms(library, image, matrix, bicubic=True)
        if degrees % 90:  # Pillow transposes there
            fill = _FILL if image.mode == "RGB" else _FILL[0]
            wanted = image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=fill)
            assert_pillows(library, image, wanted, op(OpCode.AFFINE, 0, matrix))


def test_random_affine_maps(library: ctypes.CDLL) -> None:
    rng = random.Random(0)
    images = list(pictures(70, 40))
    for number in range(250):
        matrix = tuple(rng.gauss(0, 1) * 10 ** rng.uniform(-2, 1.5) for _ in range(6))
        assert_transforms(library, images[number % len(images)], matrix, bicubic=number % 3 > 0)


def test_a_missing_coordinate_gives_the_fill_colour(library: ctypes.CDLL) -> None:
    image = next(pictures(33, 17))
    for matrix in ((math.nan, 0, 0, 0, 1, 0), (1, 0, 0, 0, math.inf, -math.inf)):
        for simd in (False, True):
            got = operate(library, image, op(OpCode.AFFINE, 0, matrix), simd=simd)
            assert (got == _FILL).all()


def test_operations_follow_one_another(library: ctypes.CDLL) -> None:
    for image in all_pictures():
        fill = _FILL if image.mode == "RGB" else _FILL[0]
        wanted = image.rotate(17, Image.Resampling.BICUBIC, fillcolor=fill)
        wanted = ImageEnhance.Sharpness(ImageOps.invert(wanted)).enhance(1.8)
        wanted = wanted.transform(
            image.size, Image.Transform.AFFINE, (1, 0.2, 0, 0, 1, 0), Image.Resampling.BICUBIC, fillcolor=fill
        )
        assert_pillows(
            library,
            image,
            wanted.filter(ImageFilter.GaussianBlur(1)),
            op(OpCode.AFFINE, 0, rotation(17, *image.size)),
            op(OpCode.INVERT),
            op(OpCode.SHARPNESS, 1.8),
            op(OpCode.AFFINE, 0, (1, 0.2, 0, 0, 1, 0)),
            op(OpCode.BLUR, 1),
        )


def test_a_grey_picture_keeps_equal_channels(library: ctypes.CDLL) -> None:
    image = list(pictures(65, 130))[-1]
    assert image.mode == "L"
    for code in OpCode:
        got = operate(library, image, op(code, 1.3, rotation(20, *image.size)))
        assert (got == got[:, :, :1]).all(), code


def finish(
    library: ctypes.CDLL,
    image: Image.Image,
    channels: int,
    erasures: list[_Erasure],
    mode: int,
    simd: bool = True,
) -> NDArray[np.float32]:
    """The result, [channels, height, width]. The memory behind it must stay as it is."""
    pixels = rgbx(image)
    height, width, _ = pixels.shape
    size = channels * height * width
    out = np.full(size + 8, 99, np.float32)
    boxes = (_Erasure * len(erasures))(*erasures)
    library.sw_finish(
        pointer(pixels), width, height, channels, pointer(_MEAN), pointer(_STD), boxes, len(erasures), mode,
        pointer(out), int(simd),
    )  # fmt: skip
    assert (out[size:] == 99).all()
    return out[:size].reshape(channels, height, width)


def normalized(image: Image.Image, channels: int) -> NDArray[np.float32]:
    planes = torch.from_numpy(rgbx(image)[:, :, :channels].copy()).permute(2, 0, 1).contiguous().float()
    mean, std = (torch.from_numpy(values[:channels])[:, None, None] for values in (_MEAN, _STD))
    return planes.div_(255).sub_(mean).div_(std).numpy()


@pytest.mark.parametrize("channels", [1, 3])
def test_finish_normalizes(library: ctypes.CDLL, channels: int) -> None:
    values = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    for image in (values, *all_pictures()):
        np.testing.assert_array_equal(finish(library, image, channels, [], 0), normalized(image, channels))


@pytest.mark.parametrize("simd", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("box", [(0, 0, 1, 1), (3, 2, 33, 17), (0, 0, 33, 17), (5, 1, 6, 17)])
def test_finish_erases(library: ctypes.CDLL, box: tuple[int, ...], channels: int, simd: bool) -> None:
    image, key = next(pictures(33, 17)), 2**62 + 12345
    left, top, right, bottom = box
    shape = channels, bottom - top, right - left
    values = {
        0: np.zeros(shape),
        1: draws.normal_noise(key, channels)[:, None, None],
        2: draws.normal_noise(key, math.prod(shape)).reshape(shape),
    }
    for mode, noise in values.items():
        wanted = normalized(image, channels)
        wanted[:, top:bottom, left:right] = noise
        got = finish(library, image, channels, [_Erasure(*box, key)], mode, simd)
        np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=1e-9)


def test_boxes_that_do_not_lie_in_the_picture_are_left_out(library: ctypes.CDLL) -> None:
    image = next(pictures(33, 17))
    boxes = [
        (0, 0, 0, 0),
        (0, 0, 34, 1),
        (-1, 0, 5, 5),
        (5, 5, 5, 9),
        (9, 5, 5, 9),
        (0, 0, 1, 18),
        (0, -9, 1, 1),
    ]
    erasures = [_Erasure(*box, 1) for box in boxes]
    for mode in range(3):
        np.testing.assert_array_equal(finish(library, image, 3, erasures, mode), normalized(image, 3))


def noise_block(
    library: ctypes.CDLL, key: int, simd: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    cosines, sines = (np.empty(256, np.float32) for _ in range(2))
    library.sw_normal_noise(
        ctypes.c_int64(key), ctypes.c_uint64(0), pointer(cosines), pointer(sines), int(simd)
    )
    return cosines, sines


def unmix64(z: int) -> int:
    """The word that ``draws.mix64`` takes to ``z``."""
    mask = 2**64 - 1
    z ^= z >> 31 ^ z >> 62
    z = z * pow(0x94D049BB133111EB, -1, 2**64) & mask
    z ^= z >> 27 ^ z >> 54
    z = z * pow(0xBF58476D1CE4E5B9, -1, 2**64) & mask
    z ^= z >> 30 ^ z >> 60
    return z - 0x9E3779B97F4A7C15 & mask


def signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


# words whose u and v (24 bits each) are at their ends, and whose angle is next to a quarter turn
_EDGES = [
    (u, v) for u in (0, 1, 2, 2**23, 2**24 - 1) for v in (0, 1, 2**22, 2**22 - 1, 2**23, 3 * 2**22, 2**24 - 1)
]


def test_the_noise_is_that_of_draws_within_4_ulp(library: ctypes.CDLL) -> None:
    keys = [signed(unmix64(u << 40 | v)) for u, v in _EDGES] + list(range(400)) + [-1, -(2**63), 2**63 - 1]
    for key in keys:
        words = draws.mix64_array(np.arange(256, dtype=np.uint64) ^ np.uint64(key & 2**64 - 1))
        # float32 where draws.py rounds to it, float64 for the functions
        u, v = ((part * 2.0**-24) for part in (words >> np.uint64(40), words & np.uint64(0xFFFFFF)))
        angle = (np.float32(2 * math.pi) * v.astype(np.float32)).astype(np.float64)
        radius = np.sqrt(-2 * np.log(1 - u))
        for simd in (False, True):
            for got, wanted in zip(
                noise_block(library, key, simd), (radius * np.cos(angle), radius * np.sin(angle)), strict=True
            ):
                ulp = np.spacing(np.abs(wanted).astype(np.float32))
                assert (np.abs(got - wanted) <= 4 * ulp).all(), key


def test_the_noise_is_the_same_with_and_without_simd(library: ctypes.CDLL) -> None:
    for key in range(-50, 50):
        for portable, fast in zip(
            noise_block(library, key, False), noise_block(library, key, True), strict=True
        ):
            assert portable.tobytes() == fast.tobytes()
