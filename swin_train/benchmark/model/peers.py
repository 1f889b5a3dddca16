"""The models that are measured beside each other: this project's and its peers', with the same weights."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from swin_train.config import Config
from swin_train.errors import UserError
from swin_train.models.build import build_model
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.weights.layouts import LAYOUTS, infer_spec
from swin_train.zoo.load import geometry_of

OURS, TIMM, TORCHVISION, REFERENCE = "swin_train", "timm", "torchvision", "reference"


@dataclass(frozen=True)
class Library:
    """Where a model comes from.

    Attributes:
        name: of the library.
        make: a model with the weights of the one given; UserError where it cannot.
    """

    name: str
    make: Callable[[Config, HierarchicalModel], nn.Module]


def libraries(reference: Path | None) -> dict[str, Library]:
    """All that can be asked for, in the order of the table.

    Args:
        reference: a checkout of the authors' repository; None leaves it out.
    """
    found = [
        Library(OURS, lambda cfg, model: _loaded(build_model(cfg), model.state_dict())),
        Library(TIMM, _make_timm),
        Library(TORCHVISION, _make_torchvision),
    ]
    if reference is not None:
        found.append(Library(REFERENCE, lambda cfg, model: _make_reference(reference, cfg, model)))
    return {library.name: library for library in found}


def _make_timm(cfg: Config, ours: HierarchicalModel) -> nn.Module:
    from timm.models import swin_transformer, swin_transformer_v2

    kinds = {"swin": swin_transformer.SwinTransformer, "swinv2": swin_transformer_v2.SwinTransformerV2}
    return _loaded(
        _of_kind(TIMM, kinds, cfg)(
            **_sizes(cfg), img_size=cfg.DATA.img_size, in_chans=cfg.MODEL.selected.IN_CHANS
        ),
        _converted(TIMM, ours),
    )


def _make_torchvision(cfg: Config, ours: HierarchicalModel) -> nn.Module:
    from torchvision.models import swin_transformer as theirs

    kinds: dict[str, dict[str, Any]] = {
        "swin": {},
        "swinv2": {"block": theirs.SwinTransformerBlockV2, "downsample_layer": theirs.PatchMergingV2},
    }
    sizes = {
        "stochastic_depth_prob": cfg.MODEL.DROP_PATH_RATE,
        **_sizes(cfg),
        **_of_kind(TORCHVISION, kinds, cfg),
    }
    del sizes["drop_path_rate"]
    sizes |= {name: [sizes[name]] * 2 for name in ("patch_size", "window_size")}
    return _loaded(theirs.SwinTransformer(**sizes), _converted(TORCHVISION, ours))


def _make_reference(checkout: Path, cfg: Config, ours: HierarchicalModel) -> nn.Module:
    files = {"swin": "swin_transformer", "swinv2": "swin_transformer_v2"}
    name = _of_kind(REFERENCE, files, cfg)
    module = _import_file(checkout / "models" / f"{name}.py")
    kind = module.SwinTransformer if cfg.MODEL.TYPE == "swin" else module.SwinTransformerV2
    return _loaded(
        kind(**_sizes(cfg), img_size=cfg.DATA.img_size[0], in_chans=cfg.MODEL.selected.IN_CHANS),
        ours.state_dict(),
    )


def _of_kind(library: str, kinds: Mapping[str, Any], cfg: Config) -> Any:
    if cfg.MODEL.TYPE not in kinds:
        raise UserError(f"{library} has no {cfg.MODEL.TYPE}")
    return kinds[cfg.MODEL.TYPE]


def _sizes(cfg: Config) -> dict[str, Any]:
    """What all libraries call by the same name."""
    section = cfg.MODEL.selected
    return {
        "patch_size": section.PATCH_SIZE,
        "embed_dim": section.EMBED_DIM,
        "depths": list(section.DEPTHS),
        "num_heads": list(section.NUM_HEADS),
        "window_size": section.WINDOW_SIZE,
        "mlp_ratio": section.MLP_RATIO,
        "num_classes": cfg.num_classes,
        "drop_path_rate": cfg.MODEL.DROP_PATH_RATE,
    }


def _converted(layout: str, model: HierarchicalModel) -> Mapping[str, Tensor]:
    state = model.state_dict()
    return LAYOUTS[layout].from_official(state, infer_spec(state, geometry_of(model)))


def _loaded(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """``model`` with these weights; what it computes by itself, such as index tables, it keeps."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    lost = [name for name in missing if name in dict(model.named_parameters())]
    if lost or unexpected:
        raise UserError(
            f"{type(model).__name__} does not take the weights: {', '.join((*lost, *unexpected)[:5])}"
        )
    return model


def _import_file(path: Path) -> ModuleType:
    """A module by its path, without its package: the authors' imports all the rest of theirs."""
    if not path.is_file():
        raise UserError(f"--reference: there is no {path}; give a checkout of the authors' repository")
    name = f"reference_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise UserError(f"--reference: {path} cannot be imported: {error}") from error
    return module
