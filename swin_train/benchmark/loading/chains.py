"""The reference's loader and timm's, as their own code runs them: Pillow and DataLoader's worker processes."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from timm.data.loader import fast_collate
from timm.data.transforms import ToNumpy
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from swin_train.benchmark.loading.bench import UNAUGMENTED, Bench, Load
from swin_train.benchmark.loading.excerpt import Excerpt
from swin_train.benchmark.rounds import Pass
from swin_train.config import Config
from swin_train.data.formats import ImageSource
from swin_train.data.pipelines.timm_chain import timm_transform
from swin_train.errors import UserError


@dataclass(frozen=True)
class _Transformed(Dataset[tuple[Any, int]]):
    """Pillow's picture of each image, transformed, with its label."""

    source: ImageSource
    transform: Callable[[Image.Image], Any]
    mode: str

    def __len__(self) -> int:
        return self.source.num_images

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(open_picture(self.source.read(index), self.mode)), int(
            self.source.labels[index]
        )


def open_picture(data: bytes, mode: str) -> Image.Image:
    """The picture as torchvision's ImageFolder opens it."""
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert(mode)


def chain_pass(bench: Bench, load: Load, *, use_prefetcher: bool) -> Pass:
    """A pass over the host's batches of a chain.

    Args:
        bench: what is measured.
        load: and how.
        use_prefetcher: timm's fast loader: uint8 batches; otherwise the reference's, float32 and finished.

    Raises:
        UserError: the chain has no word for a setting.
    """
    cfg = bench.configure({} if load.augmented or bench.is_eval else UNAUGMENTED)
    if bench.is_eval:
        transform = _eval_transform(cfg, use_prefetcher=use_prefetcher)
    else:
        transform = timm_transform(cfg, use_prefetcher=use_prefetcher)
    source = Excerpt(bench.source, bench.num_images * max(1, load.threads))
    images = _Transformed(source, transform, "RGB" if len(cfg.DATA.MEAN) == 3 else "L")
    loader = DataLoader(
        images,
        batch_size=min(cfg.DATA.BATCH_SIZE, len(images)),
        shuffle=not bench.is_eval,
        drop_last=not bench.is_eval,
        num_workers=load.threads,
        persistent_workers=load.threads > 0,
        multiprocessing_context="fork" if load.threads and sys.platform == "linux" else None,
        pin_memory=cfg.DATA.PIN_MEMORY and bench.device.type == "cuda",
        collate_fn=fast_collate if use_prefetcher else None,
        generator=torch.Generator(),
    )
    return lambda number: sum(len(batch[0]) for batch in loader)


def _eval_transform(cfg: Config, *, use_prefetcher: bool) -> Callable[[Image.Image], Any]:
    """The reference's evaluation transform, or its resize and crop alone."""
    height, width = cfg.DATA.img_size
    if height != width:
        raise UserError(f"the reference evaluates squares; DATA.IMG_SIZE is {height}x{width}")
    # "random" is bilinear in evaluation, as in the reference
    mode = InterpolationMode.BICUBIC if cfg.DATA.INTERPOLATION == "bicubic" else InterpolationMode.BILINEAR
    if cfg.TEST.CROP:
        shown = [Resize(256 * height // 224, interpolation=mode), CenterCrop(height)]
    else:
        shown = [Resize((height, height), interpolation=mode)]
    if use_prefetcher:
        return Compose([*shown, ToNumpy()])
    return Compose([*shown, ToTensor(), Normalize(cfg.DATA.MEAN, cfg.DATA.STD)])
