"""The table of what is measured beside each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from swin_train.benchmark.model.peers import OURS, REFERENCE, TIMM, TORCHVISION, libraries
from swin_train.config import Config
from swin_train.distributed.compilation import Compilation, compile_model
from swin_train.models.build import build_model
from swin_train.models.hierarchical import HierarchicalModel


@dataclass(frozen=True)
class Variant:
    """A library's model, and how it runs.

    Attributes:
        library: its name.
        compilation: "off"; "model", as one graph; or "blocks", which only this project offers.
        changes: of the configuration; for this project alone.
    """

    library: str
    compilation: Compilation = "off"
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def mode(self) -> str:
        """What a fair comparison has in common."""
        return "eager" if self.compilation == "off" else "compiled"


VARIANTS = {
    OURS: Variant(OURS),
    f"{OURS} sdpa": Variant(OURS, changes=(("MODEL.ATTENTION", "sdpa"),)),
    f"{OURS} compiled": Variant(OURS, "model"),
    f"{OURS} blocks": Variant(OURS, "blocks"),
    TIMM: Variant(TIMM),
    f"{TIMM} compiled": Variant(TIMM, "model"),
    TORCHVISION: Variant(TORCHVISION),
    f"{TORCHVISION} compiled": Variant(TORCHVISION, "model"),
    REFERENCE: Variant(REFERENCE),
    f"{REFERENCE} compiled": Variant(REFERENCE, "model"),
}
"""What can be measured, in the order of the table."""

_EAGER = tuple(name for name, variant in VARIANTS.items() if variant.mode == "eager" and not variant.changes)


def default_names(device: torch.device, quick: bool, has_reference: bool) -> list[str]:
    """What is measured unless it is said: nothing is compiled in a hurry, and a CPU's default is no fused kernel."""
    names = _EAGER if quick else tuple(VARIANTS)
    return [
        name
        for name in names
        if (has_reference or VARIANTS[name].library != REFERENCE)
        and (device.type == "cuda" or not VARIANTS[name].changes)
    ]


@dataclass(frozen=True)
class Maker:
    """Makes models with the same weights.

    Attributes:
        configure: gives the configuration with some keys changed.
        device: that they run on.
        dtype: of their parameters.
        reference: a checkout of the authors' repository, if there is one.
    """

    configure: Callable[[Mapping[str, Any]], Config]
    device: torch.device
    dtype: torch.dtype
    reference: Path | None

    def weights(self) -> HierarchicalModel:
        """The model whose weights all have: large enough that each of them shows, as those of a trained model do."""
        torch.manual_seed(0)
        model = build_model(self.configure({}))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias_table"):
                    parameter.normal_()
                elif parameter.ndim == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
                elif "logit_scale" not in name:
                    parameter.normal_(std=parameter[0].numel() ** -0.5)
        return model

    def make(self, variant: Variant, weights: HierarchicalModel) -> nn.Module:
        """A model on the device, which is compiled when it is first run.

        Raises:
            UserError: the library has no such model.
        """
        library = libraries(self.reference)[variant.library]
        model = library.make(self.configure(dict(variant.changes)), weights).to(self.device, self.dtype)
        if variant.library == OURS:
            compile_model(model, variant.compilation, self.device)
        elif variant.compilation != "off":
            model.compile(fullgraph=True)
        return model


def rivals(name: str, names: Sequence[str]) -> list[str]:
    """The variants of other libraries, in the same mode, that one of this project is compared with."""
    variant = VARIANTS[name]
    if variant.library != OURS:
        return []
    return [
        other for other in names if VARIANTS[other].library != OURS and VARIANTS[other].mode == variant.mode
    ]
