"""A model by the name of its configuration, with weights."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

from swin_train.config import load_config
from swin_train.config.paths import find_config
from swin_train.errors import UserError
from swin_train.models.build import build_model
from swin_train.models.features import StageFeatures
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.zoo.load import load_pretrained

logger = logging.getLogger(__name__)


@overload
def create_model(
    name: str | Path,
    pretrained: str | Path | None = None,
    *,
    num_classes: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    features_only: Literal[False] = False,
    opts: Sequence[Any] = (),
) -> HierarchicalModel: ...


@overload
def create_model(
    name: str | Path,
    pretrained: str | Path | None = None,
    *,
    num_classes: None = None,
    img_size: int | tuple[int, int] | None = None,
    features_only: Literal[True],
    out_indices: Sequence[int] | None = None,
    opts: Sequence[Any] = (),
) -> StageFeatures: ...


def create_model(
    name: str | Path,
    pretrained: str | Path | None = None,
    *,
    num_classes: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    opts: Sequence[Any] = (),
) -> HierarchicalModel | StageFeatures:
    """Make a model, in training mode as every new ``nn.Module``: call ``.eval()`` to predict.

    Args:
        name: of a configuration that comes with the project, such as "swin_tiny_patch4_window7_224"
            (``list_models`` names them), or the path of a YAML file.
        pretrained: path or URL of weights in any published layout. They are adapted to the model; the log says
            what was resized or dropped. None leaves the initial weights.
        num_classes: outputs of the head, 0 for none. None takes the configuration's: those of its data set.
        img_size: side of the images, or their height and width, in pixels, that windows are chosen for. None
            takes the configuration's. The model takes images of any size whatever it is.
        features_only: give the maps of the stages instead of logits; see ``StageFeatures``.
        out_indices: with ``features_only``, the stages to give; None is all of them.
        opts: KEY, VALUE, KEY, VALUE of the configuration, such as "TRAIN.USE_CHECKPOINT", True.

    Raises:
        UserError: there is no such configuration, the arguments contradict each other, or the weights cannot be
            read or do not fit.
        ConfigError: a key or a value of ``opts`` is wrong.
        ValueError: ``out_indices`` are not those of stages.
    """
    _check_arguments(pretrained, num_classes, out_indices, features_only=features_only)
    try:
        path = find_config(name)
    except FileNotFoundError as error:
        raise UserError(f"create_model: {error}") from error
    size = [] if img_size is None else ["DATA.IMG_SIZE", img_size]
    cfg = load_config(path, [*opts, *size])
    if features_only:
        num_classes = 0
    model = build_model(cfg, num_classes)
    if pretrained is not None:
        logger.info("%s: %s", pretrained, load_pretrained(model, pretrained))
    return StageFeatures(model, out_indices) if features_only else model


def _check_arguments(
    pretrained: str | Path | None,
    num_classes: int | None,
    out_indices: Sequence[int] | None,
    *,
    features_only: bool,
) -> None:
    if isinstance(pretrained, bool):  # as other libraries have it
        raise UserError(
            f"create_model: pretrained is {pretrained}; give a path or a URL, such as "
            f"list_models(NAME)[0].weights, or None"
        )
    if features_only and num_classes:
        raise UserError(
            f"create_model: num_classes is {num_classes}, but features_only leaves the head out; give one of them"
        )
    if out_indices is not None and not features_only:
        raise UserError("create_model: out_indices choose among the maps that features_only=True gives")
