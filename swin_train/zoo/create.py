"""A model by the name of its configuration, with weights."""

import logging
import operator
import os
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from swin_train.config import Config, load_config
from swin_train.config.paths import find_config
from swin_train.errors import UserError
from swin_train.models.build import build_model
from swin_train.models.features import StageFeatures
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.weights.report import Report
from swin_train.zoo.load import load_pretrained

logger = logging.getLogger(__name__)

_OPTS, _IMG_SIZE = "create_model: opts", "create_model: img_size"  # where a key of the configuration was set


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
            what was resized or dropped, in a warning where the call did not ask for it. None leaves the initial
            weights.
        num_classes: outputs of the head, 0 for none. None takes the configuration's: those of its data set.
        img_size: side of the images, or their height and width, in pixels, that windows are chosen for. None
            takes the configuration's. The model takes images of any size whatever it is.
        features_only: give the maps of the stages instead of logits; see ``StageFeatures``.
        out_indices: with ``features_only``, the stages to give; None is all of them.
        opts: KEY, VALUE, KEY, VALUE of the configuration, such as "TRAIN.USE_CHECKPOINT", True.

    Raises:
        UserError: there is no such configuration, an argument is none of those above, arguments contradict each
            other, or the weights cannot be read or do not fit.
        ConfigError: a key or a value of ``opts`` is wrong.
    """
    _check_pretrained(pretrained)
    num_classes = _checked_classes(num_classes, features_only=features_only)
    cfg = _load(name, img_size, opts)
    stages = _checked_stages(out_indices, len(cfg.MODEL.selected.DEPTHS), features_only=features_only)
    model = build_model(cfg, num_classes)
    features = StageFeatures(model, stages) if features_only else None
    if pretrained is not None:
        unneeded = features.left_out if features else ()
        _log(cfg, num_classes, pretrained, load_pretrained(model, pretrained, unneeded))
    return features or model


def _load(name: str | Path, img_size: int | tuple[int, int] | None, opts: Sequence[Any]) -> Config:
    if not isinstance(opts, Sequence) or isinstance(opts, str):
        raise UserError(f"{_OPTS} is {reprlib.repr(opts)}; give a list of KEY, VALUE, KEY, VALUE")
    size = [] if img_size is None else [("DATA.IMG_SIZE", _checked_size(img_size), _IMG_SIZE)]
    try:
        path = find_config(name)
    except FileNotFoundError as error:
        raise UserError(f"create_model: {error}") from error
    return load_config(path, opts, size, overrides_origin=_OPTS)


def _log(cfg: Config, num_classes: int | None, pretrained: str | Path, report: Report) -> None:
    """Say what became of the weights; a warning where the call did not ask for it."""
    windows = ("DATA.IMG_SIZE", f"{cfg.MODEL.selected_key}.WINDOW_SIZE")
    unasked = []
    if report.fresh and num_classes is None and not cfg.is_given("MODEL.NUM_CLASSES"):
        unasked.append("num_classes")
    if report.resized and not any(cfg.origins.get(key) in (_OPTS, _IMG_SIZE) for key in windows):
        unasked.append("img_size")
    if unasked:
        logger.warning("%s: %s; if that is meant, give %s", pretrained, report, " and ".join(unasked))
    else:
        logger.info("%s: %s", pretrained, report)


def _check_pretrained(pretrained: object) -> None:
    if isinstance(pretrained, Mapping):
        raise UserError(
            f"create_model: pretrained is a {type(pretrained).__name__}; give the path or URL of a file, and what is "
            "loaded already to model.load_state_dict"
        )
    if pretrained is not None and not isinstance(pretrained, (str, os.PathLike)):  # True, in other libraries
        raise UserError(
            f"create_model: pretrained is {reprlib.repr(pretrained)}; give a path or a URL, such as "
            "list_models(NAME)[0].weights, or None"
        )


def _checked_classes(num_classes: Any, *, features_only: bool) -> int | None:
    """Outputs of the head; None is the configuration's."""
    if num_classes is None:
        return 0 if features_only else None
    (count,) = _integers([num_classes]) or (-1,)
    if count < 0:
        raise UserError(
            f"create_model: num_classes is {reprlib.repr(num_classes)}; give the number of classes, 0 for no head, "
            "or None"
        )
    if features_only and count:
        raise UserError(
            f"create_model: num_classes is {count}, but features_only leaves the head out; give one of them"
        )
    return count


def _checked_size(img_size: Any) -> int | tuple[int, ...]:
    side, sides = _integers([img_size]), _integers(img_size)
    if min(side or sides, default=0) < 1 or not (side or len(sides) == 2):
        raise UserError(
            f"create_model: img_size is {reprlib.repr(img_size)}; give the side of the images in pixels, such as 224, "
            "or (height, width)"
        )
    return side[0] if side else tuple(sides)


def _checked_stages(out_indices: Any, num_stages: int, *, features_only: bool) -> list[int] | None:
    """The stages whose maps are asked for; None is all of them."""
    if out_indices is None:
        return None
    if not features_only:
        raise UserError("create_model: out_indices choose among the maps that features_only=True gives")
    stages = _integers(out_indices)
    if not stages or stages != sorted(set(stages) & set(range(num_stages))):
        raise UserError(
            f"create_model: out_indices is {reprlib.repr(out_indices)}; give numbers of stages, 0 to {num_stages - 1}, "
            f"in rising order, such as {tuple(range(num_stages))}"
        )
    return stages


def _integers(values: Any) -> list[int]:
    """The items as ``int``; an empty list where there are none or one is no integer, as True is none."""
    try:
        items = list(values)
        return [] if any(isinstance(item, bool) for item in items) else list(map(operator.index, items))
    except TypeError:
        return []
