from collections.abc import Callable

import pytest
import timm
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2

from swin_train.weights.geometry import Geometry
from swin_train.weights.layouts import LAYOUTS, infer_spec

TIMM = LAYOUTS["timm"]
TINY = {
    "embed_dim": 96,
    "depths": (2, 2, 6, 2),
    "num_heads": (3, 6, 12, 24),
    "patch_size": 4,
    "classes": 1000,
}
SMALL = {
    "img_size": 16,
    "patch_size": 2,
    "embed_dim": 8,
    "depths": (2, 1),
    "num_heads": (2, 4),
    "window_size": 4,
}


@pytest.mark.parametrize(
    ("family", "window", "name"),
    [("swin", 7, "swin_tiny_patch4_window7_224"), ("swinv2", 8, "swinv2_tiny_window8_256")],
)
@pytest.mark.parametrize("classes", [1000, 0])
def test_names_and_shapes_are_those_of_timm_s_models(
    whole_state: Callable, family: str, window: int, name: str, classes: int
) -> None:
    state = whole_state(family, **TINY | {"windows": (window,) * 4, "classes": classes})
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=classes)

    converted = TIMM.from_official(state, infer_spec(state, Geometry()))

    model.load_state_dict(converted, assign=True)  # strict
    assert TIMM.recognises(model.state_dict())
    assert all(torch.equal(tensor, converted[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("model_class", [SwinTransformer, SwinTransformerV2])
def test_a_model_of_timm_comes_back_from_ours(assert_same: Callable, model_class: type) -> None:
    theirs = model_class(**SMALL, num_classes=5).state_dict()

    ours = TIMM.to_official(theirs)[0]

    assert "layers.0.downsample.norm.weight" in ours
    assert "head.weight" in ours
    assert_same(TIMM.from_official(ours, infer_spec(ours, Geometry())), theirs)


def test_buffers_that_a_file_of_timm_brings_are_dropped(whole_state: Callable, assert_same: Callable) -> None:
    state = whole_state()
    theirs = TIMM.from_official(state, infer_spec(state, Geometry()))
    theirs["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 16, 16)
    theirs["layers.1.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.int64)

    assert_same(TIMM.to_official(theirs)[0], state)


def test_a_file_that_lost_its_first_merging_is_not_taken_for_timm_s(whole_state: Callable) -> None:
    state = whole_state(depths=(1, 1, 1), num_heads=(2, 2, 2), windows=(4, 4, 4))
    damaged = {name: t for name, t in state.items() if not name.startswith("layers.0.downsample.")}

    assert not TIMM.recognises(damaged)
    assert LAYOUTS["official"].recognises(damaged)


def test_a_head_s_module_alone_does_not_make_a_file_timm_s(whole_state: Callable) -> None:
    mixed = {name.replace("head.", "head.fc."): tensor for name, tensor in whole_state().items()}

    assert not TIMM.recognises(mixed)  # its mergings are the official ones: "head.fc." is for the report
