"""The image sets that the data pipeline is measured on."""

import hashlib
import importlib.util
import io
import json
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

_SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks/make_corpus.py"


@pytest.fixture(scope="module")
def make_corpus() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_corpus", _SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def photograph(mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).resize((640, 480)).save(file, "png")
    return file.getvalue()


@pytest.fixture
def packages(tmp_path: Path) -> list[dict]:
    """A wheel and a source archive of one photograph each, as pip would leave them in ``tmp_path``."""
    colour, grey = photograph(), photograph("L")
    with zipfile.ZipFile(tmp_path / "some_photos-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("photos/colour.png", colour)
    with tarfile.open(tmp_path / "more-2.0.tar.gz", "w:gz") as sdist:
        member = tarfile.TarInfo("more-2.0/grey.png")
        member.size = len(grey)
        sdist.addfile(member, io.BytesIO(grey))
    return [
        entry("some-photos==1.0", "wheel", "photos/colour.png", colour),
        entry("more==2.0", "sdist", "more-2.0/grey.png", grey),
    ]


def entry(requirement: str, archive: str, name: str, content: bytes) -> dict:
    digest = hashlib.sha256(content).hexdigest()
    return {"requirement": requirement, "archive": archive, "pictures": {name: digest}}


def test_listed_photographs_are_read(make_corpus: ModuleType, packages: list[dict], tmp_path: Path) -> None:
    found = make_corpus.read_sources(packages, tmp_path)

    assert [(picture.mode, picture.size) for picture in found] == [("RGB", (640, 480)), ("L", (640, 480))]


def test_other_content_is_refused(make_corpus: ModuleType, packages: list[dict], tmp_path: Path) -> None:
    packages[0]["pictures"]["photos/colour.png"] = "0" * 64

    with pytest.raises(make_corpus.Refused, match=r"colour.png has SHA-256 [0-9a-f]{64}; 0{64} is expected"):
        make_corpus.read_sources(packages, tmp_path)


def test_a_missing_picture_is_refused(make_corpus: ModuleType, packages: list[dict], tmp_path: Path) -> None:
    packages[1]["pictures"] = {"more-2.0/other.png": "0" * 64}

    with pytest.raises(make_corpus.Refused, match=r"holds no picture more-2.0/other.png"):
        make_corpus.read_sources(packages, tmp_path)


def test_sets_hold_the_same_pictures_in_their_own_encoding(
    make_corpus: ModuleType, packages: list[dict], tmp_path: Path
) -> None:
    photographs = make_corpus.read_sources(packages, tmp_path)
    folders = {name: tmp_path / name for name in "ab"}

    make_corpus.write_split(folders, photographs, "train", 12)

    names = [
        sorted(path.relative_to(folder) for path in folder.rglob("*.jpg")) for folder in folders.values()
    ]
    assert names[0] == names[1]
    assert len(names[0]) == 12
    for name in names[0]:
        first, second = (Image.open(folder / name) for folder in folders.values())
        assert (first.size, first.mode) == (second.size, second.mode)
        if first.mode == "RGB":
            assert [image.layer[0][1:3] for image in (first, second)] == [(2, 2), (1, 1)]


def test_a_picture_depends_on_its_draws_alone(
    make_corpus: ModuleType, packages: list[dict], tmp_path: Path
) -> None:
    photographs = make_corpus.read_sources(packages, tmp_path)

    first, again, other = (
        make_corpus.make_picture(photographs, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )

    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_there_are_50_sources_and_a_set_that_is_there_is_left_alone(
    make_corpus: ModuleType, tmp_path: Path
) -> None:
    listed = json.loads(make_corpus.SOURCES.read_text())["packages"]
    (tmp_path / "b").mkdir()

    with pytest.raises(make_corpus.Refused, match=r"b: exists; remove it or choose another folder"):
        make_corpus.make_corpus(tmp_path, tmp_path)
    assert sum(len(package["pictures"]) for package in listed) >= 50
