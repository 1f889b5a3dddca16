"""Build the two image sets that the data pipeline is measured on, from photographs that pip packages ship.

    python benchmarks/make_corpus.py ROOT [--cache FOLDER]

ROOT/a: 4:2:0, quality 94 (89 above 1,000 pixels). ROOT/b: the same pictures, 4:4:4, quality 96 (91), as most
of ImageNet is. Each has train/CLASS (500 files) and val/CLASS (100 files) with sizes like ImageNet's: two thirds have
a longer side of 500 pixels, 4 % of 1,000 to 2,000, 1 % are grey; a file of set A has about 107 KB.

The photographs are listed with their SHA-256 in corpus_sources.json; any other content is refused. pip downloads
the packages once into the cache folder (150 MB; default: ROOT/packages); nothing is installed or unpacked. A
picture is a random crop of a photograph, resampled by Lanczos, flipped, changed in colour, with sensor noise.
The same versions of NumPy and Pillow write the same files: compare the digests that are printed.
"""

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

SOURCES = Path(__file__).with_name("corpus_sources.json")
SEED = 2012
NUM_IMAGES = {"train": 500, "val": 100}
NUM_CLASSES = 10
LARGE = 1000  # pixels of the longer side from which a picture counts as large
_LARGEST_ENLARGEMENT = 1.4  # beyond, pictures would be blurred as few in ImageNet are
_NOISE = 4.0  # median standard deviation in grey levels; sets the mean size of the files


class Refused(Exception):
    """A package or a picture is not the one that the list of sources names."""


@dataclass(frozen=True)
class Encoding:
    """How one set is written as JPEG."""

    subsampling: str
    quality: int
    quality_large: int


SETS = {"a": Encoding("4:2:0", 94, 89), "b": Encoding("4:4:4", 96, 91)}


# ---- Sources ----


def read_sources(packages: list[dict], cache: Path) -> list[Image.Image]:
    """The listed photographs, RGB or grey, from archives in ``cache``, which pip fills where they are missing.

    Raises:
        Refused: an archive lacks a picture, or the picture has another SHA-256.
    """
    photographs = []
    for package in packages:
        archive = _archive(package["requirement"], package["archive"], cache)
        contents = _read_members(archive, set(package["pictures"]))
        for name, expected in package["pictures"].items():
            if name not in contents:
                raise Refused(f"{archive}: holds no picture {name}.")
            found = hashlib.sha256(contents[name]).hexdigest()
            if found != expected:
                raise Refused(f"{archive}: {name} has SHA-256 {found}; {expected} is expected.")
            with Image.open(io.BytesIO(contents[name])) as picture:
                photographs.append(picture.convert("L" if picture.mode == "L" else "RGB"))
    return photographs


def _archive(requirement: str, kind: str, cache: Path) -> Path:
    project, version = requirement.split("==")
    stem = f"{project.replace('-', '_')}-{version}"
    pattern = f"{stem}-*.whl" if kind == "wheel" else f"{stem}.tar.gz"
    if not any(cache.glob(pattern)):
        choice = ["--only-binary", ":all:"] if kind == "wheel" else ["--no-binary", project]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *choice]
        subprocess.run([*command, "--dest", str(cache), requirement], check=True)
    archives = sorted(cache.glob(pattern))
    if not archives:
        raise Refused(f"{cache}: pip left no {pattern} there for {requirement}.")
    return archives[0]


def _read_members(archive: Path, names: set[str]) -> dict[str, bytes]:
    """Contents of those of ``names`` that the archive holds."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in names & set(wheel.namelist())}
    with tarfile.open(archive, "r|gz") as sdist:
        return {member.name: sdist.extractfile(member).read() for member in sdist if member.name in names}


# ---- Pictures ----


def make_picture(photographs: list[Image.Image], draws: np.random.Generator) -> Image.Image:
    """A new picture from one of ``photographs``: size, crop, flip, colours and noise from ``draws``."""
    width, height = _draw_size(draws)
    mode = "L" if draws.random() < 0.01 else "RGB"
    largest_first = sorted(
        (p for p in photographs if p.mode == mode), key=lambda p: _enlargement(p, width, height)
    )
    fitting = [p for p in largest_first if _enlargement(p, width, height) < _LARGEST_ENLARGEMENT]
    choices = fitting or largest_first[:3]
    picture = _crop(choices[draws.integers(len(choices))], width, height, draws)
    if draws.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(draws.uniform(0.8, 1.2))
    return _add_noise(picture, draws)


def _draw_size(draws: np.random.Generator) -> tuple[int, int]:
    kind = draws.choice(["500", "large", "other"], p=[0.66, 0.04, 0.30])
    if kind == "500":
        longer = 500.0
    elif kind == "large":
        longer = draws.uniform(LARGE, 2 * LARGE)
    else:
        longer = np.clip(draws.lognormal(np.log(440), 0.4), 110, LARGE - 1)
    aspect = draws.choice([4 / 3, 3 / 2, draws.uniform(1.0, 1.8)], p=[0.55, 0.20, 0.25])
    sides = round(longer), round(longer / aspect)
    return sides if draws.random() < 0.70 else sides[::-1]


def _enlargement(photograph: Image.Image, width: int, height: int) -> float:
    return max(width / photograph.width, height / photograph.height)


def _crop(photograph: Image.Image, width: int, height: int, draws: np.random.Generator) -> Image.Image:
    """A crop of the shape of ``width`` x ``height``, anything from the whole to that size, resampled to it."""
    largest = 1 / _enlargement(photograph, width, height)
    scale = draws.uniform(min(1.0, largest), largest)
    crop_width, crop_height = min(scale * width, photograph.width), min(scale * height, photograph.height)
    left = draws.random() * (photograph.width - crop_width)
    top = draws.random() * (photograph.height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    return photograph.resize((width, height), Image.Resampling.LANCZOS, box=box)


def _add_noise(picture: Image.Image, draws: np.random.Generator) -> Image.Image:
    """Noise of a sensor in the luminance, of a strength that differs between pictures."""
    pixels = np.asarray(picture, dtype=np.float32)
    sigma = draws.lognormal(np.log(_NOISE), 0.7)
    noise = sigma * draws.standard_normal(pixels.shape[:2], dtype=np.float32)
    noisy = pixels + (noise if pixels.ndim == 2 else noise[..., None])
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


# ---- Files ----


def write_split(folders: dict[str, Path], photographs: list[Image.Image], split: str, count: int) -> None:
    """Write ``count`` pictures into FOLDER/SPLIT/CLASS of every set."""
    for number in range(count):
        draws = np.random.default_rng((SEED, list(NUM_IMAGES).index(split), number))
        picture = make_picture(photographs, draws)
        for name, encoding in SETS.items():
            path = folders[name] / split / f"class_{number % NUM_CLASSES}" / f"{number:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            large = max(picture.size) >= LARGE
            quality = encoding.quality_large if large else encoding.quality
            picture.save(path, quality=quality, subsampling=encoding.subsampling)


def describe(folder: Path) -> dict:
    """Facts of the training images of one set: sizes of files and pictures, and a digest of all content."""
    digest = hashlib.sha256()
    sizes, widths, heights, grey = [], [], [], 0
    for path in sorted((folder / "train").glob("*/*.jpg")):
        content = path.read_bytes()
        digest.update(content)
        with Image.open(io.BytesIO(content)) as picture:
            grey += picture.mode == "L"
            widths.append(picture.width)
            heights.append(picture.height)
        sizes.append(len(content) / 1000)
    longer = np.maximum(widths, heights)
    return {
        "num_images": len(sizes),
        "mean_kb": round(float(np.mean(sizes)), 1),
        "kb_quantiles": {q: round(float(np.percentile(sizes, q)), 1) for q in (5, 25, 50, 75, 95)},
        "mean_size": [round(float(np.mean(widths)), 1), round(float(np.mean(heights)), 1)],
        "median_kilopixels": round(float(np.median(np.multiply(widths, heights))) / 1000, 1),
        "longer_side_500": round(float(np.mean(longer == 500)), 3),
        "longer_side_1000_or_more": round(float(np.mean(longer >= LARGE)), 3),
        "grey": round(grey / len(sizes), 3),
        "sha256": digest.hexdigest(),
    }


def make_corpus(root: Path, cache: Path) -> dict[str, dict]:
    """Write both sets below ``root`` and describe them. A set appears when it is complete.

    Raises:
        Refused: a set is there already, or a source is not the listed one.
    """
    for name in SETS:
        if (root / name).exists():
            raise Refused(f"{root / name}: exists; remove it or choose another folder.")
    cache.mkdir(parents=True, exist_ok=True)
    photographs = read_sources(json.loads(SOURCES.read_text())["packages"], cache)
    with tempfile.TemporaryDirectory(dir=root, prefix=".unfinished-") as unfinished:
        folders = {name: Path(unfinished) / name for name in SETS}
        for split, count in NUM_IMAGES.items():
            write_split(folders, photographs, split, count)
        for name, folder in folders.items():
            folder.rename(root / name)
    return {name: describe(root / name) for name in SETS}


def main() -> None:
    """Build the sets as the command line says and print their facts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=Path, help="folder to write a/ and b/ into")
    parser.add_argument(
        "--cache", type=Path, help="folder of the downloaded packages; default: ROOT/packages"
    )
    options = parser.parse_args()
    options.root.mkdir(parents=True, exist_ok=True)
    try:
        facts = make_corpus(options.root, options.cache or options.root / "packages")
    except (Refused, subprocess.CalledProcessError) as problem:
        sys.exit(str(problem))
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
