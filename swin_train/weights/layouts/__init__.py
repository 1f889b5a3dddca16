"""The published layouts of a Swin's state dict: which one a file has, from it to ours, and back."""

from collections.abc import Collection

from swin_train.weights.layouts.huggingface import HUGGINGFACE
from swin_train.weights.layouts.layout import Layout
from swin_train.weights.layouts.official import OFFICIAL
from swin_train.weights.layouts.spec import ModelSpec, infer_spec
from swin_train.weights.layouts.timm import TIMM
from swin_train.weights.layouts.torchvision import TORCHVISION

__all__ = ["LAYOUTS", "Layout", "ModelSpec", "infer_spec", "recognise"]

LAYOUTS = {layout.name: layout for layout in (OFFICIAL, TIMM, TORCHVISION, HUGGINGFACE)}


def recognise(names: Collection[str]) -> Layout | None:
    """The layout of names that are free of wrappers' prefixes; None where they are no Swin's.

    timm's blocks are named as the official ones, so the official layout is asked for last.
    """
    return next((layout for layout in reversed(LAYOUTS.values()) if layout.recognises(names)), None)
