"""Counted randomness: every draw is a pure function of (seed, stream, epoch, step or sample).

Nothing is carried along, so order, augmentation and mixing depend neither on the number of workers or
processes nor on where a run was stopped. Only specified arithmetic is used, no library's generator: NumPy and
torch promise no stable streams over their versions, and Python promises ``random.random()`` alone, so that is
the only method ever called on a ``random.Random``. The numbers below are part of the checkpoint format.
"""

import math
import random
from collections.abc import Sequence
from enum import IntEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_MULTIPLIER_1 = 0xBF58476D1CE4E5B9
_MULTIPLIER_2 = 0x94D049BB133111EB


class Stream(IntEnum):
    """What a draw is for; the second word of every key."""

    SHUFFLE = 1
    AUGMENT = 2
    MIX = 3
    DROPPATH = 4
    INIT = 5
    STEP = 6
    SUBSTITUTE = 7
    SUBSET = 8
    SAMPLE = 9


def mix64(z: int) -> int:
    """One step of splitmix64 (Steele et al. 2014): 64 bits in, 64 well mixed bits out."""
    z = (z + _GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * _MULTIPLIER_1) & _MASK
    z = ((z ^ (z >> 27)) * _MULTIPLIER_2) & _MASK
    return z ^ (z >> 31)


def mix64_array(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """``mix64`` of every element of an array of at least one dimension."""
    z = z + np.uint64(_GAMMA)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MULTIPLIER_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MULTIPLIER_2)
    return z ^ (z >> np.uint64(31))


def key(*words: int) -> int:
    """Fold integers into one 64-bit key; the order of the words matters."""
    folded = 0
    for word in words:
        folded = mix64(folded ^ (word & _MASK))
    return folded


def permutation(num_images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Order of the images in an epoch; the same on every process."""
    counters = np.arange(num_images, dtype=np.uint64)
    return np.argsort(mix64_array(counters ^ np.uint64(key(seed, Stream.SHUFFLE, epoch))), kind="stable")


def drop_path_keys(seed: int, epoch: int, step: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keys from which a model draws the stochastic depth of each image, [len(positions)].

    Args:
        seed: of the run.
        epoch: counted from 0.
        step: within the epoch.
        positions: of the images in the global batch.
    """
    prefix = np.uint64(key(seed, Stream.DROPPATH, epoch, step))
    return mix64_array(positions.astype(np.uint64) ^ prefix).view(np.int64)


def keyed_rng(*words: int) -> random.Random:
    """Generator that starts from ``key(*words)``."""
    return random.Random(key(*words))  # noqa: S311


def sample_rng(seed: int, epoch: int, index: int, repeat: int = 0) -> random.Random:
    """Generator for the augmentation of image ``index`` in ``epoch``, there for the ``repeat``-th time."""
    return keyed_rng(seed, Stream.AUGMENT, epoch, index, *([repeat] if repeat else []))


def uniform(rng: random.Random, low: float, high: float) -> float:
    """Uniform in [low, high)."""
    return low + (high - low) * rng.random()


def below(rng: random.Random, stop: int) -> int:
    """Uniform integer in [0, stop)."""
    return int(rng.random() * stop)


def choice(rng: random.Random, options: Sequence[T]) -> T:
    """One of the options, each as likely as the others."""
    return options[below(rng, len(options))]


def normal(rng: random.Random, mean: float, std: float) -> float:
    """Normal deviate (Box and Muller 1958)."""
    radius = math.sqrt(-2 * math.log(1 - rng.random()))  # 1 - u is never 0
    return mean + std * radius * math.cos(2 * math.pi * rng.random())


def beta(rng: random.Random, a: float, b: float) -> float:
    """Beta deviate in [0, 1] for any a, b > 0, as a ratio of gamma deviates."""
    # The difference of logarithms stays finite for the tiny shapes at which both deviates underflow to 0.
    log_odds = _log_gamma_deviate(rng, a) - _log_gamma_deviate(rng, b)
    if log_odds < 0:
        odds = math.exp(log_odds)
        return odds / (1 + odds)
    return 1 / (1 + math.exp(-log_odds))


def _log_gamma_deviate(rng: random.Random, shape: float) -> float:
    """Logarithm of a gamma deviate of unit scale (Marsaglia and Tsang 2000, sections 2 and 6)."""
    if shape < 1:
        return _log_gamma_deviate(rng, shape + 1) + math.log(1 - rng.random()) / shape
    d = shape - 1 / 3
    c = 1 / math.sqrt(9 * d)
    while True:
        x = normal(rng, 0, 1)
        v = (1 + c * x) ** 3
        if v > 0 and math.log(1 - rng.random()) < x * x / 2 + d - d * v + d * math.log(v):
            return math.log(d * v)


def normal_noise(noise_key: int, count: int) -> NDArray[np.float32]:
    """``count`` standard normal deviates from one key, [count]; fast enough for pixels."""
    bits = mix64_array(np.arange((count + 1) // 2, dtype=np.uint64) ^ np.uint64(noise_key))
    # 24 bits each, float32's precision, from the upper and from the lower part of the word
    u = (bits >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
    v = (bits & np.uint64(0xFFFFFF)).astype(np.float32) * np.float32(2**-24)
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - u))
    angle = np.float32(2 * math.pi) * v
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
