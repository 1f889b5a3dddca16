"""A state dict -> the same weights in a target's shapes: other windows, resolutions and classes."""

from collections.abc import Mapping

from torch import Tensor

from swin_train.config.schema.root import NUM_CLASSES_22K
from swin_train.errors import UserError
from swin_train.kernels.windows import stage_maps
from swin_train.weights.architecture import HEAD, infer_architecture, num_classes
from swin_train.weights.geometry import Geometry
from swin_train.weights.imagenet22k import NUM_CLASSES_1K, rows_of_1k_in_22k
from swin_train.weights.mismatch import (
    check_same_architecture,
    check_same_classes,
    check_same_computation,
    differences,
)
from swin_train.weights.read import Weights
from swin_train.weights.report import Report
from swin_train.weights.resize import Resized, resize_all

_POSITIONS = "absolute_pos_embed"


def adapt(
    weights: Weights, target: Mapping[str, Tensor], geometry: Geometry
) -> tuple[dict[str, Tensor], Report]:
    """Bring weights to the shapes of a target, which may lie on the meta device.

    Bias tables and absolute positions are interpolated; a head of 21,841 classes gives ImageNet-1K's rows to
    one of 1,000; any other head of another size is dropped, and the target's stays as it is initialised.

    Args:
        weights: what a file holds and tells.
        target: what a model needs, by its published names.
        geometry: of that model.

    Returns:
        The adapted tensors, each with the name and shape of one in ``target``, and what was done.

    Raises:
        UserError: the weights are of another architecture, or a tensor is missing, unknown or misshapen; the
            message starts with the file.
    """
    check_same_architecture(weights.state, target, str(weights))
    adapted, resized = _resize(weights, target, geometry)
    head, fresh = _fit_head(adapted, target)
    problems = differences(adapted, target, ignored=fresh)
    if problems:
        raise UserError(
            f"{weights}: does not fit the model. {problems}{_about_positions(adapted, weights, target)}"
        )

    interpolated = {tensor.name for tensor in resized}
    kept = tuple(name for name in adapted if name not in interpolated)
    return adapted, Report(
        kept, tuple(resized), head, fresh, weights.dropped, weights.layout, weights.name_changes
    )


def adapt_exactly(
    weights: Weights, target: Mapping[str, Tensor], geometry: Geometry
) -> tuple[dict[str, Tensor], list[Resized]]:
    """Bring weights to a target as evaluation needs them: the model that was trained, at any size of images.

    Only what another size of the maps changes is brought to it. Smaller maps are treated as the trained model
    itself treats them: a window that they bound takes the offsets that it has, and absolute positions are
    interpolated. A window that larger maps bound no longer is interpolated to the configured size.

    Args:
        weights: what a file holds and tells.
        target: what a model needs, by its published names.
        geometry: of that model.

    Returns:
        The weights, and what was brought to other maps.

    Raises:
        UserError: they differ from the target, or were trained in other windows, scales or classes; the
            message says what to set.
    """
    check_same_architecture(weights.state, target, str(weights))
    check_same_computation(weights.geometry, geometry, infer_architecture(target).family, str(weights))
    check_same_classes(weights.state, target, str(weights))
    adapted: dict[str, Tensor] = dict(weights.state)
    resized: list[Resized] = []
    if weights.geometry.windows and geometry.windows:
        adapted, resized = _resize(weights, target, geometry, crop_tables=True)
    problems = differences(adapted, target)
    if problems:
        raise UserError(
            f"{weights}: is not a checkpoint of this model. The file: {infer_architecture(weights.state)}. "
            f"The model: {infer_architecture(target)}. {problems}{_about_positions(adapted, weights, target)}"
        )
    return adapted, resized


def _resize(
    weights: Weights, target: Mapping[str, Tensor], geometry: Geometry, *, crop_tables: bool = False
) -> tuple[dict[str, Tensor], list[Resized]]:
    """Bring tables and positions to other maps; the first map of the file is known where its image size is."""
    patch_size = infer_architecture(target).patch_size
    old_map, new_map = (
        None if size is None or patch_size is None else stage_maps(size, patch_size, num_stages=1)[0]
        for size in (weights.geometry.img_size, geometry.img_size)
    )
    return resize_all(weights.state, target, old_map=old_map, new_map=new_map, crop_tables=crop_tables)


def _about_positions(adapted: Mapping[str, Tensor], weights: Weights, target: Mapping[str, Tensor]) -> str:
    """Say why absolute positions could not be interpolated, where they could not."""
    shapes = [state[_POSITIONS].shape for state in (adapted, target) if _POSITIONS in state]
    if weights.geometry.img_size is not None or len(set(shapes)) < 2:
        return ""
    return (
        ". The file does not tell the size of the images that its absolute positions are for, and they are of no "
        "square: take the .safetensors file or the step folder of its run"
    )


def _fit_head(adapted: dict[str, Tensor], target: Mapping[str, Tensor]) -> tuple[str, tuple[str, ...]]:
    """Make the head of ``adapted`` fit, or take it out; what was done, and names that stay initialised."""
    old, new = num_classes(adapted), num_classes(target)
    if old == new:
        return (f"head of {new} classes kept" if new else "no head"), ()
    if (old, new) == (NUM_CLASSES_22K, NUM_CLASSES_1K):
        rows = rows_of_1k_in_22k()
        adapted.update({name: adapted[name][rows] for name in HEAD if name in adapted})
        return f"head {old} -> {new} by the 22K map", ()
    for name in HEAD:
        adapted.pop(name, None)
    if not new:
        return f"head of {old} classes dropped (the model has none)", ()
    fresh = tuple(name for name in HEAD if name in target)
    return f"head of {new} classes fresh (the file has {old or 'none'})", fresh
