"""Stochastic depth whose draws can be counted: a pure function of (key of the sample, layer)."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from swin_train.models.layers.computed import ComputedBuffers

# Two's complement of the 64-bit constants of splitmix64; int64 products and sums wrap, as uint64's do.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MULTIPLIER_1 = 0xBF58476D1CE4E5B9 - 2**64
_MULTIPLIER_2 = 0x94D049BB133111EB - 2**64

_ROUNDING = 1e-9  # 20 * (1 - 0.8) is a little less than 4

DropPathMode = Literal["mask", "kept"]


class KeptRows(NamedTuple):
    """The samples whose branch is computed, [k] in int64, and by what it is multiplied, [1].

    Both are tensors, as a number would be a part of a compiled block.
    """

    rows: Tensor
    factor: Tensor


Drop = Tensor | KeptRows | None
"""What becomes of a branch: factors of the samples, [B], 0 where it is dropped; the rows that keep it; all keep it."""


class StochasticDepth(ComputedBuffers):
    """Which residual branches are dropped, for whole samples; the others are scaled so that the mean stays.

    All layers are drawn at once, so that their blocks need to know nothing of it.

    Sources: Huang et al. 2016, "Deep Networks with Stochastic Depth"; for "kept", Oquab et al. 2023, "DINOv2",
    section 5, "Efficient stochastic depth".

    Args:
        probabilities: of dropping, in [0, 1), for each layer of the model in forward order. The place of a layer
            picks its draw, so the order is part of a run's randomness.
        mode: "mask" decides for each sample by its own draw. "kept" keeps those with the largest draws, of B
            samples floor(B * (1 - p)) and at least one, so that the others need not be computed; what becomes of a
            sample then depends on its batch.
    """

    layers: Tensor
    thresholds: Tensor
    keep_rates: Tensor

    def __init__(self, probabilities: Sequence[float], mode: DropPathMode = "mask") -> None:
        super().__init__()
        for probability in probabilities:
            if not 0.0 <= probability < 1.0:
                raise ValueError(f"StochasticDepth: probability {probability} is outside [0, 1)")
        self.probabilities, self.mode = tuple(probabilities), mode
        self.register_computed("layers", lambda: _column(range(len(probabilities)), torch.int64))
        self.register_computed("thresholds", lambda: _column(map(_threshold, probabilities), torch.int64))
        rates = [1.0 - p for p in probabilities]
        self.register_computed("keep_rates", lambda: _column(rates, torch.float64))

    def forward(self, batch_size: int, drop_path_keys: Tensor | None = None) -> list[Drop]:
        """What becomes of the branch of each layer.

        Args:
            batch_size: B.
            drop_path_keys: int64 [B], one key per sample; without it torch's generator draws.
        """
        if not self.training or not any(self.probabilities):
            return [None] * len(self.probabilities)
        draws = self._draw(batch_size, drop_path_keys)
        if self.mode == "kept":
            order = draws.argsort(dim=1, descending=True)
            return [self._kept(rows, p) for rows, p in zip(order, self.probabilities, strict=True)]
        factors = ((draws >= self.thresholds) / self.keep_rates).unbind()
        return [factor if p else None for p, factor in zip(self.probabilities, factors, strict=True)]

    def _draw(self, batch_size: int, keys: Tensor | None) -> Tensor:
        """Whole numbers in [0, 2**53), [layers, B]: uniform draws of [0, 1) times 2**53."""
        if keys is None:
            shape = len(self.probabilities), batch_size
            return torch.randint(2**53, shape, device=self.layers.device)
        return counted_draws(keys, self.layers)

    def _kept(self, rows: Tensor, probability: float) -> Drop:
        batch_size = rows.shape[0]
        num_kept = max(math.floor(batch_size * (1.0 - probability) + _ROUNDING), 1)
        if num_kept == batch_size:
            return None
        return KeptRows(rows[:num_kept], self.keep_rates.new_full((1,), batch_size / num_kept))

    def extra_repr(self) -> str:  # noqa: D102
        return ", ".join(f"{probability:.3f}" for probability in self.probabilities)


def add_branch(x: Tensor, branch: Callable[[Tensor], Tensor], drop: Drop) -> Tensor:
    """``x + branch(x)`` for x [B, ...], after stochastic depth, in the dtype of ``x``."""
    if drop is None:
        return x + _as_narrow_as(x, branch(x))
    if isinstance(drop, KeptRows):
        found = branch(x.index_select(0, drop.rows))  # whose gradient needs no sorting
        return x.index_add(0, drop.rows, (found * drop.factor.to(found.dtype)).to(x.dtype))
    found = branch(x)
    return x + _as_narrow_as(x, found * drop.to(found.dtype).view(-1, *[1] * (found.ndim - 1)))


def _as_narrow_as(x: Tensor, found: Tensor) -> Tensor:
    """Cast only where the sum would be of a wider type than ``x``: a narrower term is widened as it is added."""
    return found if torch.promote_types(x.dtype, found.dtype) == x.dtype else found.to(x.dtype)


def counted_draws(keys: Tensor, layers: Tensor) -> Tensor:
    """The draw of each sample for each layer, int64 [layers, B] in [0, 2**53).

    It is the upper 53 bits of ``mix64(key ^ layer)``, and compared as an integer: exact on every device, also where
    there is no float64.

    Args:
        keys: int64 [B].
        layers: int64 [layers, 1], their places.
    """
    return _shift_right(mix64(keys ^ layers), 11)


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
