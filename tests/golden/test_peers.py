"""Ours against timm's and torchvision's models, in one process and float64, with weights taken both ways.

Widths are small, so that it is quick; windows, depths and shifts are Swin-T's.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_v2 import SwinTransformerV2
from swin_train.weights.geometry import Geometry
from swin_train.weights.layouts import LAYOUTS, infer_spec

SIZES: dict[str, Any] = {"embed_dim": 24, "depths": (2, 2, 6, 2), "num_heads": (3, 3, 6, 12)}
CLASSES = 7
RELATIVE = (
    1e-5  # of the largest logit; float64 in another order, and tables computed in float32; measured 1e-14
)


class Version(NamedTuple):
    family: str
    ours: Callable[..., HierarchicalModel]
    window: int
    native: int
    ragged: int  # its maps are no multiples of the window
    odd: int  # nor are all of their sides even: 60, 30, 15, 8


VERSIONS = {
    "v1": Version("swin", SwinTransformer, 7, 224, 256, 240),
    "v2": Version("swinv2", SwinTransformerV2, 8, 256, 288, 240),
}
SIZES_OF_IMAGES = ["native", "ragged", "odd"]
PADDINGS = {"timm": "timm", "torchvision": "reference"}


def make_ours(version: Version, side: int, padding: str, **options: Any) -> HierarchicalModel:
    sizes = {"num_classes": CLASSES, "window_size": version.window, **SIZES}
    return version.ours(side, padding=padding, **sizes, **options)


@pytest.fixture
def make_theirs(peer_model: Callable) -> Callable[..., nn.Module]:
    def make(peer: str, version: Version, side: int, **options: Any) -> nn.Module:
        sizes = {"patch_size": 4, "window_size": version.window, "num_classes": CLASSES, **SIZES}
        return peer_model(peer, version.family, img_size=side, **sizes, **options)

    return make


@pytest.fixture
def with_weights(formula_state: Callable) -> Callable[[nn.Module], nn.Module]:
    """Gives a model weights that are a function of their names, none of which hides a part of it."""

    def fill(model: nn.Module) -> nn.Module:
        model.load_state_dict(formula_state(dict(model.named_parameters())), strict=False)
        return model.double().eval()

    return fill


@torch.inference_mode()
def logits(model: nn.Module, side: int) -> Tensor:
    blobs = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return model(F.interpolate(blobs, (side, side), mode="bilinear"))  # two images that differ in the mean


def assert_equal_logits(a: Tensor, b: Tensor) -> None:
    of_images = (a[0] - a[1]).abs().max()  # what the input decides, not the biases
    assert of_images > 0.01
    assert (a - b).abs().max() <= RELATIVE * of_images


@pytest.mark.parametrize("at", SIZES_OF_IMAGES)
@pytest.mark.parametrize("name", VERSIONS)
@pytest.mark.parametrize("peer", PADDINGS)
def test_ours_and_theirs_give_the_same_logits_for_weights_of_ours(
    with_weights: Callable, make_theirs: Callable, peer: str, name: str, at: str
) -> None:
    version, padding = VERSIONS[name], PADDINGS[peer]
    side = getattr(version, at)
    ours = with_weights(make_ours(version, side, padding))
    spec = infer_spec(
        ours.state_dict(),
        Geometry(windows=(version.window,) * 4, pretrained_windows=(0,) * 4, img_size=(version.native,) * 2),
    )

    theirs = make_theirs(peer, version, side).double().eval()
    theirs.load_state_dict(LAYOUTS[peer].from_official(ours.state_dict(), spec))

    assert_equal_logits(logits(ours, side), logits(theirs, side))


@pytest.mark.parametrize("at", SIZES_OF_IMAGES)
@pytest.mark.parametrize("name", VERSIONS)
@pytest.mark.parametrize("peer", PADDINGS)
def test_ours_and_theirs_give_the_same_logits_for_weights_of_theirs(
    with_weights: Callable, make_theirs: Callable, peer: str, name: str, at: str
) -> None:
    version, padding = VERSIONS[name], PADDINGS[peer]
    side = getattr(version, at)
    theirs = with_weights(make_theirs(peer, version, side))

    ours = make_ours(version, side, padding).double().eval()
    ours.load_state_dict(LAYOUTS[peer].to_official(theirs.state_dict())[0])

    assert_equal_logits(logits(ours, side), logits(theirs, side))


def test_timm_gives_our_logits_for_windows_that_a_small_map_bounds_and_for_those_of_pre_training(
    with_weights: Callable, make_theirs: Callable
) -> None:
    side, pretrained = 192, (12, 12, 12, 6)  # maps of 48, 24, 12 and 6
    ours = with_weights(make_ours(VERSIONS["v2"], side, "timm", pretrained_window_sizes=pretrained))
    spec = infer_spec(ours.state_dict(), Geometry((8, 8, 8, 6), pretrained, (side, side)))

    theirs = make_theirs("timm", VERSIONS["v2"], side, pretrained_window_sizes=pretrained).double().eval()
    theirs.load_state_dict(LAYOUTS["timm"].from_official(ours.state_dict(), spec))

    assert_equal_logits(logits(ours, side), logits(theirs, side))
