"""What an epoch shows, in order: a pure function of the seed and the epoch, the same on every process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from swin_train.data import draws

_BLOCKS = 1  # third word of the keys of SHUFFLE from which the order of blocks follows


class Order(NamedTuple):
    """What is shown one after the other.

    Attributes:
        images: index of each image, [num_images].
        repeats: how often it was shown before in the epoch, [num_images]; each showing is another view.
    """

    images: NDArray[np.int64]
    repeats: NDArray[np.int64]


OrderLaw = Callable[[int], Order]
"""Draws the order of an epoch, counted from 0: as many images as the training set has."""


@dataclass(frozen=True)
class Shuffled:
    """Every image once.

    Attributes:
        num_images: in the training set.
        seed: of the run.
    """

    num_images: int
    seed: int

    def __call__(self, epoch: int) -> Order:
        """The order of an epoch."""
        return _once(draws.permutation(self.num_images, self.seed, epoch))


@dataclass(frozen=True)
class BlockShuffled:
    """Every image once, and only ``window`` blocks at a time: a block's file is read and then done with.

    The blocks are shuffled, and the images of so many blocks among themselves. With all blocks in one window it
    is the order of ``Shuffled``.

    Attributes:
        blocks: the block that each image is in, counted from 0, [num_images].
        window: blocks that are open at the same time.
        seed: of the run.
    """

    blocks: NDArray[np.int64]
    window: int
    seed: int

    def __call__(self, epoch: int) -> Order:
        """The order of an epoch."""
        num_blocks = int(self.blocks.max()) + 1
        order = np.argsort(
            _hashes(num_blocks, self.seed, draws.Stream.SHUFFLE, epoch, _BLOCKS), kind="stable"
        )
        windows = np.empty(num_blocks, dtype=np.int64)
        windows[order] = np.arange(num_blocks) // self.window
        hashes = _hashes(len(self.blocks), self.seed, draws.Stream.SHUFFLE, epoch)
        return _once(np.lexsort((hashes, windows[self.blocks])))


@dataclass(frozen=True)
class Balanced:
    """Every class equally often: once in each round over the classes, by an image drawn with replacement.

    Attributes:
        labels: of the images, [num_images].
        seed: of the run.
    """

    labels: NDArray[np.int64]
    seed: int

    def __call__(self, epoch: int) -> Order:
        """The order of an epoch."""
        num_images = len(self.labels)
        classes = self._shuffled_classes(num_images, epoch)
        by_class = np.argsort(self.labels, kind="stable")
        counts = np.unique(self.labels, return_counts=True)[1]
        firsts = np.cumsum(counts) - counts
        bits = _hashes(num_images, self.seed, draws.Stream.SAMPLE, epoch) >> np.uint64(32)
        places = bits * counts[classes].astype(np.uint64) >> np.uint64(32)  # uniform below the class's count
        images = by_class[firsts[classes] + places.astype(np.int64)]
        return Order(images, _occurrences(images))

    def _shuffled_classes(self, count: int, epoch: int) -> NDArray[np.int64]:
        """``count`` places among the classes that have images; each round over them is a permutation."""
        num_classes = len(np.unique(self.labels))
        slots = -(-count // num_classes) * num_classes
        hashes = _hashes(slots, self.seed, draws.Stream.SHUFFLE, epoch)
        return (np.lexsort((hashes, np.arange(slots) // num_classes)) % num_classes)[:count]


@dataclass(frozen=True)
class Repeated:
    """Repeated augmentation (Hoffer et al. 2020) as in DeiT: fewer images in an epoch, each several times.

    The copies of an image follow each other in the stream from which global batches are cut, so that they come
    in one batch. There they stand as far apart as can be: in different mixing groups, and on different
    processes, where there are as many as copies.

    Attributes:
        law: order of the images, of which the first are shown.
        repeats: times that each is shown.
        global_batch: images per update.
    """

    law: OrderLaw
    repeats: int
    global_batch: int

    def __call__(self, epoch: int) -> Order:
        """The order of an epoch."""
        images = self.law(epoch).images
        places = np.arange(len(images))
        spread = np.lexsort(
            (places % self.repeats, places // self.global_batch)
        )  # all first copies, then ...
        images = np.repeat(images[: -(-len(images) // self.repeats)], self.repeats)[spread]
        return Order(images, _occurrences(images))


def _once(images: NDArray[np.int64]) -> Order:
    return Order(images, np.zeros_like(images))


def _occurrences(images: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each was there before."""
    by_image = np.argsort(images, kind="stable")
    is_first = np.diff(images[by_image], prepend=-1) != 0
    places = np.arange(len(images))
    counted = np.empty_like(images)
    counted[by_image] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return counted


def _hashes(count: int, *words: int) -> NDArray[np.uint64]:
    return draws.mix64_array(np.arange(count, dtype=np.uint64) ^ np.uint64(draws.key(*words)))
