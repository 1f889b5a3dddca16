"""From the configuration to data sets and feeds; the only module here that reads it."""

import torch

from swin_train.config import Config
from swin_train.data.augment import (
    FILTERS,
    ColorJitter,
    EvalTransform,
    Normalize,
    RandomErasing,
    RandomStep,
    ResizedCrop,
    ShiftCrop,
    TrainTransform,
    is_small,
)
from swin_train.data.decode import CHANNELS
from swin_train.data.formats import ImageSource, check_same_classes, open_split
from swin_train.data.loader import EvalFeed, TrainFeed
from swin_train.data.mixing import Mixer
from swin_train.data.rand_augment import RandAugment, parse_policy
from swin_train.data.sampler import BatchGeometry, EvalSampler
from swin_train.data.workers import EvalImages, TrainImages, WorkerOptions
from swin_train.errors import UserError


def open_datasets(cfg: Config, *, need_train: bool) -> tuple[ImageSource | None, ImageSource]:
    """The training set, None unless needed, and the validation set.

    Raises:
        UserError: the data is missing or laid out otherwise, or the two sets have different classes.
    """
    if cfg.DATA.ZIP_MODE:
        raise UserError(
            "DATA.ZIP_MODE is True; this version reads image folders. Unpack the archives, set it to False."
        )
    val = open_split(cfg.DATA.DATASET, cfg.DATA.DATA_PATH, "val")
    if not need_train:
        return None, val
    train = open_split(cfg.DATA.DATASET, cfg.DATA.DATA_PATH, "train")
    check_same_classes(train, val)
    return train, val


def build_train_feed(
    cfg: Config, source: ImageSource, geometry: BatchGeometry, device: torch.device, num_classes: int
) -> TrainFeed:
    """Training batches as ``cfg`` describes them.

    Raises:
        UserError: a setting of the recipe is not supported.
    """
    images = TrainImages(source, build_train_transform(cfg), _channels(cfg), geometry.seed)
    return TrainFeed(
        images,
        geometry,
        mixer=_build_mixer(cfg, geometry, num_classes),
        max_bad_images=cfg.DATA.MAX_BAD_IMAGES,
        device=device,
        options=_worker_options(cfg, device),
    )


def build_eval_feed(
    cfg: Config, source: ImageSource, *, rank: int, world_size: int, device: torch.device
) -> EvalFeed:
    """Evaluation batches as ``cfg`` describes them."""
    images = EvalImages(source, build_eval_transform(cfg), _channels(cfg))
    sampler = EvalSampler(source.num_images, world_size, rank, cfg.DATA.BATCH_SIZE)
    return EvalFeed(images, sampler, device=device, options=_worker_options(cfg, device))


def build_train_transform(cfg: Config) -> TrainTransform:
    """The training recipe of one image.

    Raises:
        UserError: AUG.AUTO_AUGMENT names a policy that is not supported.
    """
    aug, size, filters = cfg.AUG, cfg.DATA.img_size, FILTERS[cfg.DATA.INTERPOLATION]
    shift = aug.CROP == "shift" or (aug.CROP == "auto" and is_small(size))
    erase = RandomErasing(aug.REPROB, aug.REMODE, aug.RECOUNT) if aug.REPROB > 0 else None
    return TrainTransform(
        crop=ShiftCrop(size, filters) if shift else ResizedCrop(size, aug.SCALE, aug.RATIO, filters),
        hflip=aug.HFLIP,
        colour=_build_colour(cfg),
        normalize=Normalize(cfg.DATA.MEAN, cfg.DATA.STD),
        erase=erase,
    )


def build_eval_transform(cfg: Config) -> EvalTransform:
    """The evaluation transform."""
    return EvalTransform(
        size=cfg.DATA.img_size,
        central_crop=cfg.TEST.CROP,
        resample=FILTERS[cfg.DATA.INTERPOLATION][0],  # of "random": bilinear, as in the reference
        normalize=Normalize(cfg.DATA.MEAN, cfg.DATA.STD),
    )


def _build_colour(cfg: Config) -> RandomStep | None:
    if cfg.AUG.AUTO_AUGMENT != "none":  # then, as in timm, it replaces the colour jitter
        fill = tuple(min(255, round(255 * mean)) for mean in cfg.DATA.MEAN)
        return RandAugment(parse_policy(cfg.AUG.AUTO_AUGMENT), fill, FILTERS[cfg.DATA.INTERPOLATION])
    return ColorJitter(cfg.AUG.COLOR_JITTER) if cfg.AUG.COLOR_JITTER > 0 else None


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
    )


def _channels(cfg: Config) -> int:
    mean, std = len(cfg.DATA.MEAN), len(cfg.DATA.STD)
    if mean != std or mean not in CHANNELS:
        raise UserError(
            f"DATA.MEAN has {mean} numbers and DATA.STD {std}; both need one per input channel: 1 or 3."
        )
    return mean


def _worker_options(cfg: Config, device: torch.device) -> WorkerOptions:
    return WorkerOptions(
        num_workers=cfg.DATA.NUM_WORKERS,
        prefetch=cfg.DATA.PREFETCH,
        pin_memory=cfg.DATA.PIN_MEMORY and device.type == "cuda",
    )
