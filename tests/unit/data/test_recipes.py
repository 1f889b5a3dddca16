"""Recipes beyond the reference's, from the configuration to batches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swin_train.config import Config, load_config
from swin_train.data.build import build_eval_feed, build_train_feed, open_datasets
from swin_train.data.loader import Batch, TrainFeed
from swin_train.data.native.library import unavailable
from swin_train.data.sampler import BatchGeometry

MakeFolder = Callable[..., Path]
Same = Callable[[list[Batch], list[Batch]], bool]

RECIPES: dict[str, list[Any]] = {
    "repeats": ["AUG.REPEATS", 2],
    "mix off": ["AUG.MIX_OFF_EPOCHS", 298],
    "auto augment": ["AUG.AUTO_AUGMENT", "v0-mstd0.5"],
    "trivial augment": ["AUG.AUTO_AUGMENT", "ta_wide"],
    "3-augment": ["AUG.AUTO_AUGMENT", "3a"],
    "fraction": ["DATA.FRACTION", 0.7],
    "classes": ["DATA.CLASSES", ["a", "c"]],
    "balanced": ["DATA.SAMPLING", "balanced"],
    "progressive": ["DATA.PROGRESSIVE", [[0, 8], [2, 12]]],
    "blocks": ["DATA.SHUFFLE", "blocks", "DATA.SHUFFLE_WINDOW", 1],
}
_CPU = torch.device("cpu")


@pytest.fixture
def root(make_folder: MakeFolder) -> Path:
    make_folder({"a": 9, "b": 3, "c": 12}, "train")
    return make_folder({"a": 1, "b": 2, "c": 1}, "val")


def config(root: Path, recipe: list[Any], pipeline: str = "portable", workers: int = 0) -> Config:
    keys = ["DATA.DATA_PATH", str(root), "DATA.IMG_SIZE", 33, "DATA.BATCH_SIZE", 4, "DATA.PIPELINE", pipeline]
    return load_config(None, [*keys, "DATA.NUM_WORKERS", workers, *recipe])


def feed(cfg: Config, world_size: int = 1, rank: int = 0) -> TrainFeed:
    train, _ = open_datasets(cfg, need_train=True)
    assert train is not None
    geometry = BatchGeometry(train.num_images, 8, world_size, rank, 4, 4, seed=0)
    return build_train_feed(cfg, train, geometry, _CPU, num_classes=train.num_classes)


@pytest.mark.parametrize("pipeline", ["exact", "portable", "native"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_pass_that_starts_at_a_step_gives_the_rest_bit_for_bit(
    name: str, pipeline: str, root: Path, same: Same
) -> None:
    if pipeline == "native" and (problem := unavailable()):
        pytest.skip(f"the native extension {problem}")
    for epoch in (0, 2):
        whole = list(feed(config(root, RECIPES[name], pipeline)).batches(epoch))

        rest = list(feed(config(root, RECIPES[name], pipeline)).batches(epoch, first_step=1))

        assert len(whole) >= 4
        assert same(rest, whole[2:])


@pytest.mark.parametrize("name", RECIPES)
def test_batches_depend_neither_on_workers_nor_on_processes(name: str, root: Path, same: Same) -> None:
    whole = list(feed(config(root, RECIPES[name])).batches(2))

    with_workers = list(feed(config(root, RECIPES[name], workers=2)).batches(2))
    halves = [list(feed(config(root, RECIPES[name]), 2, rank).batches(2)) for rank in (0, 1)]

    assert same(whole, with_workers)
    assert same(whole, [batch for step in zip(*halves, strict=True) for batch in step])


@pytest.mark.parametrize("pipeline", ["exact", "portable", "native", "timm"])
def test_copies_of_an_image_are_other_views(root: Path, pipeline: str) -> None:
    if pipeline == "native" and (problem := unavailable()):
        pytest.skip(f"the native extension {problem}")
    recipe = ["AUG.REPEATS", 2, "DATA.FRACTION", 0.4, "AUG.MIXUP_PROB", 0]
    cfg = config(root, recipe, pipeline)

    images = torch.cat([batch.images for batch in feed(cfg).batches(0)])

    assert len(images) == 8  # four images, twice each
    assert len({image.numpy().tobytes() for image in images}) == 8


def test_mixing_ends_and_labels_are_left(root: Path) -> None:
    train = feed(config(root, RECIPES["mix off"]))

    mixed, labelled = next(train.batches(1)), next(train.batches(2))

    assert mixed.targets.shape == (4, 3)
    assert labelled.targets.dtype == torch.int64
    without = feed(config(root, ["AUG.MIXUP_PROB", 0]))
    assert torch.equal(labelled.images, next(without.batches(2)).images)


@pytest.mark.parametrize("pipeline", ["exact", "portable", "native"])
def test_sizes_progress_and_evaluation_keeps_its_own(root: Path, pipeline: str) -> None:
    if pipeline == "native" and (problem := unavailable()):
        pytest.skip(f"the native extension {problem}")
    cfg = config(root, ["DATA.PROGRESSIVE", [[1, 8], [3, 12]]], pipeline)
    train = feed(cfg)
    _, val = open_datasets(cfg, need_train=False)

    sides = [next(train.batches(epoch)).images.shape[2:] for epoch in range(5)]
    [evaluated] = build_eval_feed(cfg, val, rank=0, world_size=1, device=_CPU).batches()

    assert sides == [(33, 33), (8, 8), (8, 8), (12, 12), (12, 12)]
    assert evaluated.images.shape == (4, 3, 33, 33)


@pytest.mark.parametrize("pipeline", ["exact", "portable", "native"])
def test_an_epochs_views_are_those_of_a_run_at_its_size(root: Path, pipeline: str) -> None:
    if pipeline == "native" and (problem := unavailable()):
        pytest.skip(f"the native extension {problem}")
    crop = ["AUG.CROP", "resized", "AUG.REPROB", 1]  # the crop, left to itself, follows from IMG_SIZE
    progressive = feed(config(root, [*RECIPES["progressive"], *crop], pipeline))
    at_12 = feed(config(root, ["DATA.IMG_SIZE", 12, *crop], pipeline))

    assert torch.equal(next(progressive.batches(2)).images, next(at_12.batches(2)).images)


def test_classes_are_those_of_both_splits(root: Path) -> None:
    train, val = open_datasets(config(root, RECIPES["classes"]), need_train=True)

    assert train is not None
    assert train.classes == val.classes == ("a", "c")
    assert np.bincount(train.labels).tolist() == [9, 12]
    assert val.labels.tolist() == [0, 1]
    _, alone = open_datasets(config(root, RECIPES["classes"]), need_train=False)
    assert alone.classes == ("a", "c")


def test_a_fraction_is_of_the_training_set_alone(root: Path) -> None:
    train, val = open_datasets(config(root, RECIPES["fraction"]), need_train=True)

    assert train is not None
    assert np.bincount(train.labels).tolist() == [6, 2, 8]
    assert val.num_images == 4


def test_blocks_are_the_shards_of_a_source_that_has_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config(root, RECIPES["blocks"])
    train, _ = open_datasets(cfg, need_train=True)
    assert train is not None
    train.shards = np.arange(24) // 6  # type: ignore[attr-defined]
    geometry = BatchGeometry(24, 8, 1, 0, 4, 4, seed=0)
    workers = build_train_feed(cfg, train, geometry, _CPU, num_classes=3)

    seen = np.concatenate([loaded.request.indices for loaded in workers.host_batches(0)])

    assert sorted(seen.tolist()) == list(range(24))
    assert all(len(set(block)) == 1 for block in (seen // 6).reshape(4, 6).tolist())


@pytest.mark.parametrize(("shuffle", "warned"), [("full", True), ("blocks", False)])
def test_shards_that_do_not_fit_are_better_shuffled_in_blocks(
    root: Path, shuffle: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = config(root, ["DATA.SHUFFLE", shuffle, "DATA.CACHE_GB", 2])
    train, _ = open_datasets(cfg, need_train=True)
    assert train is not None
    train.is_near = False  # type: ignore[attr-defined]

    build_train_feed(cfg, train, BatchGeometry(24, 8, 1, 0, 4, 4, seed=0), _CPU, num_classes=3)

    assert ("DATA.CACHE_GB is 2, which does not hold all shards" in caplog.text) is warned
