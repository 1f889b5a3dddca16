import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from swin_train.config import Config, load_config
from swin_train.data.build import build_eval_feed, build_train_feed, open_datasets
from swin_train.data.formats import FileSpan, ImageFolder
from swin_train.data.native.library import unavailable
from swin_train.data.recipe.build import build_eval_recipe, build_recipe
from swin_train.data.recipe.color_jitter import ColorJitter
from swin_train.data.recipe.crop import ResizedCrop, ShiftCrop
from swin_train.data.recipe.erasing import RandomErasing
from swin_train.data.recipe.rand_augment import Policy, RandAugment
from swin_train.data.sampler import BatchGeometry
from swin_train.errors import DataError, UserError

MakeFolder = Callable[..., Path]
_SMALL = ("DATA.IMG_SIZE", 32)


def config(*overrides: Any) -> Config:
    return load_config(None, overrides)


def test_the_defaults_are_the_references_recipe() -> None:
    recipe = build_recipe(config())

    assert isinstance(recipe.crop, ResizedCrop)
    assert recipe.size == (224, 224)
    assert (recipe.crop.scale, recipe.crop.ratio) == ((0.08, 1.0), (3 / 4, 4 / 3))
    assert recipe.hflip == 0.5
    assert isinstance(recipe.policy, RandAugment)
    assert recipe.policy.policy == Policy(magnitude=9, magnitude_std=0.5, increasing=True)
    assert recipe.erasing == RandomErasing(0.25, "pixel", 1)


def test_small_images_are_shifted_unless_the_crop_is_given() -> None:
    assert isinstance(build_recipe(config(*_SMALL)).crop, ShiftCrop)
    assert isinstance(build_recipe(config(*_SMALL, "AUG.CROP", "resized")).crop, ResizedCrop)
    assert isinstance(build_recipe(config("AUG.CROP", "shift")).crop, ShiftCrop)
    assert isinstance(build_recipe(config("DATA.IMG_SIZE", (24, 32))).crop, ShiftCrop)
    assert isinstance(build_recipe(config("DATA.IMG_SIZE", (24, 33))).crop, ResizedCrop)


def test_colour_jitter_acts_where_there_is_no_policy() -> None:
    none = ("AUG.AUTO_AUGMENT", "none")

    assert build_recipe(config(*none)).policy == ColorJitter(0.4)
    assert build_recipe(config(*none, "AUG.COLOR_JITTER", 0.0)).policy is None


def test_erasing_can_be_off() -> None:
    assert build_recipe(config("AUG.REPROB", 0.0)).erasing is None


def test_evaluation_crops_or_squashes() -> None:
    assert build_eval_recipe(config()).central_crop
    assert not build_eval_recipe(config("TEST.CROP", False)).central_crop


@pytest.mark.parametrize(
    ("overrides", "mixing"),
    [
        ((), True),
        (("AUG.MIXUP", 0.0), True),
        (("AUG.CUTMIX", 0.0), True),
        (("AUG.MIXUP", 0.0, "AUG.CUTMIX", 0.0), False),
        (("AUG.MIXUP", 0.0, "AUG.CUTMIX", 0.0, "AUG.CUTMIX_MINMAX", (0.2, 0.8)), True),
    ],
)
def test_mixing_is_on_when_mixup_or_cutmix_is(overrides: tuple[Any, ...], mixing: bool) -> None:
    assert config(*overrides).AUG.is_mixing is mixing


@pytest.mark.parametrize("mix", [True, False])
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_feeds_from_a_configuration(make_folder: MakeFolder, mix: bool, size: tuple[int, int]) -> None:
    make_folder({"a": 3, "b": 4}, "train")
    path = make_folder({"a": 2, "b": 1}, "val")
    off = () if mix else ("AUG.MIXUP", 0.0, "AUG.CUTMIX", 0.0)
    data = ("DATA.DATA_PATH", str(path), "DATA.NUM_WORKERS", 0, "DATA.BATCH_SIZE", 4, "DATA.IMG_SIZE", size)
    cfg = config(*data, *off)
    train, val = open_datasets(cfg, need_train=True)
    assert train is not None
    geometry = BatchGeometry(7, 4, 1, 0, 4, 4 if mix else 0, seed=0)
    cpu = torch.device("cpu")

    [batch] = build_train_feed(cfg, train, geometry, device=cpu, num_classes=2).batches(0)
    [evaluated] = build_eval_feed(cfg, val, rank=0, world_size=1, device=cpu).batches()

    assert batch.images.shape == (4, 3, *size)
    assert batch.targets.shape == ((4, 2) if mix else (4,))
    assert evaluated.images.shape == (3, 3, *size)
    assert evaluated.labels.tolist() == [0, 0, 1]
    assert evaluated.mask.all()


def test_an_evaluation_needs_no_training_set(make_folder: MakeFolder) -> None:
    path = make_folder({"a": 1}, "val")

    train, val = open_datasets(config("DATA.DATA_PATH", str(path)), need_train=False)

    assert train is None
    assert val.num_images == 1


def test_archives_are_opened_as_the_configuration_says(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def record(*where: str, **how: object) -> SimpleNamespace:
        calls.append((where, how))
        return SimpleNamespace(classes=("a",))

    monkeypatch.setattr("swin_train.data.build.open_split", record)
    cfg = config("DATA.DATA_PATH", "/data", "DATA.ZIP_MODE", True, "DATA.CACHE_MODE", "full")

    open_datasets(cfg, need_train=True)

    how = {"zip_mode": True, "cache_mode": "full", "cache_dir": "", "cache_gb": 0.0}
    assert calls == [(("imagenet", "/data", split), how) for split in ("val", "train")]


def test_one_channel_images(make_folder: MakeFolder) -> None:
    path = make_folder({"a": 1}, "val")
    grey = ("DATA.MEAN", (0.5,), "DATA.STD", (0.5,), "MODEL.SWIN.IN_CHANS", 1, "DATA.NUM_WORKERS", 0)
    cfg = config("DATA.DATA_PATH", str(path), *grey)
    _, val = open_datasets(cfg, need_train=False)

    [batch] = build_eval_feed(cfg, val, rank=0, world_size=1, device=torch.device("cpu")).batches()

    assert batch.images.shape == (1, 1, 224, 224)


def test_other_numbers_of_channels_are_refused(make_folder: MakeFolder) -> None:
    two = ("DATA.MEAN", (0.5, 0.5), "DATA.STD", (0.5, 0.5), "MODEL.SWIN.IN_CHANS", 2)
    cfg = config("DATA.DATA_PATH", str(make_folder({"a": 1}, "val")), *two)
    _, val = open_datasets(cfg, need_train=False)

    with pytest.raises(UserError, match=r"DATA\.MEAN has 2 numbers and DATA\.STD 2; .* 1 or 3"):
        build_eval_feed(cfg, val, rank=0, world_size=1, device=torch.device("cpu"))


def test_an_unsupported_policy_is_refused() -> None:
    with pytest.raises(UserError, match=r"AUG\.AUTO_AUGMENT is 'augmix-m3'"):
        build_recipe(config("AUG.AUTO_AUGMENT", "augmix-m3"))


class _HangingFolder(ImageFolder):
    def read(self, index: int) -> bytes:
        time.sleep(4)
        return super().read(index)

    def span(self, index: int) -> FileSpan | None:
        return None


@pytest.mark.parametrize("pipeline", ["exact", "native"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_the_timeout_is_that_of_the_configuration(make_folder: MakeFolder, pipeline: str, split: str) -> None:
    if pipeline == "native" and (problem := unavailable()):
        pytest.skip(f"the native extension {problem}")
    source = _HangingFolder(str(make_folder({"a": 2, "b": 2}, split)), split)
    data = ("DATA.NUM_WORKERS", 1, "DATA.BATCH_SIZE", 2, "DATA.PIPELINE", pipeline, "DATA.TIMEOUT_S", 1)
    cfg, cpu = config(*data, *_SMALL), torch.device("cpu")
    batches: Iterator[object]
    if split == "train":
        geometry = BatchGeometry(4, 2, 1, 0, 2, 2, seed=0)
        batches = build_train_feed(cfg, source, geometry, cpu, num_classes=2).batches(0)
    else:
        batches = build_eval_feed(cfg, source, rank=0, world_size=1, device=cpu).batches()

    with pytest.raises(
        DataError, match=rf"no batch came for 1 s, which is DATA\.TIMEOUT_S; .*{split}/[ab]/\d\."
    ):
        next(batches)
