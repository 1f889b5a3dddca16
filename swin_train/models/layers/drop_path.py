"""Stochastic depth whose draws can be counted: a pure function of (key of the sample, layer)."""

import math

import torch
from torch import Tensor, nn

# Two's complement of the 64-bit constants of splitmix64; int64 products and sums wrap, as uint64's do.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MULTIPLIER_1 = 0xBF58476D1CE4E5B9 - 2**64
_MULTIPLIER_2 = 0x94D049BB133111EB - 2**64


class DropPath(nn.Module):
    """Drop a residual branch for whole samples, and scale it for the others so that its mean stays.

    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth".

    Args:
        probability: of dropping, in [0, 1).
        layer: place of this layer among the drop-path layers of the model, in forward order from 0, counting
            those that never drop. It picks the draw, so the number is part of a run's randomness.
    """

    def __init__(self, probability: float, layer: int) -> None:
        super().__init__()
        if not 0.0 <= probability < 1.0:
            raise ValueError(f"DropPath: probability {probability} is outside [0, 1)")
        self.probability = probability
        self.layer = layer

    def forward(self, x: Tensor, drop_path_keys: Tensor | None = None) -> Tensor:
        """The branch after dropping; unchanged in evaluation.

        Args:
            x: [B, ...].
            drop_path_keys: int64 [B], one key per sample; without it torch's generator draws.
        """
        if not self.training or self.probability == 0.0:
            return x
        if drop_path_keys is None:
            keep = torch.rand(x.shape[0], device=x.device) >= self.probability
        else:
            keep = counted_keep(drop_path_keys, self.layer, self.probability)
        factor = keep.to(x.dtype) / (1.0 - self.probability)
        return x * factor.view(-1, *[1] * (x.ndim - 1))

    def extra_repr(self) -> str:  # noqa: D102
        return f"probability={self.probability:.3f}, layer={self.layer}"


def counted_keep(keys: Tensor, layer: int, probability: float) -> Tensor:
    """Bool [B]: which samples keep the branch, ``u >= probability`` for the draw ``u`` in [0, 1) of each.

    The draw is the upper 53 bits of ``mix64(key ^ layer)`` over 2**53. It is compared as an integer: exact on
    every device, also where there is no float64.
    """
    draw = _shift_right(mix64(keys ^ layer), 11)
    return draw >= math.ceil(probability * 2**53)


def mix64(z: Tensor) -> Tensor:
    """The splitmix64 finaliser (Steele et al. 2014) of every element, as the bits of int64."""
    z = z + _GAMMA
    z = (z ^ _shift_right(z, 30)) * _MULTIPLIER_1
    z = (z ^ _shift_right(z, 27)) * _MULTIPLIER_2
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's own, of int64, brings in copies of the sign."""
    return (z >> bits) & (2 ** (64 - bits) - 1)
