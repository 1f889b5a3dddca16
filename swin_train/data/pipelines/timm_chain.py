"""``timm``: timm's own chain, as the reference runs it. Its law is the recipe's; its draws are its own."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torchvision.transforms import RandomCrop

from swin_train.config import Config
from swin_train.data import draws
from swin_train.data.decode import as_image
from swin_train.data.pipelines.exact import OPERATIONS
from swin_train.data.pipelines.pipeline import Memory, Place, Shown, fresh, stack
from swin_train.data.recipe.crop import is_shifted


@dataclass(frozen=True)
class TimmTrain:
    """The training recipe.

    Attributes:
        transform: what timm's ``create_transform`` returned.
    """

    transform: Callable[[Image.Image], Tensor]

    def show(self, pixels: NDArray[np.uint8], place: Place) -> Shown:
        """A random view, float32 and finished."""
        with _library_generators(draws.key(place.seed, draws.Stream.AUGMENT, *place[1:])):
            return Shown(self.transform(as_image(pixels)))

    def collate(self, shown: Sequence[Shown], memory: Memory = fresh) -> tuple[Tensor, None]:
        """A finished batch."""
        return stack(shown, memory), None


@contextmanager
def _library_generators(seed: int) -> Iterator[None]:
    """Seed all three global generators, of which timm uses each, and give them back as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def build_timm_train(cfg: Config) -> TimmTrain:
    """The pipeline of ``timm_transform``."""
    return TimmTrain(timm_transform(cfg))


def timm_transform(cfg: Config, *, use_prefetcher: bool = False) -> Callable[[Image.Image], Any]:
    """timm's chain with the settings that the reference gives it.

    Args:
        cfg: the configuration.
        use_prefetcher: end with uint8 pixels; normalising and erasing are left to timm's prefetcher.
    """
    aug, size = cfg.AUG, cfg.DATA.img_size
    transform = create_transform(
        input_size=(len(cfg.DATA.MEAN), *size),
        is_training=True,
        scale=aug.SCALE,
        ratio=aug.RATIO,
        hflip=aug.HFLIP,
        color_jitter=aug.COLOR_JITTER or None,
        auto_augment=None if aug.AUTO_AUGMENT == "none" else aug.AUTO_AUGMENT,
        interpolation=cfg.DATA.INTERPOLATION,
        mean=cfg.DATA.MEAN,
        std=cfg.DATA.STD,
        re_prob=aug.REPROB,
        re_mode=aug.REMODE,
        re_count=aug.RECOUNT,
        use_prefetcher=use_prefetcher,
    )
    if is_shifted(aug.CROP, size):
        transform.transforms[0] = RandomCrop(size, padding=4)
    _mend_posterize(transform)
    return transform


def _mend_posterize(transform: Callable[[Image.Image], Tensor]) -> None:
    """Let timm's operation keep no bit, which makes black, as before Pillow 13, which refuses that."""
    for step in getattr(transform, "transforms", ()):
        for op in [*getattr(step, "ops", ()), *chain.from_iterable(getattr(step, "policy", ()))]:
            if op.name.startswith("Posterize"):
                op.aug_fn = lambda image, bits, **_: OPERATIONS["Posterize"](image, bits)
