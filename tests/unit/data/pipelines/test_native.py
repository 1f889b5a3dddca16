"""The native back end beside the exact one, on the same files."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from swin_train.config import Config, load_config
from swin_train.data.build import build_eval_feed, build_train_feed, open_datasets
from swin_train.data.native.library import unavailable
from swin_train.data.sampler import BatchGeometry

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=f"the native extension {unavailable()}")

_CPU = torch.device("cpu")
_OPERATIONS_OFF = ("AUG.AUTO_AUGMENT", "none", "AUG.COLOR_JITTER", 0.0, "AUG.REPROB", 0.0)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of photographs as JPEGs and PNGs, colour and grey, in two classes of each split."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label, name in enumerate(("china.jpg", "flower.jpg")):
            folder = root / split / str(label)
            folder.mkdir(parents=True)
            picture = Image.fromarray(load_sample_image(name))
            for number in range(8):
                left, top = rng.integers(0, 300), rng.integers(0, 200)
                width, height = rng.integers(60, 340), rng.integers(60, 220)
                part = picture.crop((left, top, left + width, top + height))
                part = part.convert("L") if number == 6 else part
                buffer = io.BytesIO()
                part.save(buffer, "PNG" if number == 7 else "JPEG", quality=92, subsampling=number % 3)
                (folder / f"{number}.{'png' if number == 7 else 'jpg'}").write_bytes(buffer.getvalue())
    return root


def config(root: Path, backend: str, *overrides: object) -> Config:
    data = (
        "DATA.DATA_PATH",
        str(root),
        "DATA.PIPELINE",
        backend,
        "DATA.NUM_WORKERS",
        0,
        "DATA.BATCH_SIZE",
        16,
    )
    return load_config(None, (*data, "AUG.MIXUP", 0.0, "AUG.CUTMIX", 0.0, *overrides))


def train_images(cfg: Config) -> Tensor:
    """Three epochs of every image, in levels of 0 to 255."""
    train, _ = open_datasets(cfg, need_train=True)
    assert train is not None
    feed = build_train_feed(cfg, train, BatchGeometry(16, 16, 1, 0, 16, 0, seed=0), _CPU, num_classes=2)
    return levels(cfg, torch.cat([batch.images for epoch in range(3) for batch in feed.batches(epoch)]))


def eval_images(cfg: Config) -> Tensor:
    _, val = open_datasets(cfg, need_train=False)
    [batch] = build_eval_feed(cfg, val, rank=0, world_size=1, device=_CPU).batches()
    return levels(cfg, batch.images)


def levels(cfg: Config, images: Tensor) -> Tensor:
    mean, std = torch.tensor(cfg.DATA.MEAN), torch.tensor(cfg.DATA.STD)
    return (images * std[:, None, None] + mean[:, None, None]) * 255


def psnrs(ours: Tensor, theirs: Tensor) -> NDArray[np.float64]:
    errors = ((ours - theirs) ** 2).mean(dim=(1, 2, 3)).clamp(min=1e-6)
    return (10 * torch.log10(255**2 / errors)).double().numpy()


SETTINGS: dict[str, tuple[object, ...]] = {
    "the defaults": (),
    "a rectangle": ("DATA.IMG_SIZE", (96, 160)),
    "either filter": ("DATA.INTERPOLATION", "random"),
    "shifted": ("AUG.CROP", "shift", "DATA.IMG_SIZE", 64),
    "small": ("DATA.IMG_SIZE", 32),
    "grey": ("DATA.MEAN", (0.5,), "DATA.STD", (0.25,), "MODEL.SWIN.IN_CHANS", 1),
}


@pytest.mark.parametrize("backend", ["native", "portable"])
@pytest.mark.parametrize("where", ["host", "device"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_views_differ_from_those_of_exact_by_resampling_alone(
    photographs: Path, setting: str, where: str, backend: str
) -> None:
    overrides = (*SETTINGS[setting], *_OPERATIONS_OFF)

    ours = train_images(config(photographs, backend, *overrides, "DATA.AUGMENT_ON", where))

    values = psnrs(ours, train_images(config(photographs, "exact", *overrides)))
    assert np.median(values) >= 70, np.median(values)
    assert values.min() >= 45


@pytest.mark.parametrize("backend", ["native", "portable"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_whole_recipe_makes_the_choices_of_exact(photographs: Path, setting: str, backend: str) -> None:
    ours = train_images(config(photographs, backend, *SETTINGS[setting]))

    # an operation with a threshold turns the last bit of a pixel into many; other choices give 10 to 20 dB
    assert np.median(psnrs(ours, train_images(config(photographs, "exact", *SETTINGS[setting])))) >= 50


@pytest.mark.parametrize("backend", ["native", "portable"])
@pytest.mark.parametrize("setting", [*SETTINGS, "squashed"])
def test_evaluation_shows_what_exact_shows(photographs: Path, setting: str, backend: str) -> None:
    overrides = {**SETTINGS, "squashed": ("TEST.CROP", False)}[setting]

    ours = eval_images(config(photographs, backend, *overrides))

    assert psnrs(ours, eval_images(config(photographs, "exact", *overrides))).min() >= 50
