"""Models with weights: load a file into a model, adapted or exactly."""

import logging
from pathlib import Path

from torch import nn

from swin_train.weights.adapt import adapt, adapt_exactly
from swin_train.weights.download import local_file
from swin_train.weights.geometry import other_scales
from swin_train.weights.read import Weights, Which, read_weights
from swin_train.weights.report import Report, changes
from swin_train.weights.resize import Grid

logger = logging.getLogger(__name__)


def load_pretrained(model: nn.Module, path: str | Path) -> Report:
    """Start a model from the weights of another resolution, window or set of classes.

    Call it before the model is wrapped or compiled, while its names are the published ones.

    Args:
        model: takes the weights.
        path: a file, a run's checkpoint folder, or the URL of a file.

    Raises:
        UserError: the file cannot be read, or its weights cannot be made to fit.
    """
    weights = read_weights(local_file(path))
    old_map, new_map = _maps(model, weights)
    adapted, report = adapt(
        weights.state,
        model.state_dict(),
        source=str(weights),
        old_map=old_map,
        new_map=new_map,
        dropped=weights.dropped,
        layout=weights.layout,
    )
    _warn_of_other_scales(model, weights)
    model.load_state_dict(adapted, strict=False)  # what is missing is report.fresh and nothing else
    return report


def load_exact(model: nn.Module, path: str | Path, which: Which = "raw") -> Weights:
    """Load the very weights of a model from a file or a run's checkpoint folder; see ``fit_exactly``.

    Args:
        model: not wrapped or compiled.
        path: the file or folder, or the URL of a file.
        which: the trained weights, or their exponential moving average.

    Raises:
        UserError: the file cannot be read, or differs from the model.
    """
    weights = read_weights(local_file(path), which)
    fit_exactly(model, weights)
    return weights


def fit_exactly(model: nn.Module, weights: Weights) -> None:
    """Load weights as evaluation needs them: each name and each shape equal.

    Only what a smaller or larger map has changed is interpolated, and said in a warning; see ``adapt_exactly``.

    Raises:
        UserError: they differ from the model; the message names both architectures.
    """
    old_map, new_map = _maps(model, weights)
    state, resized = adapt_exactly(
        weights.state,
        model.state_dict(),
        source=str(weights),
        old_windows=weights.geometry.windows,
        new_windows=_windows(model),
        old_map=old_map,
        new_map=new_map,
    )
    if resized:
        logger.warning("%s: resized %s for maps of another size", weights, ", ".join(changes(resized)))
    _warn_of_other_scales(model, weights)
    model.load_state_dict(state)


def _warn_of_other_scales(model: nn.Module, weights: Weights) -> None:
    windows, pretrained = _windows(model), getattr(model, "pretrained_window_sizes", None)
    if windows is not None and pretrained is not None:
        advice = other_scales(weights.geometry, windows, tuple(pretrained))
        if advice:
            logger.warning("%s: %s", weights, advice)


def _windows(model: nn.Module) -> tuple[int, ...] | None:
    stages = getattr(model, "layers", None)
    return None if stages is None else tuple(stage.window for stage in stages)


def _maps(model: nn.Module, weights: Weights) -> tuple[Grid | None, Grid | None]:
    """The first feature maps of the file and of the model, in patches, where their image size is known."""
    patch, model_size = getattr(model, "patch_size", None), getattr(model, "img_size", None)
    old, new = (
        None if size is None or patch is None else (-(-size[0] // patch), -(-size[1] // patch))
        for size in (weights.geometry.img_size, model_size)
    )
    return old, new
