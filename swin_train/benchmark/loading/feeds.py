"""This project's back ends as contenders: what their feeds hand to the device."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from swin_train.benchmark.loading.bench import UNAUGMENTED, Bench, Load
from swin_train.benchmark.loading.excerpt import Excerpt
from swin_train.benchmark.rounds import Pass
from swin_train.config import Config
from swin_train.data.build import build_eval_feed, build_train_feed
from swin_train.data.images import Loaded
from swin_train.data.loader import TrainFeed
from swin_train.data.sampler import BatchGeometry
from swin_train.errors import UserError

# Mixed on the device by all contenders, ours and the reference; it is not what is measured.
_UNMIXED: dict[str, Any] = {"AUG.MIXUP": 0, "AUG.CUTMIX": 0, "AUG.CUTMIX_MINMAX": None}


def feed_pass(bench: Bench, load: Load, pipeline: str, augment_on: str = "auto") -> Pass:
    """A pass over the host's batches of one back end.

    Args:
        bench: what is measured.
        load: and how.
        pipeline: DATA.PIPELINE.
        augment_on: DATA.AUGMENT_ON.

    Raises:
        UserError: the back end cannot be used.
    """
    if bench.is_eval:
        keys, images = _keys(pipeline, augment_on, load), _images(bench, load)
        feed = build_eval_feed(bench.configure(keys), images, rank=0, world_size=1, device=bench.device)
        return lambda number: _count(feed.host_batches())
    _, train = train_feed(bench, load, pipeline, augment_on)
    return lambda number: _count(train.host_batches(number))


def train_feed(bench: Bench, load: Load, pipeline: str, augment_on: str) -> tuple[Config, TrainFeed]:
    """The training feed of one back end, and the configuration that it is built from; raises as ``feed_pass``."""
    cfg = bench.configure(
        _keys(pipeline, augment_on, load) | _UNMIXED | ({} if load.augmented else UNAUGMENTED)
    )
    images = _images(bench, load)
    return cfg, build_train_feed(cfg, images, _geometry(cfg, images), bench.device, images.num_classes)


def _keys(pipeline: str, augment_on: str, load: Load) -> dict[str, Any]:
    return {"DATA.PIPELINE": pipeline, "DATA.AUGMENT_ON": augment_on, "DATA.NUM_WORKERS": load.threads}


def _images(bench: Bench, load: Load) -> Excerpt:
    return Excerpt(bench.source, bench.num_images * max(1, load.threads))


def packed_pass(bench: Bench, load: Load, augment_on: str) -> Pass:
    """The same of the native back end over the packed images."""
    if bench.packed is None:
        raise UserError("no packed images are given; name their folder by --packed")
    return feed_pass(replace(bench, source=bench.packed), load, "native", augment_on)


def _geometry(cfg: Config, images: Excerpt) -> BatchGeometry:
    batch = min(cfg.DATA.BATCH_SIZE, images.num_images)
    return BatchGeometry(
        num_images=images.num_images,
        global_batch=batch,
        world_size=1,
        rank=0,
        micro_batch=batch,
        mix_group=0,
        seed=cfg.SEED,
    )


def _count(batches: Iterable[Loaded]) -> int:
    return sum(len(loaded.images) for loaded in batches)
