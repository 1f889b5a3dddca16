from collections.abc import Callable

import pytest
import torch
import torchvision

from swin_train.weights.geometry import Geometry, read_geometry
from swin_train.weights.layouts import LAYOUTS, infer_spec

TORCHVISION = LAYOUTS["torchvision"]


@pytest.mark.parametrize(("family", "window", "name"), [("swin", 7, "swin_t"), ("swinv2", 8, "swin_v2_t")])
def test_names_and_shapes_are_those_of_torchvision_s_models(
    whole_state: Callable, swin_t: dict, family: str, window: int, name: str
) -> None:
    state = whole_state(family, **swin_t, windows=(window,) * 4)
    with torch.device("meta"):
        model = getattr(torchvision.models, name)()

    converted = TORCHVISION.from_official(
        state, infer_spec(state, Geometry((window,) * 4, (0,) * 4, (32 * window, 32 * window)))
    )

    model.load_state_dict(converted, assign=True)  # strict
    assert all(torch.equal(tensor, converted[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("family", ["swin", "swinv2"])
@pytest.mark.parametrize("window", [2, 3, 4, 7, 8, 12, 16, 24])
def test_buffers_are_written_to_the_bit_as_torchvision_computes_them(
    whole_state: Callable, peer_model: Callable, family: str, window: int
) -> None:
    state = whole_state(family, windows=(window, window))

    written = TORCHVISION.from_official(state, infer_spec(state, Geometry((window, window), (0, 0))))

    theirs = peer_model("torchvision", family, window_size=window)
    buffers = {name: buffer for name, buffer in theirs.named_buffers() if "relative" in name}
    assert len(buffers) == (6 if family == "swinv2" else 3)
    for name, buffer in buffers.items():
        torch.testing.assert_close(written[name], buffer, rtol=0, atol=0)


@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_a_model_of_torchvision_comes_back_from_ours(
    assert_equal: Callable, peer_model: Callable, family: str
) -> None:
    theirs = peer_model("torchvision", family).state_dict()
    for name in [name for name in theirs if name.endswith("qkv.bias")]:
        query, key, value = theirs[name].chunk(3)
        query.fill_(1.0)
        key.fill_(0.0 if family == "swinv2" else 2.0)
        value.fill_(3.0)

    ours = TORCHVISION.to_official(theirs)[0]
    back = TORCHVISION.from_official(ours, infer_spec(ours, Geometry((4, 4), (0, 0))))

    assert_equal(back, theirs)


def test_the_key_bias_of_swin_v2_goes_and_that_of_v1_stays(peer_model: Callable) -> None:
    for family, kept in (("swin", ["qkv.bias"]), ("swinv2", ["q_bias", "v_bias"])):
        theirs = peer_model("torchvision", family).state_dict()
        bias = theirs["features.1.1.attn.qkv.bias"].copy_(torch.arange(24.0))

        ours = TORCHVISION.to_official(theirs)[0]

        expected = [bias] if family == "swin" else [bias[:8], bias[16:]]
        found = [ours[f"layers.0.blocks.1.attn.{name}"] for name in kept]
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
        assert "layers.0.blocks.1.attn.k_bias" not in ours


@pytest.mark.parametrize("shape", [(7,), (), (3, 8)])
def test_a_bias_that_has_no_three_parts_is_refused(peer_model: Callable, shape: tuple[int, ...]) -> None:
    theirs = peer_model("torchvision", "swinv2").state_dict() | {
        "features.1.0.attn.qkv.bias": torch.zeros(shape)
    }

    with pytest.raises(
        ValueError, match=r"layers.0.blocks.0.attn.qkv.bias has the shape .*; expected three parts"
    ):
        TORCHVISION.to_official(theirs)


def test_the_buffers_of_a_file_tell_the_windows(peer_model: Callable) -> None:
    theirs = peer_model("torchvision", "swinv2").state_dict()
    named = {TORCHVISION.official_name(name): tensor for name, tensor in theirs.items()}

    assert read_geometry(named, {}) == Geometry((4, 4), (0, 0))
