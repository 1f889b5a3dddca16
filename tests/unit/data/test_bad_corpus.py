"""Damaged, odd and hostile files in every back end: used as Pillow shows them, or named and left out."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from swin_train.cli.main import main
from swin_train.data import draws
from swin_train.data.decode import as_pixels
from swin_train.data.formats import open_split
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.loader import TrainFeed
from swin_train.data.native.library import unavailable
from swin_train.data.pipelines import exact
from swin_train.data.recipe.crop import ResizedCrop
from swin_train.data.recipe.view import FILTERS

_PHOTO = Image.fromarray(load_sample_image("china.jpg")).resize((96, 64))
_IMAGES_PER_BATCH = 4


def encoded(image: Image.Image = _PHOTO, format: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def cut(data: bytes, part: float) -> bytes:
    return data[: int(len(data) * part)]


def with_bytes(data: bytes, place: int, *values: int) -> bytes:
    return data[:place] + bytes(values) + data[place + len(values) :]


def with_size(data: bytes, height: int, width: int) -> bytes:
    frame = data.index(b"\xff\xc0")
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def scrambled(data: bytes, seed: int) -> bytes:
    """Some bytes behind the headers changed."""
    rng = np.random.default_rng(seed)
    start = data.index(b"\xff\xda") + 14
    for place in rng.integers(start, len(data) - 2, 6):
        data = with_bytes(data, int(place), int(rng.integers(0, 256)))
    return data


_JPEG = encoded(quality=92)
_PROGRESSIVE = encoded(quality=92, progressive=True)
_RESTARTS = encoded(quality=92, restart_marker_blocks=2)
_SCAN = _JPEG.index(b"\xff\xda")
_PNG = encoded(format="PNG")

BAD: dict[str, bytes] = {
    "nothing": b"",
    "one byte": b"\xff",
    "zeros": bytes(2000),
    "text": b"<html>404 Not Found</html>",
    "a JPEG's first two bytes": b"\xff\xd8",
    "a JPEG's start and end": b"\xff\xd8\xff\xd9",
    "half a JPEG header": _JPEG[:80],
    "a JPEG header alone": _JPEG[:_SCAN],
    "a JPEG without a scan's data": _JPEG[: _SCAN + 14],
    "a tenth of a JPEG": cut(_JPEG, 0.3),
    "half a JPEG": cut(_JPEG, 0.5),
    "most of a JPEG": cut(_JPEG, 0.9),
    "a JPEG without its last bytes": _JPEG[:-20],
    "half a JPEG with an end": cut(_JPEG, 0.5) + b"\xff\xd9",
    "half a progressive JPEG": cut(_PROGRESSIVE, 0.4),
    "half a JPEG with restarts": cut(_RESTARTS, 0.5),
    "a JPEG of no height": with_size(_JPEG, 0, 96),
    "a JPEG of no width": with_size(_JPEG, 64, 0),
    "a JPEG that is said to be twice as high": with_size(_JPEG, 128, 96),
    "a JPEG bomb": with_size(_JPEG, 65_000, 65_000),
    "a JPEG whose Huffman tables cannot be": _JPEG.replace(
        b"\xff\xc4\x00\x1f\x00", b"\xff\xc4\x00\x1f\x07", 1
    ),
    "a JPEG without quantisation": _JPEG.replace(b"\xff\xdb", b"\xff\xfe"),
    "a lossless JPEG's frame": _JPEG.replace(b"\xff\xc0", b"\xff\xc3", 1),
    "a JPEG of 12 bits": with_bytes(_JPEG, _JPEG.index(b"\xff\xc0") + 4, 12),
    "a JPEG of 9 components": with_bytes(_JPEG, _JPEG.index(b"\xff\xc0") + 9, 9),
    "a JPEG of absurd sampling": with_bytes(_JPEG, _JPEG.index(b"\xff\xc0") + 11, 0x55),
    "half a PNG": cut(_PNG, 0.5),
    "a PNG header": _PNG[:40],
    "a PNG without pixels": png(4, 4),
    "a PNG with a broken stream": with_bytes(
        _PNG, _PNG.index(b"IDAT") + 40, *(b ^ 0xFF for b in _PNG[_PNG.index(b"IDAT") + 40 :][:4])
    ),
    "a PNG bomb": png(60_000, 60_000),
    "a PNG of too many pixels": png(10_000, 5_001),
    "a PNG with a text bomb": png(4, 4, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**24)))),
    "a PNG of no width": png(0, 4),
    "half a GIF": cut(encoded(_PHOTO.convert("P"), "GIF"), 0.4),
    "half a BMP": cut(encoded(format="BMP"), 0.5),
    "half a TIFF": cut(encoded(format="TIFF"), 0.5),
    "half a WebP": cut(encoded(format="WEBP"), 0.5),
    "a TIFF of floats": encoded(Image.new("F", (4, 4)), "TIFF"),
    "a TIFF of 32-bit integers": encoded(Image.new("I", (4, 4), 70_000), "TIFF"),
    "a PPM that lacks pixels": b"P6 9 9 255\n" + bytes(100),
    "a picture of a format left out": encoded(_PHOTO, "ICO"),
}
ODD: dict[str, bytes] = {
    "grey": encoded(_PHOTO.convert("L")),
    "CMYK": encoded(_PHOTO.convert("CMYK")),
    "progressive": _PROGRESSIVE,
    "with restarts": _RESTARTS,
    "4:4:4": encoded(subsampling=0),
    "4:2:2": encoded(subsampling=1),
    "kept as RGB": encoded(keep_rgb=True),
    "one pixel": encoded(_PHOTO.resize((1, 1))),
    "a line": encoded(_PHOTO.resize((300, 1))),
    "a column": encoded(_PHOTO.resize((1, 300))),
    "bytes behind the end": _JPEG + b"garbage" * 20,
    "bytes to spare before the end": _JPEG[:-2] + b"abcd" + _JPEG[-2:],
    "orientation": encoded(exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
    "16 bits": encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000), "PNG"),
    "transparent": encoded(_PHOTO.convert("RGBA"), "PNG"),
    "palette": encoded(_PHOTO.convert("P"), "PNG"),
    "one bit": encoded(_PHOTO.convert("1"), "PNG"),
    "GIF": encoded(_PHOTO.convert("P"), "GIF"),
    "BMP": encoded(format="BMP"),
    "TIFF": encoded(format="TIFF"),
    "WebP": encoded(format="WEBP"),
}
SCRAMBLED = {
    f"{kind} {seed}": scrambled(data, seed)
    for seed in range(12)
    for kind, data in (("plain", _JPEG), ("progressive", _PROGRESSIVE), ("restarts", _RESTARTS))
}


def one_bad_among_good(tmp_path: Path, data: bytes) -> ImageFolder:
    """A class of four pictures, of which the first is the file in question."""
    folder = tmp_path / "train/a"
    folder.mkdir(parents=True)
    for number in range(_IMAGES_PER_BATCH):
        (folder / f"{number}.jpg").write_bytes(_JPEG if number else data)
    return ImageFolder(str(tmp_path), "train")


def run(feed: TrainFeed) -> tuple[torch.Tensor, dict[int, str]]:
    """The views of three epochs, in the order of the images, and what was wrong with which."""
    views = []
    for epoch in range(3):
        [batch] = feed.batches(epoch)
        views.append(batch.images[draws.permutation(_IMAGES_PER_BATCH, 1, epoch).argsort()])
    return torch.stack(views), {bad.image: bad.reason for bad in feed.bad_images}


@pytest.fixture
def make_feed(train_feed: Callable[..., TrainFeed], tmp_path: Path) -> Callable[[bytes], TrainFeed]:
    def make(data: bytes) -> TrainFeed:
        source = one_bad_among_good(tmp_path, data)
        return train_feed(source, global_batch=_IMAGES_PER_BATCH, max_bad_images=1)

    return make


def test_the_corpus_is_large_enough() -> None:
    assert len(BAD) >= 40


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_replaced_and_named(kind: str, make_feed: Callable[[bytes], TrainFeed]) -> None:
    views, bad = run(make_feed(BAD[kind]))

    assert list(bad) == [0]
    assert bad[0].startswith("cannot be decoded (")
    assert torch.isfinite(views).all()


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_file_is_used(kind: str, make_feed: Callable[[bytes], TrainFeed]) -> None:
    views, bad = run(make_feed(ODD[kind]))

    assert bad == {}
    assert torch.isfinite(views).all()


@pytest.mark.parametrize("kind", SCRAMBLED)
def test_a_scrambled_file_is_named_or_shown_as_pillow_shows_it(
    kind: str, train_feed: Callable[..., TrainFeed], tmp_path: Path
) -> None:
    source = one_bad_among_good(tmp_path, SCRAMBLED[kind])
    feed = train_feed(source, global_batch=_IMAGES_PER_BATCH, max_bad_images=1, plain=True)

    views, bad = run(feed)

    assert set(bad) <= {0}
    if not bad:
        pillow = Image.open(io.BytesIO(SCRAMBLED[kind])).convert("RGB")
        crop = ResizedCrop((0.08, 1.0), (3 / 4, 4 / 3), FILTERS["bicubic"])
        for epoch, view in enumerate(views[:, 0]):
            drawn = crop.draw(96, 64, draws.sample_rng(1, epoch, 0))
            expected = torch.from_numpy(as_pixels(exact.crop(pillow, drawn, (12, 12)))).permute(2, 0, 1)
            # 2 of 255 levels: the resamplers of the back ends round in their own ways
            assert (((view * 0.25 + 0.5) * 255) - expected).abs().max() <= 2


@pytest.fixture(scope="module")
def every_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all files of the corpus, with enough good ones of their class."""
    root = tmp_path_factory.mktemp("corpus")
    folder = root / "folder/train/a"
    folder.mkdir(parents=True)
    for kind, data in {**BAD, **ODD, "good": _JPEG}.items():
        (folder / f"{kind.replace(' ', '_').replace(':', '')}.jpg").write_bytes(data)
    return root


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("layout", "dataset"),
    [("folder", "imagenet"), ("zip", "imagenet"), ("shards", "shards"), ("packed", "packed")],
)
def test_every_format_hands_on_bad_files_as_they_are(
    layout: str, dataset: str, every_file: Path, train_feed: Callable[..., TrainFeed]
) -> None:
    out = every_file / layout
    if not out.exists():
        if layout == "packed" and unavailable():
            pytest.skip(f"packing: the native extension {unavailable()}")
        assert main(["prepare-data", str(every_file / "folder"), str(out), "--to", layout]) == 0
    source = open_split(dataset, str(out), "train", zip_mode=layout == "zip")
    feed = train_feed(source, global_batch=source.num_images, micro_batch=16, max_bad_images=len(BAD))

    batches = list(feed.batches(0))

    found = {Path(bad.name).stem for bad in feed.bad_images}
    assert found == {kind.replace(" ", "_").replace(":", "") for kind in BAD}
    assert sum(batch.num_images for batch in batches) == len(BAD) + len(ODD) + 1
    assert all(bool(torch.isfinite(batch.images).all()) for batch in batches)
