"""Small data sets for the tests of this package, and processes that are killed."""

import hashlib
import io
import multiprocessing
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.formats.source import ImageSource
from swin_train.prepare.job import Settings, prepare


def picture(seed: int, side: int = 24, kind: str = "JPEG", mode: str = "RGB") -> bytes:
    """An image file of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def images_of(source: ImageSource) -> dict[str, tuple[str, int, bytes]]:
    """Class, label and content of every image, by its name in the split or in its shard."""
    return {
        re.sub(r"^\w+/([\w-]+\.tar/)?", "", source.name(i)): (source.classes[label], label, source.read(i))
        for i, label in enumerate(source.labels.tolist())
    }


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but the lock."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.fixture(name="picture")
def _picture() -> Callable[..., bytes]:
    return picture


@pytest.fixture(name="images_of")
def _images_of() -> Callable[[ImageSource], dict[str, tuple[str, int, bytes]]]:
    return images_of


@pytest.fixture(name="content")
def _content() -> Callable[[Path], dict[str, str]]:
    return content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data path: 21 JPEG and PNG files in three classes to train on, 6 to evaluate on."""
    for split, counts in (("train", (7, 6, 8)), ("val", (2, 2, 2))):
        for name, count in zip(("ant", "bee", "cow"), counts, strict=True):
            path = tmp_path / "source" / split / name
            path.mkdir(parents=True)
            for i in range(count):
                kind, ending = ("PNG", "png") if i == 3 else ("JPEG", "JPEG")
                seed = len(list((tmp_path / "source").rglob("*.*")))
                (path / f"{name}_{i}.{ending}").write_bytes(picture(seed, kind=kind))
    return tmp_path / "source"


@pytest.fixture
def source(folder: Path) -> ImageFolder:
    """The training images of ``folder``."""
    return ImageFolder(str(folder), "train")


@pytest.fixture
def fake_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let data be packed where there is no native extension: a "tiled" JPEG has a comment."""
    from swin_train.data.native import library, tiling

    def tile(data: bytes) -> bytes:
        if not data.startswith(b"\xff\xd8"):
            raise tiling.NotTileable("it is no JPEG")
        return data[:2] + b"\xff\xfe\0\6tile" + data[2:]

    monkeypatch.setattr(library, "unavailable", lambda: None)
    monkeypatch.setattr(tiling, "tile", tile)


@pytest.fixture
def launch() -> Callable[..., multiprocessing.Process]:
    """Starts ``prepare`` in a process of its own, ``before`` being called there first."""

    def start(
        source: ImageSource,
        out: Path,
        settings: Settings,
        workers: int = 2,
        before: Callable[[], object] = bool,
    ) -> multiprocessing.Process:
        def work() -> None:
            before()
            prepare(source, out, settings, workers)
            os._exit(0)

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        return process

    return start
