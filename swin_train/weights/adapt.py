"""A state dict -> the same weights in a target's shapes: other windows, resolutions and classes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import torch.nn.functional as F
from torch import Tensor

from swin_train.errors import UserError
from swin_train.weights.architecture import infer_architecture
from swin_train.weights.imagenet22k import NUM_CLASSES_1K, NUM_CLASSES_22K, rows_of_1k_in_22k

_TABLE = "relative_position_bias_table"
_POSITIONS = "absolute_pos_embed"
_HEAD = ("head.weight", "head.bias")
_MOST_NAMED = 10  # names in one message


@dataclass(frozen=True)
class Resized:
    """One tensor that was interpolated, with the sides of its grid before and after."""

    name: str
    old: int
    new: int


@dataclass(frozen=True)
class Report:
    """What became of each tensor; ``str`` is the one line to show.

    Attributes:
        kept: names of those that went over as they were, the head perhaps by a choice of its rows.
        resized: those that were interpolated.
        head: what was done about the head, in words.
        num_buffers: computed buffers of the file that were left behind.
        num_pretraining: tensors of the file that only pre-training needs, left behind.
        fresh: names in the target that keep their initial values.
    """

    kept: tuple[str, ...]
    resized: tuple[Resized, ...]
    head: str
    num_buffers: int
    num_pretraining: int
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"loaded {len(self.kept) + len(self.resized)} tensors"]
        sizes = Counter((_kind(r.name), r.old, r.new) for r in self.resized)
        parts += [
            f"resized {count} {kind}{'s' if count > 1 else ''} {old}x{old} -> {new}x{new} (bicubic)"
            for (kind, old, new), count in sizes.items()
        ]
        parts.append(self.head)
        if self.num_buffers:
            parts.append(f"dropped {self.num_buffers} buffers (recomputed)")
        if self.num_pretraining:
            parts.append(f"dropped {self.num_pretraining} tensors of the pre-training")
        return "; ".join(parts)


def adapt(
    state: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    *,
    source: str,
    num_buffers: int = 0,
    num_pretraining: int = 0,
) -> tuple[dict[str, Tensor], Report]:
    """Bring weights to the shapes of a target, which may lie on the meta device.

    Bias tables and position embeddings are interpolated; a head of 21,841 classes gives ImageNet-1K's rows to
    one of 1,000; any other head of another size is dropped, and the target's stays as it is initialised.

    Returns:
        The adapted tensors, each with the name and shape of one in ``target``, and what was done.

    Raises:
        UserError: the weights are of another architecture, or a tensor is missing, unknown or misshapen; the
            message starts with ``source``.
    """
    _check_dimensions(state, target, source)
    _check_same_architecture(state, target, source)
    adapted, resized = _resize(state, target)
    head, fresh = _fit_head(adapted, target)
    _check_complete(adapted, target, fresh, source)

    interpolated = {r.name for r in resized}
    kept = tuple(name for name in adapted if name not in interpolated)
    return adapted, Report(kept, tuple(resized), head, num_buffers, num_pretraining, fresh)


def resize_bias_table(table: Tensor, size: int) -> Tensor:
    """Interpolate a relative position bias table to another window.

    Args:
        table: [(2s - 1)^2, heads], for a window of side s.
        size: side of the new grid of offsets, 2 * window - 1.

    Returns:
        [size^2, heads], bicubic, computed in float32, in the dtype of ``table``.

    Source: the official ``load_pretrained``.
    """
    return _bicubic(table, size)


def resize_positions(positions: Tensor, size: int) -> Tensor:
    """Interpolate absolute position embeddings [1, s^2, C] to [1, size^2, C], as bias tables are."""
    return _bicubic(positions[0], size)[None]


def _bicubic(rows: Tensor, size: int) -> Tensor:
    """[s^2, C] -> [size^2, C], taking the rows as a square grid."""
    side, channels = isqrt(len(rows)), rows.shape[1]
    grid = rows.float().T.reshape(1, channels, side, side)
    grid = F.interpolate(grid, size=(size, size), mode="bicubic", align_corners=False)
    return grid.reshape(channels, size**2).T.contiguous().to(rows.dtype)


def _resize(
    state: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[Resized]]:
    adapted, resized = dict(state), []
    for name, tensor in state.items():
        wanted = target.get(name)
        if wanted is None or tensor.shape == wanted.shape or not name.endswith((_TABLE, _POSITIONS)):
            continue
        is_table = name.endswith(_TABLE)
        old, new = (
            isqrt(t.shape[0 if is_table else 1]) if t.ndim == wanted.ndim else 0 for t in (tensor, wanted)
        )
        if old**2 * tensor.shape[-1] != tensor.numel():
            continue  # no square grid: reported as misshapen
        adapted[name] = resize_bias_table(tensor, new) if is_table else resize_positions(tensor, new)
        resized.append(Resized(name, old, new))
    return adapted, resized


def _fit_head(adapted: dict[str, Tensor], target: Mapping[str, Tensor]) -> tuple[str, tuple[str, ...]]:
    """Make the head of ``adapted`` fit, or take it out; what was done, and names that stay initialised."""
    old, new = (len(state["head.weight"]) if "head.weight" in state else 0 for state in (adapted, target))
    if old == new:
        return (f"head of {new} classes kept" if new else "no head"), ()
    if (old, new) == (NUM_CLASSES_22K, NUM_CLASSES_1K):
        rows = rows_of_1k_in_22k()
        adapted.update({name: adapted[name][rows] for name in _HEAD if name in adapted})
        return f"head {old} -> {new} by the 22K map", ()
    for name in _HEAD:
        adapted.pop(name, None)
    if not new:
        return f"head of {old} classes dropped (the model has none)", ()
    fresh = tuple(name for name in _HEAD if name in target)
    return f"head of {new} classes fresh (the file has {old or 'none'})", fresh


def _check_dimensions(state: Mapping[str, Tensor], target: Mapping[str, Tensor], source: str) -> None:
    """Make sure that shapes can be read off and interpolated; sizes are compared later, as a whole."""
    for name, tensor in state.items():
        wanted = target.get(name)
        if wanted is not None and tensor.ndim != wanted.ndim:
            raise UserError(
                f"{source}: {name} has the shape {tuple(tensor.shape)}; it must have {wanted.ndim} dimension(s), "
                f"the model's is {tuple(wanted.shape)}"
            )
    weight, bias = (state.get(name) for name in _HEAD)  # the head may be one that the target does not have
    if weight is not None and weight.ndim != 2:
        raise UserError(
            f"{source}: head.weight has the shape {tuple(weight.shape)}; it must have 2 dimensions"
        )
    if weight is not None and bias is not None and bias.shape != weight.shape[:1]:
        raise UserError(
            f"{source}: head.bias has the shape {tuple(bias.shape)}; it must have that of the rows of head.weight, "
            f"{tuple(weight.shape[:1])}"
        )


def _check_same_architecture(state: Mapping[str, Tensor], target: Mapping[str, Tensor], source: str) -> None:
    if not state.keys() & target.keys():
        raise UserError(
            f"{source}: none of its {len(state)} tensors has a name that the model knows. "
            f"The file: {_listed(state)}. The model: {_listed(target)}"
        )
    found, expected = infer_architecture(state), infer_architecture(target)
    if found != expected:
        raise UserError(f"{source}: is of another architecture. The file: {found}. The model: {expected}")


def _check_complete(
    adapted: Mapping[str, Tensor], target: Mapping[str, Tensor], fresh: tuple[str, ...], source: str
) -> None:
    problems = differences(adapted, target, ignored=fresh)
    if problems:
        raise UserError(f"{source}: does not fit the model. {problems}")


def differences(
    state: Mapping[str, Tensor], target: Mapping[str, Tensor], ignored: tuple[str, ...] = ()
) -> str:
    """How names and shapes of two state dicts differ, in words; empty where they do not.

    Args:
        state: what a file holds.
        target: what a model needs.
        ignored: names in ``target`` that may be missing.
    """
    missing = [name for name in target if name not in state and name not in ignored]
    unknown = [name for name in state if name not in target]
    misshapen = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(target[name].shape)}"
        for name, tensor in state.items()
        if name in target and tensor.shape != target[name].shape
    ]
    found = [("Missing", missing), ("Unknown", unknown), ("Misshapen", misshapen)]
    return ". ".join(f"{kind}: {_listed(names)}" for kind, names in found if names)


def _listed(names: Mapping[str, Tensor] | list[str]) -> str:
    shown = ", ".join(list(names)[:_MOST_NAMED]) or "nothing"
    return f"{shown} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else shown


def _kind(name: str) -> str:
    return "bias table" if name.endswith(_TABLE) else "position embedding"
