"""What a file tells beside its weights of how a model computes: from shapes, buffers and what stands beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isclose, isqrt
from typing import Any

from torch import Tensor

from swin_train.kernels.relative_position import log_spaced_coordinates, pretrained_window_of
from swin_train.weights.architecture import BLOCK, infer_architecture
from swin_train.weights.metadata import factors, img_size, whole_numbers
from swin_train.weights.values import has_values

_LARGEST_COORDINATE = 8.0  # log-spaced; those in use are below 2
_ROUNDING = 0.01  # of coordinates near 1, in bfloat16


@dataclass(frozen=True)
class Geometry:
    """What a forward pass depends on and the parameters alone do not hold; None where the file does not tell.

    Attributes:
        windows: side of each stage's windows, in tokens, after the maps have bounded them.
        pretrained_windows: of Swin v2, the side that each stage's position bias is scaled by; 0 is its own.
        img_size: height and width of the images, in pixels; this project's headers and a config.json say.
        window_size: side of the windows before the maps bounded them; said likewise.
        qk_scales: of Swin v1, the factor of each stage's attention logits; only this project's headers say.
    """

    windows: tuple[int, ...] | None = None
    pretrained_windows: tuple[int, ...] | None = None
    img_size: tuple[int, int] | None = None
    window_size: int | None = None
    qk_scales: tuple[float, ...] | None = None

    @property
    def configured_window(self) -> int | None:
        """Side of the windows before the maps bounded them: the largest, as no map bounds all, unless it is said."""
        return self.window_size or (max(self.windows) if self.windows else None)


UNKNOWN = Geometry()


def position_scales(windows: tuple[int, ...], pretrained_windows: tuple[int, ...]) -> tuple[int, ...]:
    """The window that each stage's position bias of a Swin v2 is scaled by; 0 where a window of 1 has none."""
    pairs = zip(windows, pretrained_windows, strict=True)
    return tuple(0 if window == 1 else pretrained or window for window, pretrained in pairs)


def bounded_by_maps(windows: tuple[int, ...]) -> bool:
    """Whether windows are of one size that small maps alone bound; each map is half the one before, rounded up."""
    bounded = windows[windows.count(windows[0]) :]
    if not bounded:
        return True
    is_first_right = windows[0] / 2 <= bounded[0] < windows[0]
    return is_first_right and all(after == -(-before // 2) for before, after in pairwise(bounded))


def other_scales(theirs: Geometry, ours: Geometry) -> str | None:
    """Say what to set where a model scales position biases or attention in another way than the file's did.

    The same weights fit any scale, so nothing else would tell: outputs would only be worse. Features may have
    fewer stages than the file.

    Args:
        theirs: what the file told.
        ours: the model's.
    """
    old, new = (_position_scales(geometry) for geometry in (theirs, ours))
    if old and new and any(a not in (b, 0) and b for a, b in zip(old, new, strict=False)):
        return (
            f"its position biases were learned in windows of {list(old)}, the model scales them by "
            f"{list(new)}; set MODEL.SWINV2.PRETRAINED_WINDOW_SIZES to {list(old)}"
        )
    before, now = theirs.qk_scales or (), ours.qk_scales or ()
    if not same_factors(before[: len(now)], now[: len(before)]):
        is_one = before.count(before[0]) == len(before)
        return (
            f"its attention was scaled by {list(before)}, the model's is by {list(now)}; set MODEL.SWIN.QK_SCALE to "
            f"{before[0] if is_one else 'null'}"
        )
    return None


def same_factors(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether factors are the same but for rounding: 1 / sqrt(8) is 8 ** -0.5."""
    return len(one) == len(other) and all(map(isclose, one, other))


def _position_scales(geometry: Geometry) -> tuple[int, ...] | None:
    if geometry.windows is None or geometry.pretrained_windows is None:
        return None
    return position_scales(geometry.windows, geometry.pretrained_windows)


def read_geometry(state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Geometry:
    """Read windows and image size off a state dict with published names that still has its buffers."""
    family = infer_architecture(state).family
    stages = sorted({int(found[1]) for name in state if (found := BLOCK.match(name)) and found[2] == "0"})
    blocks = [f"layers.{stage}.blocks.0." for stage in stages]
    windows = _all_known([_window(state, block) for block in blocks])
    windows = windows or whole_numbers(metadata, "windows", len(stages), at_least=1)
    pretrained = None
    if family == "swinv2" and windows is not None:
        pairs = zip(blocks, windows, strict=True)
        pretrained = _all_known([_pretrained_window(state, block, window) for block, window in pairs])
        pretrained = pretrained or whole_numbers(metadata, "pretrained_windows", len(stages), at_least=0)
    window_size = whole_numbers(metadata, "window_size", 1, at_least=1)
    scales = factors(metadata, "qk_scales", len(stages)) if family == "swin" else None
    return Geometry(windows, pretrained, img_size(metadata), window_size[0] if window_size else None, scales)


def windows_of(state: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """Side of each stage's windows, in tokens; None where shapes do not tell, as those of Swin v2."""
    return read_geometry(state, {}).windows


def _window(state: Mapping[str, Tensor], block: str) -> int | None:
    """Side of a block's windows, from the first tensor that tells."""
    for name, side in (
        ("attn.relative_position_bias_table", _side_of_table),
        ("attn.relative_coords_table", _side_of_coords),
        ("attn.relative_position_index", _side_of_index),
        ("spatial_mlp.weight", _side_of_spatial),
    ):
        tensor = state.get(block + name)
        if tensor is not None and (found := side(tuple(tensor.shape))):
            return found
    return None


def _side_of_table(shape: tuple[int, ...]) -> int:
    """[(2w - 1)^2, heads]."""
    side = isqrt(shape[0]) if len(shape) == 2 else 0
    return (side + 1) // 2 if side % 2 and side**2 == shape[0] else 0


def _side_of_coords(shape: tuple[int, ...]) -> int:
    """[1, 2w - 1, 2w - 1, 2]."""
    is_square = len(shape) == 4 and shape[1] == shape[2] and shape[1] % 2
    return (shape[1] + 1) // 2 if is_square else 0


def _side_of_index(shape: tuple[int, ...]) -> int:
    """[w^2, w^2], or [w^4] in torchvision's files."""
    if len(shape) not in (1, 2):
        return 0
    tokens = isqrt(shape[0]) if len(shape) == 1 else shape[0]
    side = isqrt(tokens)
    return side if side**2 == tokens and (len(shape) == 2 or tokens**2 == shape[0]) else 0


def _side_of_spatial(shape: tuple[int, ...]) -> int:
    """[heads * w^2, w^2, 1]."""
    side = isqrt(shape[1]) if len(shape) == 3 else 0
    return side if side and side**2 == shape[1] else 0


def _pretrained_window(state: Mapping[str, Tensor], block: str, window: int) -> int | None:
    """Recover the window that divides a table of offsets, from the table's largest value."""
    table = state.get(f"{block}attn.relative_coords_table")
    if table is None or not has_values(table):
        return None
    if not table.is_floating_point() or table.numel() != 2 * (2 * window - 1) ** 2:
        return None
    if window == 1:
        return 0  # a single offset, 0 whatever divides it
    largest = float(table[(-1,) * table.ndim])  # the farthest offset of all comes last
    if not _ROUNDING < largest < _LARGEST_COORDINATE:
        return None
    pretrained = round(pretrained_window_of(largest, window))  # half precision rounds the table
    expected = float(log_spaced_coordinates(window, pretrained)[-1, 0])
    if abs(expected - largest) > _ROUNDING:
        return None
    return 0 if pretrained == window else pretrained


def _all_known(values: list[int | None]) -> tuple[int, ...] | None:
    known = tuple(value for value in values if value is not None)
    return known if known and len(known) == len(values) else None
