from collections.abc import Callable

import pytest
import timm
import torch

from swin_train.weights.geometry import Geometry
from swin_train.weights.layouts import LAYOUTS, infer_spec

TIMM = LAYOUTS["timm"]


@pytest.mark.parametrize(
    ("family", "window", "name"),
    [("swin", 7, "swin_tiny_patch4_window7_224"), ("swinv2", 8, "swinv2_tiny_window8_256")],
)
@pytest.mark.parametrize("classes", [1000, 0])
def test_names_and_shapes_are_those_of_timm_s_models(
    whole_state: Callable, swin_t: dict, family: str, window: int, name: str, classes: int
) -> None:
    state = whole_state(family, **swin_t | {"windows": (window,) * 4, "classes": classes})
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=classes)

    converted = TIMM.from_official(state, infer_spec(state, Geometry()))

    model.load_state_dict(converted, assign=True)  # strict
    assert TIMM.recognises(model.state_dict())
    assert all(torch.equal(tensor, converted[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_a_model_of_timm_comes_back_from_ours(
    assert_equal: Callable, peer_model: Callable, family: str
) -> None:
    theirs = peer_model("timm", family).state_dict()

    ours = TIMM.to_official(theirs)[0]

    assert "layers.0.downsample.norm.weight" in ours
    assert "head.weight" in ours
    assert_equal(TIMM.from_official(ours, infer_spec(ours, Geometry())), theirs)


def test_buffers_that_a_file_of_timm_brings_are_dropped(
    whole_state: Callable, assert_equal: Callable
) -> None:
    state = whole_state()
    theirs = TIMM.from_official(state, infer_spec(state, Geometry()))
    theirs["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 16, 16)
    theirs["layers.1.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.int64)

    assert_equal(TIMM.to_official(theirs)[0], state)


def test_a_file_that_lost_its_first_merging_is_not_taken_for_timm_s(whole_state: Callable) -> None:
    state = whole_state(depths=(1, 1, 1), num_heads=(2, 2, 2), windows=(4, 4, 4))
    damaged = {name: t for name, t in state.items() if not name.startswith("layers.0.downsample.")}

    assert not TIMM.recognises(damaged)
    assert LAYOUTS["official"].recognises(damaged)


def test_a_head_s_module_alone_does_not_make_a_file_timm_s(whole_state: Callable) -> None:
    mixed = {name.replace("head.", "head.fc."): tensor for name, tensor in whole_state().items()}

    assert not TIMM.recognises(mixed)  # its mergings are the official ones: "head.fc." is for the report
