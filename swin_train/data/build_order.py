"""From the configuration to what an epoch shows, in order."""

import logging

import numpy as np
from numpy.typing import NDArray

from swin_train.config import Config
from swin_train.data.formats import ImageSource
from swin_train.data.orders import Balanced, BlockShuffled, OrderLaw, Repeated, Shuffled
from swin_train.data.sampler import BatchGeometry

logger = logging.getLogger(__name__)

_BLOCK = 1024  # images of a block, where the source has no shards


def build_order(cfg: Config, source: ImageSource, geometry: BatchGeometry) -> OrderLaw:
    """The law of the training set's order."""
    law: OrderLaw = Shuffled(geometry.num_images, geometry.seed)
    if cfg.DATA.SAMPLING == "balanced":
        law = Balanced(source.labels, geometry.seed)
    elif cfg.DATA.SHUFFLE == "blocks":
        law = BlockShuffled(_blocks(source), cfg.DATA.SHUFFLE_WINDOW, geometry.seed)
    if not source.is_near and not isinstance(law, BlockShuffled):
        logger.warning(
            "DATA.CACHE_GB is %g, which does not hold all shards, so that they are fetched again and again; "
            "DATA.SHUFFLE blocks fetches each once an epoch",
            cfg.DATA.CACHE_GB,
        )
    if cfg.AUG.REPEATS > 1:
        law = Repeated(law, cfg.AUG.REPEATS, geometry.global_batch)
    return law


def _blocks(source: ImageSource) -> NDArray[np.int64]:
    shards = source.shards
    return np.arange(source.num_images) // _BLOCK if shards is None else shards.astype(np.int64)
