"""Models with weights: load a file into a model, adapted or exactly."""

from pathlib import Path

from torch import nn

from swin_train.errors import UserError
from swin_train.weights.adapt import Report, adapt, differences
from swin_train.weights.architecture import infer_architecture
from swin_train.weights.read import Weights, Which, read_weights


def load_pretrained(model: nn.Module, path: str | Path) -> Report:
    """Start a model from the weights of another resolution, window or set of classes.

    Call it before the model is wrapped or compiled, while its names are the published ones.

    Raises:
        UserError: the file cannot be read, or its weights cannot be made to fit.
    """
    weights = read_weights(path)
    adapted, report = adapt(
        weights.state,
        model.state_dict(),
        source=weights.source,
        num_buffers=weights.num_buffers,
        num_pretraining=weights.num_pretraining,
    )
    model.load_state_dict(adapted, strict=False)  # what is missing is report.fresh and nothing else
    return report


def load_exact(model: nn.Module, path: str | Path, which: Which = "raw") -> Weights:
    """Load the very weights of a model from a file or a run's checkpoint folder; see ``fit_exactly``.

    Args:
        model: not wrapped or compiled.
        path: the file or folder.
        which: the trained weights, or their exponential moving average.

    Raises:
        UserError: the file cannot be read, or differs from the model.
    """
    weights = read_weights(path, which)
    fit_exactly(model, weights)
    return weights


def fit_exactly(model: nn.Module, weights: Weights) -> None:
    """Load weights as evaluation needs them: each name and each shape equal.

    Raises:
        UserError: they differ from the model; the message names both architectures.
    """
    target = model.state_dict()
    problems = differences(weights.state, target)
    if problems:
        raise UserError(
            f"{weights.source}: is not a checkpoint of this model. "
            f"The file: {infer_architecture(weights.state)}. The model: {infer_architecture(target)}. "
            f"{problems}"
        )
    model.load_state_dict(weights.state)
