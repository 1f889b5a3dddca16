"""Ours against timm's and torchvision's models, in one process and float64, with weights taken both ways.

Widths are small, so that it is quick; windows, depths and shifts are Swin-T's.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import timm.models.swin_transformer as timm_v1
import timm.models.swin_transformer_v2 as timm_v2
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import swin_transformer as torchvision_models

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
    ours: Callable[..., HierarchicalModel]
    window: int
    native: int
    ragged: int  # its maps are no multiples of the window
    odd: int  # nor are all of their sides even: 60, 30, 15, 8


VERSIONS = {
    "v1": Version(SwinTransformer, 7, 224, 256, 240),
    "v2": Version(SwinTransformerV2, 8, 256, 288, 240),
}
SIZES_OF_IMAGES = ["native", "ragged", "odd"]


def make_ours(version: Version, side: int, padding: str, **options: Any) -> HierarchicalModel:
    sizes = {"num_classes": CLASSES, "window_size": version.window, **SIZES}
    return version.ours(side, padding=padding, **sizes, **options)


def make_timm(version: Version, side: int, **options: Any) -> nn.Module:
    family = timm_v1.SwinTransformer if version.ours is SwinTransformer else timm_v2.SwinTransformerV2
    return family(img_size=side, num_classes=CLASSES, window_size=version.window, **SIZES, **options)


def make_torchvision(version: Version, side: int) -> nn.Module:
    is_v1 = version.ours is SwinTransformer
    block = torchvision_models.SwinTransformerBlock if is_v1 else torchvision_models.SwinTransformerBlockV2
    merging = torchvision_models.PatchMerging if is_v1 else torchvision_models.PatchMergingV2
    return torchvision_models.SwinTransformer(
        [4, 4],
        SIZES["embed_dim"],
        list(SIZES["depths"]),
        list(SIZES["num_heads"]),
        [version.window] * 2,
        num_classes=CLASSES,
        block=block,
        downsample_layer=merging,
    )


PEERS = {"timm": (make_timm, "timm"), "torchvision": (make_torchvision, "reference")}


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
@pytest.mark.parametrize("peer", PEERS)
def test_ours_and_theirs_give_the_same_logits_for_weights_of_ours(
    with_weights: Callable, peer: str, name: str, at: str
) -> None:
    version, (make_theirs, padding) = VERSIONS[name], PEERS[peer]
    side = getattr(version, at)
    ours = with_weights(make_ours(version, side, padding))
    facts = infer_spec(
        ours.state_dict(),
        Geometry(windows=(version.window,) * 4, pretrained_windows=(0,) * 4, img_size=(version.native,) * 2),
    )

    theirs = make_theirs(version, side).double().eval()
    theirs.load_state_dict(LAYOUTS[peer].from_official(ours.state_dict(), facts))

    assert_equal_logits(logits(ours, side), logits(theirs, side))


@pytest.mark.parametrize("at", SIZES_OF_IMAGES)
@pytest.mark.parametrize("name", VERSIONS)
@pytest.mark.parametrize("peer", PEERS)
def test_ours_and_theirs_give_the_same_logits_for_weights_of_theirs(
    with_weights: Callable, peer: str, name: str, at: str
) -> None:
    version, (make_theirs, padding) = VERSIONS[name], PEERS[peer]
    side = getattr(version, at)
    theirs = with_weights(make_theirs(version, side))

    ours = make_ours(version, side, padding).double().eval()
    ours.load_state_dict(LAYOUTS[peer].to_official(theirs.state_dict())[0])

    assert_equal_logits(logits(ours, side), logits(theirs, side))


def test_timm_gives_our_logits_for_windows_that_a_small_map_bounds_and_for_those_of_pre_training(
    with_weights: Callable,
) -> None:
    side, pretrained = 192, (12, 12, 12, 6)  # maps of 48, 24, 12 and 6
    ours = with_weights(make_ours(VERSIONS["v2"], side, "timm", pretrained_window_sizes=pretrained))
    facts = infer_spec(ours.state_dict(), Geometry((8, 8, 8, 6), pretrained, (side, side)))

    theirs = make_timm(VERSIONS["v2"], side, pretrained_window_sizes=pretrained).double().eval()
    theirs.load_state_dict(LAYOUTS["timm"].from_official(ours.state_dict(), facts))

    assert_equal_logits(logits(ours, side), logits(theirs, side))


@pytest.mark.parametrize("name", VERSIONS)
def test_each_peer_s_padding_is_another(with_weights: Callable, name: str) -> None:
    version = VERSIONS[name]
    models = [
        with_weights(make_ours(version, version.ragged, padding))
        for padding in ("reference", "timm", "masked")
    ]
    a, b, c = (logits(model, version.ragged) for model in models)

    for one, other in ((a, b), (a, c), (b, c)):
        assert (one - other).abs().max() > 100 * RELATIVE * one.abs().max()
