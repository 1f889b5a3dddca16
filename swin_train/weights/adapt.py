"""A state dict -> the same weights in a target's shapes: other windows, resolutions and classes."""

from collections.abc import Mapping

from torch import Tensor

from swin_train.errors import UserError
from swin_train.weights.architecture import infer_architecture
from swin_train.weights.imagenet22k import NUM_CLASSES_1K, NUM_CLASSES_22K, rows_of_1k_in_22k
from swin_train.weights.mismatch import check_same_architecture, differences
from swin_train.weights.names import NOTHING, Dropped
from swin_train.weights.report import Report
from swin_train.weights.resize import Grid, Resized, resize_all

_HEAD = ("head.weight", "head.bias")


def adapt(
    state: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    *,
    source: str,
    old_map: Grid | None = None,
    new_map: Grid | None = None,
    dropped: Dropped = NOTHING,
    layout: str = "official",
) -> tuple[dict[str, Tensor], Report]:
    """Bring weights to the shapes of a target, which may lie on the meta device.

    Bias tables and absolute positions are interpolated; a head of 21,841 classes gives ImageNet-1K's rows to
    one of 1,000; any other head of another size is dropped, and the target's stays as it is initialised.

    Args:
        state: what a file holds, under published names.
        target: what a model needs.
        source: the file, as messages name it.
        old_map: the file's first feature map, in patches; unknown, a square.
        new_map: the model's first feature map, in patches; unknown, a square.
        dropped: what was left behind in the file, for the report.
        layout: that of the file, for the report.

    Returns:
        The adapted tensors, each with the name and shape of one in ``target``, and what was done.

    Raises:
        UserError: the weights are of another architecture, or a tensor is missing, unknown or misshapen; the
            message starts with ``source``.
    """
    check_same_architecture(state, target, source)
    adapted, resized = resize_all(state, target, old_map=old_map, new_map=new_map)
    head, fresh = _fit_head(adapted, target)
    problems = differences(adapted, target, ignored=fresh)
    if problems:
        raise UserError(f"{source}: does not fit the model. {problems}")

    interpolated = {tensor.name for tensor in resized}
    kept = tuple(name for name in adapted if name not in interpolated)
    return adapted, Report(kept, tuple(resized), head, fresh, dropped, layout)


def adapt_exactly(
    state: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    *,
    source: str,
    old_windows: tuple[int, ...] | None,
    new_windows: tuple[int, ...] | None,
    old_map: Grid | None = None,
    new_map: Grid | None = None,
) -> tuple[dict[str, Tensor], list[Resized]]:
    """Bring weights to a target as evaluation needs them: each name and each shape equal.

    With one exception. Where the largest window over the stages is the same, so is the configured one, and
    smaller windows come from small maps alone: then bias tables and absolute positions are interpolated.

    Args:
        state: what a file holds, under published names.
        target: what a model needs.
        source: the file, as messages name it.
        old_windows: side of each of the file's windows, in tokens, where it is known.
        new_windows: side of each of the model's windows, in tokens, where it is known.
        old_map: the file's first feature map, in patches; unknown, a square.
        new_map: the model's first feature map, in patches; unknown, a square.

    Returns:
        The weights, and those that were interpolated.

    Raises:
        UserError: they differ from the target; the message names both architectures.
    """
    check_same_architecture(state, target, source)
    adapted: dict[str, Tensor] = dict(state)
    resized: list[Resized] = []
    if old_windows and new_windows and max(old_windows) == max(new_windows):
        adapted, resized = resize_all(state, target, old_map=old_map, new_map=new_map)
    problems = differences(adapted, target)
    if problems:
        raise UserError(
            f"{source}: is not a checkpoint of this model. The file: {infer_architecture(state)}. "
            f"The model: {infer_architecture(target)}. {problems}"
        )
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
