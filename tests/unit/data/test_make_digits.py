import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swin_train.data.formats.image_folder import ImageFolder

_SCRIPT = Path(__file__).resolve().parents[3] / "scripts/make_digits.py"


def make_digits(out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, _SCRIPT, out], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("digits")
    assert make_digits(out).returncode == 0
    return out


def test_the_split_is_stratified(digits: Path) -> None:
    train, val = ImageFolder(str(digits), "train"), ImageFolder(str(digits), "val")

    assert (train.num_images, val.num_images) == (1437, 360)
    assert train.classes == val.classes == tuple("0123456789")
    shares = np.bincount(val.labels) / (np.bincount(train.labels) + np.bincount(val.labels))
    assert np.abs(shares - 0.2).max() < 0.005  # one image of a class of 180


def test_the_images_are_32_pixels_of_grey(digits: Path) -> None:
    image = Image.open(digits / "val/0" / sorted(path.name for path in (digits / "val/0").iterdir())[0])

    assert (image.mode, image.size) == ("L", (32, 32))
    assert np.ptp(np.array(image)) > 200


def test_a_second_run_skips_what_is_there(digits: Path) -> None:
    before = (digits / "train").stat().st_mtime_ns

    second = make_digits(digits)

    assert "1437 images are there already" in second.stdout
    assert (digits / "train").stat().st_mtime_ns == before


def test_a_folder_of_other_images_is_left_alone_and_refused(tmp_path: Path) -> None:
    (tmp_path / "train/cat").mkdir(parents=True)
    (tmp_path / "train/cat/mine.png").write_bytes(b"mine")

    refused = make_digits(tmp_path)

    assert refused.returncode == 1
    assert "it holds 1 images instead of 1437" in refused.stderr
    assert (tmp_path / "train/cat/mine.png").read_bytes() == b"mine"
