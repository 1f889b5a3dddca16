"""From the configuration to what prepares batches: processes or threads, by the back end that was chosen."""

import math

import torch

from swin_train.config import Config
from swin_train.data.backends import Backend
from swin_train.data.decode import CHANNELS
from swin_train.data.decoded_cache import DecodedCache
from swin_train.data.formats import ImageSource
from swin_train.data.images import EvalImages, TrainImages
from swin_train.data.loader import Batches
from swin_train.data.pipelines.exact import ExactEval, ExactTrain, Normalize
from swin_train.data.pipelines.native import NativeEval, NativeTrain
from swin_train.data.pipelines.pipeline import Pipeline
from swin_train.data.pipelines.portable import PortableEval, PortableTrain
from swin_train.data.pipelines.timm_chain import build_timm_train
from swin_train.data.recipe.build import build_eval_recipe, build_recipe
from swin_train.data.sampler import EpochSampler, EvalSampler
from swin_train.data.threads import Threads
from swin_train.data.workers import WorkerOptions, Workers
from swin_train.errors import UserError
from swin_train.kernels.augment import Normalisation


def build_train_workers(
    cfg: Config, backend: Backend, source: ImageSource, sampler: EpochSampler, device: torch.device
) -> Batches:
    """What prepares training batches.

    Raises:
        UserError: a setting of the recipe is not supported.
    """
    channels, recipe, seed = _channels(cfg), build_recipe(cfg), sampler.geometry.seed
    fill = tuple(min(255, round(255 * mean)) for mean in cfg.DATA.MEAN)
    normalisation = normalisation_of(cfg) if backend.finishes else None
    if backend.name == "native":
        images = NativeTrain(
            source,
            channels,
            recipe,
            normalisation,
            _num_threads(cfg),
            seed,
            fill,
            cfg.AUG.REMODE,
            pinned=_is_pinned(cfg, device),
            cache=DecodedCache(source, channels, cfg.DATA.RAM_CACHE_GB) if cfg.DATA.RAM_CACHE_GB else None,
        )
        return Threads(images, sampler, cfg.DATA.PREFETCH, cfg.DATA.TIMEOUT_S)
    if cfg.DATA.RAM_CACHE_GB:
        raise UserError(
            f"DATA.RAM_CACHE_GB is {cfg.DATA.RAM_CACHE_GB:g}, but images are prepared by {backend}; native alone keeps "
            "decoded pictures: set DATA.PIPELINE native, or RAM_CACHE_GB 0"
        )
    pipeline: Pipeline
    if backend.name == "portable":
        pipeline = PortableTrain(recipe, fill, cfg.AUG.REMODE, normalisation)
    elif backend.name == "timm":
        pipeline = build_timm_train(cfg)
    else:
        pipeline = ExactTrain(recipe, Normalize(cfg.DATA.MEAN, cfg.DATA.STD), fill, cfg.AUG.REMODE)
    images_of = TrainImages(source, pipeline, channels, seed)
    return Workers(images_of, sampler, _worker_options(cfg, backend, device))


def build_eval_workers(
    cfg: Config, backend: Backend, source: ImageSource, sampler: EvalSampler, device: torch.device
) -> Batches:
    """What prepares evaluation batches."""
    channels, recipe = _channels(cfg), build_eval_recipe(cfg)
    normalisation = normalisation_of(cfg) if backend.finishes else None
    if backend.name == "native":
        pinned = _is_pinned(cfg, device)
        images = NativeEval(source, channels, recipe, normalisation, _num_threads(cfg), pinned=pinned)
        return Threads(images, sampler, cfg.DATA.PREFETCH, cfg.DATA.TIMEOUT_S)
    pipeline: Pipeline = ExactEval(recipe, Normalize(cfg.DATA.MEAN, cfg.DATA.STD))
    if backend.name == "portable":
        pipeline = PortableEval(recipe, normalisation)
    images_of = EvalImages(source, pipeline, channels)
    return Workers(images_of, sampler, _worker_options(cfg, backend, device))


def normalisation_of(cfg: Config) -> Normalisation:
    """Mean and deviation of the input channels."""
    return Normalisation(torch.tensor(cfg.DATA.MEAN), torch.tensor(cfg.DATA.STD))


def _channels(cfg: Config) -> int:
    mean, std = len(cfg.DATA.MEAN), len(cfg.DATA.STD)
    if mean != std or mean not in CHANNELS:
        raise UserError(
            f"DATA.MEAN has {mean} numbers and DATA.STD {std}; both need one per input channel: 1 or 3."
        )
    return mean


def _num_threads(cfg: Config) -> int:
    return max(1, cfg.DATA.NUM_WORKERS)  # with none, a single one works while the training process waits


def _is_pinned(cfg: Config, device: torch.device) -> bool:
    return cfg.DATA.PIN_MEMORY and device.type == "cuda"


def _worker_options(cfg: Config, backend: Backend, device: torch.device) -> WorkerOptions:
    sizes = [cfg.DATA.img_size, *((side, side) for _, side in cfg.DATA.PROGRESSIVE)]
    bytes_per_value = 4 if backend.finishes else 1
    return WorkerOptions(
        num_workers=cfg.DATA.NUM_WORKERS,
        prefetch=cfg.DATA.PREFETCH,
        pin_memory=_is_pinned(cfg, device),
        timeout_s=cfg.DATA.TIMEOUT_S,
        batch_bytes=cfg.DATA.BATCH_SIZE * len(cfg.DATA.MEAN) * max(map(math.prod, sizes)) * bytes_per_value,
    )
