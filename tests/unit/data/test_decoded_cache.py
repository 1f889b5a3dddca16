"""The cache of decoded pictures: it changes how often they are read, and no pixel."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from swin_train.config import load_config
from swin_train.data import backends
from swin_train.data.build import build_train_feed, open_datasets
from swin_train.data.decoded_cache import DecodedCache
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.loader import Batch, TrainFeed
from swin_train.data.native.library import unavailable
from swin_train.data.sampler import BatchGeometry
from swin_train.errors import UserError

MakeFolder = Callable[..., Path]
Same = Callable[[list[Batch], list[Batch]], bool]

_PICTURE = 20 * 20 * 3  # bytes
_needs_native = pytest.mark.skipif(bool(unavailable()), reason=f"the native extension {unavailable()}")


@pytest.fixture
def root(make_folder: MakeFolder) -> Path:
    root = make_folder({"a": 8, "b": 14}, "train")  # PNG and JPEG
    for number in range(2):
        Image.new("L", (30, 10), number).save(root / f"train/b/grey{number}.jpg")
    return make_folder({"a": 1, "b": 1}, "val")


def cache(source: ImageFolder, pictures: float) -> DecodedCache:
    return DecodedCache(source, 3, pictures * _PICTURE / 1e9)


def feed(root: Path, gigabytes: float, *overrides: Any) -> TrainFeed:
    keys = [
        "DATA.DATA_PATH",
        str(root),
        "DATA.IMG_SIZE",
        12,
        "DATA.BATCH_SIZE",
        4,
        "DATA.RAM_CACHE_GB",
        gigabytes,
    ]
    cfg = load_config(None, [*keys, "DATA.NUM_WORKERS", 2, "DATA.PIPELINE", "native", *overrides])
    train, _ = open_datasets(cfg, need_train=True)
    assert train is not None
    geometry = BatchGeometry(train.num_images, 8, 1, 0, 4, 4, seed=0)
    return build_train_feed(cfg, train, geometry, torch.device("cpu"), num_classes=2)


@_needs_native
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pictures", [12, 1000])
def test_no_pixel_changes(root: Path, same: Same, pictures: int, channels: int) -> None:
    grey = ["DATA.MEAN", [0.5], "DATA.STD", [0.5], "MODEL.SWIN.IN_CHANS", 1] if channels == 1 else []
    resized = ["AUG.CROP", "resized", *grey]
    with_cache, without = feed(root, pictures * _PICTURE / 1e9, *resized), feed(root, 0, *resized)

    for epoch in range(3):
        assert same(list(with_cache.batches(epoch)), list(without.batches(epoch)))


@_needs_native
def test_what_is_kept_is_not_read_again(root: Path, monkeypatch: pytest.MonkeyPatch, same: Same) -> None:
    train = feed(root, 1e-3, "DATA.MAX_BAD_IMAGES", 0)
    expected = list(feed(root, 0).batches(1))
    list(train.batches(0))

    for path in (root / "train").glob("*/*"):
        path.write_bytes(b"")

    assert same(list(train.batches(1)), expected)


@_needs_native
def test_a_bad_image_is_replaced_as_without_a_cache(root: Path, same: Same) -> None:
    for path in sorted((root / "train/b").iterdir())[:3]:
        path.write_bytes(path.read_bytes()[:-300])
    with_cache, without = feed(root, 1e-3), feed(root, 0)

    for epoch in range(2):
        assert same(list(with_cache.batches(epoch)), list(without.batches(epoch)))
    assert set(with_cache.bad_images) == set(without.bad_images) != set()


def test_the_chosen_follow_from_the_source_and_fit(source: ImageFolder) -> None:
    chosen = []
    for order in (range(21), reversed(range(21))):
        kept = cache(source, 10.0)
        for image in order:
            kept.put(image, np.zeros((20, 20, 3), np.uint8))
        chosen.append([image for image in range(21) if kept.get(image) is not None])

    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 9  # nine tenths of 10


def test_more_than_the_budget_is_never_kept(source: ImageFolder) -> None:
    kept = cache(source, 10.0)

    for image in range(21):
        kept.put(image, np.zeros((40, 40, 3), np.uint8))  # four times what the headers say

    assert sum(kept.get(image) is not None for image in range(21)) == 2


def test_images_without_a_header_do_not_count(source: ImageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = source.read
    monkeypatch.setattr(source, "read", lambda index: b"" if index % 2 else whole(index))
    kept = cache(source, 10.0)

    for image in range(21):
        kept.put(image, np.zeros((20, 20, 3), np.uint8))

    assert sum(kept.get(image) is not None for image in range(21)) == 9


def test_more_memory_than_there_is_is_refused(source: ImageFolder) -> None:
    with pytest.raises(
        UserError, match=r"DATA\.RAM_CACHE_GB is 1e\+06, but this machine has \d+ GB of memory"
    ):
        DecodedCache(source, 3, 1e6)


def test_another_back_end_refuses_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "unavailable", lambda: "is not built")

    with pytest.raises(UserError) as caught:
        feed(root, 0.5, "DATA.PIPELINE", "auto")

    assert str(caught.value) == (
        "DATA.RAM_CACHE_GB is 0.5, but images are prepared by portable (the native extension is not built), augmented "
        "here; native alone keeps decoded pictures: set DATA.PIPELINE native, or RAM_CACHE_GB 0"
    )
