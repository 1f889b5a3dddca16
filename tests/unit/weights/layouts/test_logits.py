"""Converted weights give the logits of the original: in timm and torchvision, in double precision."""

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer as TimmSwin
from timm.models.swin_transformer_v2 import SwinTransformerV2 as TimmSwinV2
from torch import nn
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2
from torchvision.models.swin_transformer import SwinTransformer as TorchvisionSwin

from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_v2 import SwinTransformerV2
from swin_train.weights.geometry import Geometry
from swin_train.weights.layouts import LAYOUTS, infer_facts

SHAPE = {"embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}
OURS = {"swin": SwinTransformer, "swinv2": SwinTransformerV2}


def randomised(model: nn.Module) -> nn.Module:
    """The model with no parameter at 0, where a wrong one would not show."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator).double()
    return model


def our_model(family: str, img_size: int, **options: object) -> HierarchicalModel:
    return OURS[family](img_size, 2, 3, 5, window_size=4, **SHAPE, **options).double().eval()


def timm_model(family: str, img_size: int, **options: object) -> nn.Module:
    model_class = {"swin": TimmSwin, "swinv2": TimmSwinV2}[family]
    sizes = {"img_size": img_size, "patch_size": 2, "num_classes": 5, "window_size": 4}
    return model_class(**SHAPE, **sizes, **options).double().eval()


def torchvision_model(family: str, img_size: int) -> nn.Module:
    del img_size  # it takes any
    options = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
    sizes = ([2, 2], 16, [2, 2], [2, 4], [4, 4])
    model = TorchvisionSwin(*sizes, num_classes=5, **(options if family == "swinv2" else {}))
    return model.double().eval()


PEERS = {"timm": (timm_model, "timm"), "torchvision": (torchvision_model, "reference")}


def assert_equal_logits(ours: nn.Module, theirs: nn.Module, img_size: int) -> None:
    images = torch.randn(2, 3, img_size, img_size, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        torch.testing.assert_close(
            ours(images), theirs(images), rtol=1e-10, atol=1e-10
        )  # orders of sums differ


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("family", OURS)
@pytest.mark.parametrize("img_size", [16, 22])  # 22: a map of 11 x 11, no multiple of the window
def test_a_peer_gives_the_logits_of_our_weights_and_we_of_its(peer: str, family: str, img_size: int) -> None:
    make, padding = PEERS[peer]
    layout = LAYOUTS[peer]
    ours, theirs = our_model(family, img_size, padding=padding), make(family, img_size)
    facts = infer_facts(ours.state_dict(), Geometry((4, 4), (0, 0), (img_size, img_size)))

    theirs.load_state_dict(layout.from_official(randomised(ours).state_dict(), facts))
    assert_equal_logits(ours, theirs, img_size)

    other = our_model(family, img_size, padding=padding)
    other.load_state_dict(layout.to_official(randomised(theirs).state_dict()))
    assert_equal_logits(other, theirs, img_size)


def test_timm_gives_the_logits_of_windows_that_a_small_map_bounds_and_of_pre_training() -> None:
    ours = randomised(our_model("swinv2", 12, padding="timm", pretrained_window_sizes=(6, 2)))
    theirs = timm_model("swinv2", 12, pretrained_window_sizes=(6, 2))
    facts = infer_facts(ours.state_dict(), Geometry((4, 3), (6, 2), (12, 12)))

    theirs.load_state_dict(LAYOUTS["timm"].from_official(ours.state_dict(), facts))

    assert_equal_logits(ours, theirs, 12)
