"""Stochastic depth whose draws can be counted: a pure function of (key of the sample, layer)."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from swin_train.models.layers.computed import ComputedBuffers

# Two's complement of the 64-bit constants of splitmix64; int64 products and sums wrap, as uint64's do.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MULTIPLIER_1 = 0xBF58476D1CE4E5B9 - 2**64
_MULTIPLIER_2 = 0x94D049BB133111EB - 2**64


class StochasticDepth(ComputedBuffers):
    """Which residual branches are dropped, for whole samples; the others are scaled so that the mean stays.

    All layers are drawn at once, so that their blocks need to know nothing of it.

    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth".

    Args:
        probabilities: of dropping, in [0, 1), for each layer of the model in forward order. The place of a layer
            picks its draw, so the order is part of a run's randomness.
    """

    layers: Tensor
    thresholds: Tensor
    keep_rates: Tensor

    def __init__(self, probabilities: Sequence[float]) -> None:
        super().__init__()
        for probability in probabilities:
            if not 0.0 <= probability < 1.0:
                raise ValueError(f"StochasticDepth: probability {probability} is outside [0, 1)")
        self.probabilities = tuple(probabilities)
        self.register_computed("layers", lambda: _column(range(len(probabilities)), torch.int64))
        self.register_computed("thresholds", lambda: _column(map(_threshold, probabilities), torch.int64))
        rates = [1.0 - p for p in probabilities]
        self.register_computed("keep_rates", lambda: _column(rates, torch.float64))

    def forward(self, batch_size: int, drop_path_keys: Tensor | None = None) -> list[Tensor | None]:
        """For each layer the factors of its branch, [B]: 0 where it is dropped; None where it never is.

        Args:
            batch_size: B.
            drop_path_keys: int64 [B], one key per sample; without it torch's generator draws.
        """
        if not self.training or not any(self.probabilities):
            return [None] * len(self.probabilities)
        if drop_path_keys is None:
            shape = len(self.probabilities), batch_size
            draws = torch.rand(shape, dtype=self.keep_rates.dtype, device=self.keep_rates.device)
            keep = draws < self.keep_rates
        else:
            keep = counted_keep(drop_path_keys, self.layers, self.thresholds)
        factors = (keep / self.keep_rates).unbind()
        return [factor if p else None for p, factor in zip(self.probabilities, factors, strict=True)]

    def extra_repr(self) -> str:  # noqa: D102
        return ", ".join(f"{probability:.3f}" for probability in self.probabilities)


def scale_samples(x: Tensor, factor: Tensor | None) -> Tensor:
    """[B, ...] times [B]; unchanged without a factor."""
    return x if factor is None else x * factor.to(x.dtype).view(-1, *[1] * (x.ndim - 1))


def counted_keep(keys: Tensor, layers: Tensor, thresholds: Tensor) -> Tensor:
    """Bool [layers, B]: which samples keep a layer's branch, ``u >= probability`` for the draw ``u`` in [0, 1) of each.

    The draw is the upper 53 bits of ``mix64(key ^ layer)`` over 2**53. It is compared as an integer: exact on
    every device, also where there is no float64.

    Args:
        keys: int64 [B].
        layers: int64 [layers, 1], their places.
        thresholds: int64 [layers, 1]: ``_threshold`` of their probabilities.
    """
    return _shift_right(mix64(keys ^ layers), 11) >= thresholds


def _column(values: Iterable[float], dtype: torch.dtype) -> Tensor:
    # torch.tensor is none of the functions that a FakeTensorMode reaches on every device
    return torch.stack([torch.full((1,), value, dtype=dtype) for value in values])


def _threshold(probability: float) -> int:
    return math.ceil(probability * 2**53)


def mix64(z: Tensor) -> Tensor:
    """The splitmix64 finaliser (Steele et al. 2014) of every element, as the bits of int64."""
    z = z + _GAMMA
    z = (z ^ _shift_right(z, 30)) * _MULTIPLIER_1
    z = (z ^ _shift_right(z, 27)) * _MULTIPLIER_2
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's own, of int64, brings in copies of the sign."""
    return (z >> bits) & (2 ** (64 - bits) - 1)
