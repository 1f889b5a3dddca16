"""Relative positions of the tokens in a window."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_COORDINATE_SCALE = 8.0  # the offset that is 1 after the logarithm


def relative_position_index(
    window: int, table_window: int | None = None, device: torch.device | None = None
) -> Tensor:
    """For each pair of tokens, the row of the bias table that holds their offset.

    Args:
        window: side of the window, in tokens.
        table_window: side of the window that the table was made for, at least ``window``; None is the same.
        device: of the result.

    Returns:
        int64 [N, N], N = window ** 2, with values in [0, (2 * table_window - 1) ** 2).

    Source: Swin (Liu et al. 2021), section 3.2, "relative position bias".
    """
    furthest = (table_window or window) - 1
    side = torch.arange(window, device=device)
    offset = side[:, None] - side[None, :] + furthest
    rows = offset[:, None, :, None] * (2 * furthest + 1)
    columns = offset[None, :, None, :]
    return (rows + columns).reshape(window**2, window**2)


def gather_bias(table: Tensor, index: Tensor) -> Tensor:
    """Spread a table of biases over the pairs of tokens: [offsets, heads] and [N, N] to [heads, N, N]."""
    pairs = table[index.flatten()].view(*index.shape, -1)
    return pairs.permute(2, 0, 1).contiguous()


def log_spaced_coordinates(window: int, pretrained_window: int = 0) -> Tensor:
    """The offsets between tokens as Swin v2's position network reads them, in the order of a bias table.

    Args:
        window: side of the window, in tokens.
        pretrained_window: side of the window that the network was trained with; 0 is this one.

    Returns:
        float32 [(2 * window - 1) ** 2, 2] of rows and columns: sign(d) * log2(1 + 8 |d| / D) / log2(8), with
        D the largest offset in the pre-training window. A window of one token has the one offset 0.

    Source: Swin v2 (Liu et al. 2022), section 3.4, with the factors of the official code.
    """
    offset = torch.arange(-(window - 1), window, dtype=torch.float32)
    largest = (pretrained_window or window) - 1
    scaled = offset / max(largest, 1) * _COORDINATE_SCALE  # 1: there is nothing to scale in a window of one
    spaced = scaled.sign() * torch.log2(scaled.abs() + 1.0) / math.log2(_COORDINATE_SCALE)
    return torch.stack(torch.meshgrid(spaced, spaced, indexing="ij"), dim=-1).flatten(0, 1)


def pretrained_window_of(largest: float, window: int) -> float:
    """Recover the pre-training's window from the largest of ``log_spaced_coordinates``, of which it is the inverse.

    Args:
        largest: above 0.
        window: side of the window that the coordinates are of, in tokens; 2 or more.

    Returns:
        Side of the window, in tokens; a whole number but for rounding.
    """
    return (window - 1) * _COORDINATE_SCALE / (_COORDINATE_SCALE**largest - 1) + 1


def sum_by_offset(pairs: Tensor, window: int, table_window: int | None = None) -> Tensor:
    """The adjoint of ``gather_bias``: [heads, N, N] to [offsets, heads], pairs of one offset added up.

    Without atomics, so with the same bits every time.

    Args:
        pairs: [heads, N, N], N = window ** 2.
        window, table_window: as of ``relative_position_index``.
    """
    grid = pairs.unflatten(2, (window, window)).unflatten(1, (window, window))  # heads, y, x, y', x'
    rows = _sum_diagonals(grid.permute(0, 2, 4, 1, 3))  # heads, x, x', dy
    offsets = _sum_diagonals(rows.permute(0, 3, 1, 2))  # heads, dy, dx
    beyond = (table_window or window) - window
    return F.pad(offsets, (beyond,) * 4).flatten(1).t().contiguous()


def _sum_diagonals(square: Tensor) -> Tensor:
    """[..., n, n] to [..., 2n - 1]: the sums over the elements of each difference of row and column, ascending."""
    side = square.shape[-1]
    # A row of 2n in lines of 2n - 1 stands one further to the right in each line.
    skewed = F.pad(square.flip(-1), (0, side)).flatten(-2)[..., : side * (2 * side - 1)]
    return skewed.unflatten(-1, (side, 2 * side - 1)).sum(-2)
