"""Models with weights: load a file into a model, adapted or exactly."""

import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_v2 import SwinTransformerV2
from swin_train.weights.adapt import adapt, adapt_exactly
from swin_train.weights.download import local_file
from swin_train.weights.geometry import Geometry, other_scales, position_scales
from swin_train.weights.layouts.dropped import Dropped
from swin_train.weights.read import Weights, read_weights
from swin_train.weights.report import Report, changes

logger = logging.getLogger(__name__)


def load_pretrained(model: HierarchicalModel, path: str | Path, unneeded: Collection[str] = ()) -> Report:
    """Start a model from the weights of another resolution, window or set of classes.

    Call it before the model is wrapped or compiled, while its names are the published ones.

    Args:
        model: takes the weights.
        path: a file, a run's checkpoint folder, or the URL of a file.
        unneeded: names of weights that stay behind where the file has them, such as those after the last map.

    Raises:
        UserError: the file cannot be read, or its weights cannot be made to fit.
    """
    weights, geometry = _without(read_weights(local_file(path)), unneeded), geometry_of(model)
    adapted, report = adapt(weights, model.state_dict(), geometry)
    _warn_of_assumed_positions(model, weights)
    advice = other_scales(weights.geometry, geometry)
    if advice:
        logger.warning("%s: %s", weights, advice)
    model.load_state_dict(adapted, strict=False)  # what is missing is report.fresh and nothing else
    return report


def fit_exactly(model: HierarchicalModel, weights: Weights) -> None:
    """Load weights as evaluation needs them: each name and each shape equal.

    Only what a smaller or larger map changes is brought to it, and said in a warning; see ``adapt_exactly``.

    Args:
        model: not wrapped or compiled.
        weights: take their place in it.

    Raises:
        UserError: they differ from the model, or were trained in other windows, scales or classes; the message
            says what to set.
    """
    geometry = geometry_of(model)
    state, resized = adapt_exactly(weights, model.state_dict(), geometry)
    _warn_of_assumed_positions(model, weights)
    if weights.notes:
        logger.info("%s: %s", weights, "; ".join(weights.notes))
    if isinstance(model, SwinTransformerV2):
        _keep_scales(model, weights, geometry)
    if resized:
        logger.warning("%s: resized %s for maps of another size", weights, ", ".join(changes(resized)))
    elif weights.geometry.windows not in (None, geometry.windows):
        old, new = (list(side.windows or ()) for side in (weights.geometry, geometry))
        logger.warning("%s: used in windows of %s, trained in %s", weights, new, old)
    model.load_state_dict(state)


def _warn_of_assumed_positions(model: HierarchicalModel, weights: Weights) -> None:
    height, width = model.layers[0].resolution
    if model.absolute_pos_embed is not None and weights.geometry.img_size is None and height != width:
        logger.warning(
            "%s: does not tell the size of its images; its absolute positions are taken for those of a map of "
            "%d x %d or, if they are of another number, of a square",
            weights,
            height,
            width,
        )


def _keep_scales(model: SwinTransformerV2, weights: Weights, geometry: Geometry) -> None:
    """Scale position biases as in the training, also where maps bound the windows otherwise."""
    theirs = weights.geometry
    if theirs.windows is None or theirs.pretrained_windows is None:
        scales = position_scales(geometry.windows or (), geometry.pretrained_windows or ())
        logger.warning(
            "%s: does not tell the windows that it was trained in; taken for %s", weights, list(scales)
        )
    elif theirs.windows != geometry.windows:
        model.scale_positions_by(position_scales(theirs.windows, theirs.pretrained_windows))


def geometry_of(model: HierarchicalModel) -> Geometry:
    """What a model's weights alone do not tell of it."""
    windows = tuple(stage.window for stage in model.layers)
    pretrained = tuple(model.pretrained_window_sizes) if isinstance(model, SwinTransformerV2) else None
    scales = model.qk_scales if isinstance(model, SwinTransformer) else None
    return Geometry(windows, pretrained, model.img_size, model.window_size, scales)


def _without(weights: Weights, unneeded: Collection[str]) -> Weights:
    state = {name: tensor for name, tensor in weights.state.items() if name not in unneeded}
    dropped = weights.dropped + Dropped({"unneeded": len(weights.state) - len(state)})
    return replace(weights, state=state, dropped=dropped)
