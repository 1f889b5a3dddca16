"""``StageFeatures``: the maps of the stages, for detectors and decoders."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from swin_train.models.features import StageFeatures
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_v2 import SwinTransformerV2
from swin_train.weights.geometry import Geometry
from swin_train.weights.layouts import LAYOUTS, infer_spec

SIZES = {
    "embed_dim": 8,
    "depths": (1, 2, 2, 1),
    "num_heads": (1, 2, 4, 4),
    "window_size": 4,
    "num_classes": 5,
}


@pytest.fixture
def make_model(make_model: Callable) -> Callable[..., HierarchicalModel]:
    return partial(make_model, img_size=64, patch_size=4, **SIZES)


def test_maps_are_the_stages_outputs_before_their_merging(
    family: type[HierarchicalModel], make_model: Callable
) -> None:
    model, images = make_model(family).eval(), torch.randn(2, 3, 64, 64)
    expected = []
    for stage in model.layers:
        stage.blocks[-1].register_forward_hook(lambda module, args, out: expected.append(out))
    model(images)

    features = StageFeatures(make_model(family)).eval()
    maps = features(images)

    assert features.strides == (4, 8, 16, 32)
    assert features.channels == (8, 16, 32, 64)
    for found, wanted in zip(maps, expected, strict=True):
        assert torch.equal(found, wanted.permute(0, 3, 1, 2))
        assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(64, 64), (96, 40), (50, 70)])
def test_sides_are_those_of_the_image_over_the_strides_rounded_up(
    family: type[HierarchicalModel], size: tuple[int, int], make_model: Callable
) -> None:
    features = StageFeatures(make_model(family))

    maps = features(torch.randn(1, 3, *size))

    expected = [tuple(-(-side // stride) for side in size) for stride in features.strides]
    assert [tuple(found.shape[2:]) for found in maps] == expected


@pytest.mark.parametrize("out_indices", [None, (1, 3), (0, 1)])
def test_every_parameter_gets_a_gradient(
    family: type[HierarchicalModel], out_indices: tuple[int, ...] | None, make_model: Callable
) -> None:
    features = StageFeatures(make_model(family, ape=True), out_indices)

    sum(found.square().sum() for found in features(torch.randn(2, 3, 64, 64))).backward()

    without = [name for name, parameter in features.named_parameters() if parameter.grad is None]
    assert without == []


def test_chosen_stages_are_given_and_those_after_them_are_left_out(make_model: Callable) -> None:
    images = torch.randn(1, 3, 64, 64)
    everything = StageFeatures(make_model()).eval()(images)

    features = StageFeatures(make_model(), (0, 2)).eval()
    maps = features(images)

    assert (features.strides, features.channels) == ((4, 16), (8, 32))
    assert [torch.equal(a, b) for a, b in zip(maps, (everything[0], everything[2]), strict=True)] == [
        True
    ] * 2
    assert len(features.model.layers) == 3


@pytest.mark.parametrize("out_indices", [(), (4,), (-1,), (1, 0), (1, 1)])
def test_other_stages_are_refused(out_indices: tuple[int, ...], make_model: Callable) -> None:
    with pytest.raises(
        ValueError, match=r"out_indices \[.*\] must be numbers of stages, 0 to 3, in rising order"
    ):
        StageFeatures(make_model(), out_indices)


def test_frozen_stages_stay_as_they_are(make_model: Callable) -> None:
    features = StageFeatures(make_model(drop_path_rate=0.5))

    features.freeze_stages(2)
    features.train()

    frozen = (features.model.patch_embed, *features.model.layers[:2])
    assert not any(p.requires_grad for module in frozen for p in module.parameters())
    assert [stage.training for stage in features.model.layers] == [False, False, True, True]


class Pyramid(nn.Module):
    """A backbone, a feature pyramid over it, and a map of one channel at the finest level."""

    def __init__(self, backbone: StageFeatures) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = FeaturePyramidNetwork(list(backbone.channels), 16)
        self.predict = nn.Conv2d(16, 1, kernel_size=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        levels = self.pyramid({str(i): found for i, found in enumerate(self.backbone(images))})
        return [self.predict(level) for level in levels.values()]


def test_a_pyramid_on_the_features_trains_at_256_x_320(
    family: type[HierarchicalModel], make_model: Callable
) -> None:
    model = Pyramid(StageFeatures(make_model(family, img_size=(256, 320), drop_path_rate=0.0)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    images = torch.rand(2, 3, 256, 320)
    brightness = images.mean(dim=1, keepdim=True)

    losses = []
    for _ in range(10):
        levels = model(images)
        targets = [nn.functional.adaptive_avg_pool2d(brightness, level.shape[2:]) for level in levels]
        loss = sum(
            nn.functional.mse_loss(level, target) for level, target in zip(levels, targets, strict=True)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert [tuple(level.shape[2:]) for level in levels] == [(64, 80), (32, 40), (16, 20), (8, 10)]
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(("family", "name"), [(SwinTransformer, "swin"), (SwinTransformerV2, "swinv2")])
def test_maps_are_timm_s(
    family: type[HierarchicalModel], name: str, make_model: Callable, peer_model: Callable
) -> None:
    model = make_model(family).double().eval()
    for parameter in model.parameters():  # v2's norms among them, which start as 0
        nn.init.normal_(parameter, std=0.1)
    theirs = peer_model("timm", name, img_size=64, patch_size=4, **SIZES).double().eval()
    spec = infer_spec(model.state_dict(), Geometry())
    theirs.load_state_dict(LAYOUTS["timm"].from_official(model.state_dict(), spec))
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)

    maps = StageFeatures(model)(images)

    expected = theirs.forward_intermediates(images, intermediates_only=True)
    for found, wanted in zip(maps, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
