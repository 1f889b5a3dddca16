"""The authors' own layout, which is also this project's: the names that the published checkpoints have."""

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from swin_train.weights.architecture import BLOCK
from swin_train.weights.layouts import limits
from swin_train.weights.layouts.complete import check_complete
from swin_train.weights.layouts.layout import Layout
from swin_train.weights.layouts.spec import ModelSpec

_IN_BLOCK = re.compile(BLOCK.pattern + r"(norm1|norm2|attn|mlp|spatial_mlp)\.")


def recognises(names: Collection[str]) -> bool:
    """Blocks as the authors name them; timm's are the same, and are to be asked for first."""
    return any(map(_IN_BLOCK.match, names))


def official_name(name: str) -> str:
    """The same."""
    return name


def from_official(state: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """The same weights; the authors' code computes the buffers anew and loads without them."""
    check_complete(state, spec)
    limits.refuse_chosen_windows(spec, "the authors' code")
    return dict(state)


OFFICIAL = Layout("official", recognises, official_name, from_official)
