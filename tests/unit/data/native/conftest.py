"""The built extension, and JPEG files of every kind."""

import io
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

from swin_train.data.native.build import compile_library, library_path
from swin_train.data.native.library import Crops, Pool
from swin_train.errors import UserError

Box = tuple[int, int, int, int]
KINDS: dict[str, dict[str, Any]] = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "4:4:0": {"subsampling": 1},
    "4:1:1": {"subsampling": 2},
    "rgb": {"keep_rgb": True},
    "grey": {},
    "progressive": {"subsampling": 2, "progressive": True},
    "progressive 4:4:4": {"subsampling": 0, "progressive": True},
    "restarts": {"subsampling": 2, "restart_marker_blocks": 3},
}


@pytest.fixture(scope="session", autouse=True)
def _built() -> None:
    try:
        _ = library_path() or compile_library()
    except UserError as error:
        if "is not there" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A pool of one thread."""
    pool = Pool(1)
    yield pool
    pool.close()


def photograph(width: int, height: int, name: str = "china.jpg") -> Image.Image:
    """The middle of a photograph."""
    image = Image.fromarray(load_sample_image(name))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def encode(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 85, **options})
    return file.getvalue()


def make_jpeg(kind: str, width: int, height: int) -> bytes:
    """A file of about this size; Pillow cannot write two of the kinds, whose pixels are then out of order."""
    image = photograph(width, height)
    data = encode(image.convert("L") if kind == "grey" else image, **KINDS[kind])
    if kind == "4:4:0":  # 2 x 1 blocks in an MCU become 1 x 2
        return with_frame(data, 0x12, -(-width // 16) * 8 - width % 8, -(-height // 8) * 16 - height % 16)
    if kind == "4:1:1":  # 2 x 2 blocks become 4 x 1
        return with_frame(data, 0x41, -(-width // 16) * 32 - width % 32, -(-height // 16) * 8 - height % 8)
    return data


def with_frame(jpeg: bytes, sampling: int, width: int, height: int) -> bytes:
    """The file with another sampling of its first component and another size in its header."""
    at = jpeg.index(b"\xff\xc0")
    frame = struct.pack(">HH", height, width) + jpeg[at + 9 : at + 11] + bytes([sampling])
    return jpeg[: at + 5] + frame + jpeg[at + 12 :]


def pixels(jpeg: bytes) -> NDArray[np.uint8]:
    """What Pillow makes of a file, [height, width, 1 or 3]."""
    image = Image.open(io.BytesIO(jpeg))
    return np.asarray(image).reshape(image.height, image.width, -1)


def random_box(rng: np.random.Generator, width: int, height: int) -> Box:
    left, top = int(rng.integers(width)), int(rng.integers(height))
    return left, top, int(rng.integers(left, width)) + 1, int(rng.integers(top, height)) + 1


def crop_to(*boxes: Box) -> Crops:
    """Crops of exactly these boxes."""
    crops = Crops.empty(len(boxes))
    for row, (left, top, right, bottom) in enumerate(boxes):
        crops.limits[row] = left, top, right, bottom
        crops.boxes[row] = left, top, right - left, bottom - top
    return crops


def see(pool: Pool, item: Any, crops: Crops, size: tuple[int, int], channels: int = 3) -> NDArray[np.uint8]:
    """The view of one picture, [height, width, channels]; ``size`` is height and width."""
    out = np.full((1, channels, *size), 99, np.uint8)
    assert pool.render(pool.load([item]), crops, out) == [None]
    return out[0].transpose(1, 2, 0)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of JPEG that is decoded here."""
    return str(request.param)


@pytest.fixture(name="photograph")
def _photograph() -> Callable[..., Any]:
    return photograph


@pytest.fixture(name="encode")
def _encode() -> Callable[..., Any]:
    return encode


@pytest.fixture(name="make_jpeg")
def _make_jpeg() -> Callable[..., Any]:
    return make_jpeg


@pytest.fixture(name="pixels")
def _pixels() -> Callable[..., Any]:
    return pixels


@pytest.fixture(name="random_box")
def _random_box() -> Callable[..., Any]:
    return random_box


@pytest.fixture(name="crop_to")
def _crop_to() -> Callable[..., Any]:
    return crop_to


@pytest.fixture(name="see")
def _see() -> Callable[..., Any]:
    return see
