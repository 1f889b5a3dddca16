"""From the configuration to data sets and feeds."""

import logging

import torch

from swin_train.config import Config
from swin_train.data.backends import choose_backend
from swin_train.data.build_order import build_order
from swin_train.data.build_workers import build_eval_workers, build_train_workers, normalisation_of
from swin_train.data.formats import ImageSource, check_same_classes, open_split
from swin_train.data.formats.subset import with_classes, with_fraction
from swin_train.data.loader import EvalFeed, Finisher, TrainFeed
from swin_train.data.mixing import Mixer
from swin_train.data.sampler import BatchGeometry, EpochSampler, EvalSampler

logger = logging.getLogger(__name__)


def open_datasets(cfg: Config, *, need_train: bool) -> tuple[ImageSource | None, ImageSource]:
    """The training set, None unless needed, and the validation set.

    Raises:
        UserError: the data is missing or laid out otherwise, or the two sets have different classes.
    """

    def opened(split: str) -> ImageSource:
        data = cfg.DATA
        return open_split(
            data.DATASET,
            data.DATA_PATH,
            split,
            zip_mode=data.ZIP_MODE,
            cache_mode=data.CACHE_MODE,
            cache_dir=data.CACHE_DIR,
            cache_gb=data.CACHE_GB,
        )

    val, names = opened("val"), cfg.DATA.CLASSES
    if not need_train:
        return None, with_classes(val, names)
    train = opened("train")
    check_same_classes(train, val)
    train = with_fraction(with_classes(train, names), cfg.DATA.FRACTION, cfg.SEED)
    return train, with_classes(val, names)


def build_train_feed(
    cfg: Config,
    source: ImageSource,
    geometry: BatchGeometry,
    device: torch.device,
    num_classes: int,
    dtype: torch.dtype = torch.float32,
) -> TrainFeed:
    """Training batches as ``cfg`` describes them.

    Args:
        cfg: the configuration.
        source: the training set.
        geometry: which images make up which batch.
        device: where the batches arrive.
        num_classes: length of a mixed target.
        dtype: of the images.

    Raises:
        UserError: a setting of the recipe is not supported.
    """
    sampler = EpochSampler(geometry, build_order(cfg, source, geometry))
    backend = choose_backend(cfg, device)
    logger.info("images are prepared by %s", backend)
    return TrainFeed(
        build_train_workers(cfg, backend, source, sampler, device),
        sampler,
        source,
        mixer=_build_mixer(cfg, geometry, num_classes),
        max_bad_images=_max_bad_images(cfg, source),
        finisher=Finisher(device, normalisation_of(cfg).to(device), dtype),
    )


def build_eval_feed(
    cfg: Config, source: ImageSource, *, rank: int, world_size: int, device: torch.device
) -> EvalFeed:
    """Evaluation batches as ``cfg`` describes them."""
    backend = choose_backend(cfg, device)
    sampler = EvalSampler(source.num_images, world_size, rank, cfg.DATA.BATCH_SIZE)
    workers = build_eval_workers(cfg, backend, source, sampler, device)
    return EvalFeed(workers, sampler, source, finisher=Finisher(device, normalisation_of(cfg).to(device)))


def _build_mixer(cfg: Config, geometry: BatchGeometry, num_classes: int) -> Mixer | None:
    if not cfg.AUG.is_mixing:
        return None
    return Mixer(
        mixup_alpha=cfg.AUG.MIXUP,
        cutmix_alpha=cfg.AUG.CUTMIX,
        cutmix_minmax=cfg.AUG.CUTMIX_MINMAX,
        prob=cfg.AUG.MIXUP_PROB,
        switch_prob=cfg.AUG.MIXUP_SWITCH_PROB,
        mode=cfg.AUG.MIXUP_MODE,
        smoothing=cfg.MODEL.LABEL_SMOOTHING,
        num_classes=num_classes,
        group=geometry.mix_group,
        seed=geometry.seed,
        end=cfg.TRAIN.EPOCHS - cfg.AUG.MIX_OFF_EPOCHS if cfg.AUG.MIX_OFF_EPOCHS else None,
    )


def _max_bad_images(cfg: Config, source: ImageSource) -> int:
    given = cfg.DATA.MAX_BAD_IMAGES
    return max(10, source.num_images // 10_000) if given is None else given
