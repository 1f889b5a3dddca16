"""Interpolation of what a model learns for each position: bias tables and absolute positions."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

_TABLE = "relative_position_bias_table"
_POSITIONS = "absolute_pos_embed"

Grid = tuple[int, int]  # rows and columns


@dataclass(frozen=True)
class Resized:
    """One tensor that was brought to another grid, with both, and how."""

    name: str
    old: Grid
    new: Grid
    how: Literal["bicubic", "cropped"] = "bicubic"

    @property
    def kind(self) -> str:
        """What the tensor is, in words."""
        return "bias table" if self.name.endswith(_TABLE) else "position embedding"

    @property
    def change(self) -> str:
        """The grids, in words."""
        return f"{self.old[0]}x{self.old[1]} -> {self.new[0]}x{self.new[1]} ({self.how})"


def resize_all(
    state: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    *,
    old_map: Grid | None = None,
    new_map: Grid | None = None,
    crop_tables: bool = False,
) -> tuple[dict[str, Tensor], list[Resized]]:
    """Interpolate bias tables and absolute positions to the grids of a target; the rest goes over as it is.

    What is no grid keeps its shape.

    Args:
        state: of a file.
        target: of a model, perhaps on the meta device.
        old_map: the file's first feature map, in patches. Unknown, it is the model's where the number of
            patches is the same, else a square.
        new_map: the model's first feature map, in patches; unknown, a square.
        crop_tables: give a smaller window the offsets that it has of a larger one's, as the model itself does
            where a map is smaller than its window; a larger one is interpolated all the same.
    """
    adapted, resized = dict(state), []
    for name, tensor in state.items():
        wanted = target.get(name)
        if wanted is None or tensor.ndim != wanted.ndim:
            continue
        if name.endswith(_TABLE):
            old, new = _square(len(tensor)), _square(len(wanted))
        elif name.endswith(_POSITIONS):
            new = _grid(wanted.shape[1], new_map)
            is_same = old_map is None and tensor.shape[1] == wanted.shape[1]
            old = new if is_same else _grid(tensor.shape[1], old_map)
        else:
            continue
        if old is None or new is None or old == new:
            continue
        change = Resized(name, old, new)
        if name.endswith(_POSITIONS):
            adapted[name] = resize_positions(tensor, old, new)
        elif crop_tables and new < old:
            change = Resized(name, old, new, "cropped")
            adapted[name] = crop_bias_table(tensor, old, new)
        else:
            adapted[name] = resize_bias_table(tensor, old, new)
        resized.append(change)
    return adapted, resized


def resize_bias_table(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """Interpolate a relative position bias table to another window.

    Args:
        table: [old rows * columns, heads]; 2 * window - 1 of each.
        old: grid of offsets before.
        new: grid of offsets after.

    Returns:
        [new rows * columns, heads], bicubic, computed in float32, in the dtype of ``table``.

    Source: the official ``load_pretrained``.
    """
    heads = table.shape[1]
    grid = table.float().T.reshape(1, heads, *old)
    grid = F.interpolate(grid, size=new, mode="bicubic", align_corners=False)
    return grid.reshape(heads, new[0] * new[1]).T.contiguous().to(table.dtype)


def crop_bias_table(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """The offsets of a smaller window, those in the middle: [new rows * columns, heads]."""
    top, left = (old[0] - new[0]) // 2, (old[1] - new[1]) // 2
    middle = table.unflatten(0, old)[top : top + new[0], left : left + new[1]]
    return middle.flatten(0, 1).contiguous()


def resize_positions(positions: Tensor, old: Grid, new: Grid) -> Tensor:
    """Interpolate absolute positions [1, old rows * columns, C] to another map, as bias tables are."""
    return resize_bias_table(positions[0], old, new)[None]


def _grid(count: int, known: Grid | None) -> Grid | None:
    """The grid of ``count`` cells; None where there is none."""
    if known is not None and known[0] * known[1] == count:
        return known
    return _square(count)


def _square(count: int) -> Grid | None:
    side = isqrt(count)
    return (side, side) if side and side**2 == count else None
