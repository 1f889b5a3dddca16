"""Models with weights: load a file into a model, adapted or exactly."""

import logging
from pathlib import Path

from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.swin_v2 import SwinTransformerV2
from swin_train.weights.adapt import adapt, adapt_exactly
from swin_train.weights.download import local_file
from swin_train.weights.geometry import Geometry, other_scales
from swin_train.weights.read import Weights, read_weights
from swin_train.weights.report import Report, changes

logger = logging.getLogger(__name__)


def load_pretrained(model: HierarchicalModel, path: str | Path) -> Report:
    """Start a model from the weights of another resolution, window or set of classes.

    Call it before the model is wrapped or compiled, while its names are the published ones.

    Args:
        model: takes the weights.
        path: a file, a run's checkpoint folder, or the URL of a file.

    Raises:
        UserError: the file cannot be read, or its weights cannot be made to fit.
    """
    weights, geometry = read_weights(local_file(path)), geometry_of(model)
    adapted, report = adapt(weights, model.state_dict(), geometry)
    _warn_of_other_scales(weights, geometry)
    model.load_state_dict(adapted, strict=False)  # what is missing is report.fresh and nothing else
    return report


def fit_exactly(model: HierarchicalModel, weights: Weights) -> None:
    """Load weights as evaluation needs them: each name and each shape equal.

    Only what a smaller or larger map has changed is interpolated, and said in a warning; see ``adapt_exactly``.

    Args:
        model: not wrapped or compiled.
        weights: take their place in it.

    Raises:
        UserError: they differ from the model; the message names both architectures.
    """
    geometry = geometry_of(model)
    state, resized = adapt_exactly(weights, model.state_dict(), geometry)
    if resized:
        logger.warning("%s: resized %s for maps of another size", weights, ", ".join(changes(resized)))
    _warn_of_other_scales(weights, geometry)
    model.load_state_dict(state)


def geometry_of(model: HierarchicalModel) -> Geometry:
    """The sizes of a model that its weights alone do not tell."""
    windows = tuple(stage.window for stage in model.layers)
    pretrained = tuple(model.pretrained_window_sizes) if isinstance(model, SwinTransformerV2) else None
    return Geometry(windows, pretrained, model.img_size)


def _warn_of_other_scales(weights: Weights, geometry: Geometry) -> None:
    advice = other_scales(weights.geometry, geometry)
    if advice:
        logger.warning("%s: %s", weights, advice)
