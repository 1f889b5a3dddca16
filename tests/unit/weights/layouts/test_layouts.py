"""What holds for every layout: it is recognised, and each value comes back from it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from swin_train.weights.geometry import Geometry
from swin_train.weights.layouts import LAYOUTS, infer_spec, recognise
from swin_train.weights.layouts.dropped import Dropped

SIZES = {"num_patches": 64, "patch_norm": False, "qkv_bias": False, "in_chans": 1}  # what not all can say
GEOMETRY = Geometry((4, 4), (0, 0))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", ["swin", "swinv2"])
@pytest.mark.parametrize("sizes", [{}, {"classes": 0}, {"depths": (1, 1, 3), "num_heads": (2, 4, 4)}])
def test_weights_go_to_each_layout_and_come_back_to_the_bit(
    whole_state: Callable, assert_equal: Callable, layout: str, family: str, sizes: dict
) -> None:
    windows = (4,) * len(sizes.get("depths", (2, 1)))
    state = whole_state(family, windows=windows, **sizes)

    there = LAYOUTS[layout].from_official(state, infer_spec(state, Geometry(windows, (0,) * len(windows))))

    assert recognise(there) is LAYOUTS[layout]
    assert_equal(LAYOUTS[layout].to_official(there)[0], state)


def test_the_official_layout_says_all_that_a_swin_has(whole_state: Callable, assert_equal: Callable) -> None:
    for family in ("swin", "swinv2", "swin_mlp"):
        state = whole_state(family, **SIZES)

        there = LAYOUTS["official"].from_official(state, infer_spec(state, GEOMETRY))

        assert recognise(there) is LAYOUTS["official"]
        assert_equal(LAYOUTS["official"].to_official(there)[0], state)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_of_one_stage_comes_back_too(
    whole_state: Callable, assert_equal: Callable, layout: str
) -> None:
    state = whole_state(depths=(2,), num_heads=(2,), windows=(4,))

    there = LAYOUTS[layout].from_official(state, infer_spec(state, Geometry((4,))))

    assert recognise(there) is LAYOUTS[layout]
    assert_equal(LAYOUTS[layout].to_official(there)[0], state)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["conv1.weight", "layer1.0.conv1.weight", "fc.bias"],  # ResNet
        ["patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "norm.weight", "head.weight"],  # ViT
        ["features.0.0.weight", "features.1.block.0.weight"],  # other models of torchvision
        ["encoder.layer.0.attention.self.query.weight"],  # other models of Hugging Face
        ["encoder.layers.0.blocks.0.attn.qkv.weight"],  # SimMIM, with its prefix
        ["encoder.layers.0.blocks.0.swin.attention.weight"],
    ],
)
def test_other_models_are_of_no_layout(names: list[str]) -> None:
    assert recognise(names) is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_weight_that_is_missing_or_unknown_is_named(whole_state: Callable, layout: str) -> None:
    state = whole_state()
    spec = infer_spec(state, GEOMETRY)
    del state["layers.1.blocks.0.norm1.bias"]

    message = (
        r"is not a whole Swin of depths \[2, 1\]; expected each weight. Missing: layers.1.blocks.0.norm1.bias. "
        r"Unknown: stray.0, .*, stray.9 and 1 more$"
    )
    with pytest.raises(ValueError, match=message):
        LAYOUTS[layout].from_official(state | {f"stray.{i}": torch.zeros(1) for i in range(11)}, spec)


def test_a_family_whose_names_are_not_written_down_is_not_let_through(whole_state: Callable) -> None:
    state = whole_state()

    with pytest.raises(KeyError, match="swinv3"):
        LAYOUTS["official"].from_official(state, replace(infer_spec(state, GEOMETRY), family="swinv3"))


def test_a_file_that_is_no_swin_has_no_spec(whole_state: Callable) -> None:
    with pytest.raises(
        ValueError, match=r"is not the weights of a Swin; expected patch_embed.proj.weight and"
    ):
        infer_spec({"fc.weight": torch.zeros(1)}, GEOMETRY)
    with pytest.raises(ValueError, match="is not the weights of a Swin"):
        infer_spec({n: t for n, t in whole_state().items() if not n.startswith("patch")}, GEOMETRY)


def test_the_spec_is_read_off_weights_and_what_the_file_told(whole_state: Callable) -> None:
    spec = infer_spec(whole_state(**SIZES), Geometry((4, 2), None, (17, 32)))

    assert (spec.family, spec.embed_dim, spec.depths, spec.num_heads) == ("swin", 8, (2, 1), (2, 4))
    assert (spec.patch_size, spec.in_chans, spec.num_classes) == (2, 1, 5)
    assert (spec.ape, spec.patch_norm, spec.windows) == (True, False, (4, 2))
    assert spec.maps == ((9, 16), (5, 8))
    assert infer_spec(whole_state(classes=0), GEOMETRY).num_classes == 0
    assert infer_spec(whole_state(), GEOMETRY).maps is None


def test_files_of_the_authors_may_bring_buffers(whole_state: Callable, assert_equal: Callable) -> None:
    state = whole_state("swinv2")
    buffers = {
        f"layers.0.blocks.1.{name}": torch.zeros(1)
        for name in ("attn_mask", "attn.relative_position_index", "attn.relative_coords_table")
    }

    weights, dropped = LAYOUTS["official"].to_official(state | buffers)

    assert_equal(weights, state)
    assert dropped == Dropped(buffers=3)


def test_a_mixture_of_experts_stays_in_the_official_layout(
    whole_state: Callable, assert_equal: Callable
) -> None:
    state = whole_state() | {"layers.1.blocks.0.mlp._moe_layer.experts.batched_fc1_w": torch.zeros(1)}
    spec = infer_spec(state, GEOMETRY)

    assert_equal(LAYOUTS["official"].from_official(state, spec), state)
    for peer in ("timm", "torchvision", "huggingface"):
        with pytest.raises(ValueError, match=f"{peer} has no Swin-MoE; keep the official layout"):
            LAYOUTS[peer].from_official(state, spec)


def test_each_layout_says_how_its_library_pads() -> None:
    assert {name: layout.padding for name, layout in LAYOUTS.items()} == {
        "official": None,
        "timm": "timm",
        "torchvision": "reference",
        "huggingface": "reference",
    }


@pytest.mark.parametrize("family", ["swin", "swinv2"])
@pytest.mark.parametrize(
    ("layout", "stray", "published"),
    [
        ("torchvision", "features.1.0.attn.qkv.bias_extra", "layers.0.blocks.0.attn.qkv.bias_extra"),
        ("torchvision", "features.1.0.extra.attn.qkv.bias", "features.1.0.extra.attn.qkv.bias"),
        ("torchvision", "features.2.0.norm1.bias", "features.2.0.norm1.bias"),  # even: a merging
        ("torchvision", "features.3.norm.bias", "features.3.norm.bias"),  # odd: blocks
        ("torchvision", "features.0.norm.bias", "features.0.norm.bias"),
        ("timm", "extra.head.fc.bias", "extra.head.fc.bias"),
        ("huggingface", "extra.swin.layernorm.bias", "extra.swin.layernorm.bias"),
        (
            "huggingface",
            "swin.encoder.layers.0.blocks.0.attention.self.query.weight.extra",
            "layers.0.blocks.0.attn.query.weight.extra",
        ),
        ("huggingface", "encoder.extra.attn.query.weight", "encoder.extra.attn.query.weight"),
    ],
)
def test_a_name_that_merely_resembles_one_of_the_layout_stays_for_the_report(
    whole_state: Callable,
    assert_equal: Callable,
    in_layout: Callable,
    family: str,
    layout: str,
    stray: str,
    published: str,
) -> None:
    state, extra = whole_state(family), torch.zeros(24)

    found, _ = LAYOUTS[layout].to_official(in_layout(state, layout) | {stray: extra})

    assert_equal(found, state | {published: extra})


@pytest.mark.parametrize(
    ("layout", "stray"),
    [
        ("torchvision", "features.1.0.attn.q_bias"),
        ("torchvision", "features.1.0.attn.v_bias"),
        ("huggingface", "swinv2.encoder.layers.0.blocks.0.attention.self.v_bias"),
        ("huggingface", "swinv2.encoder.layers.0.blocks.0.attention.self.qkv.weight"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_weight_that_is_there_beside_its_parts_is_refused(
    whole_state: Callable, in_layout: Callable, layout: str, stray: str, is_first: bool
) -> None:
    theirs, extra = in_layout(whole_state("swinv2"), layout), {stray: torch.zeros(8)}

    with pytest.raises(ValueError, match=r"and another tensor are both called layers.0.blocks.0.attn\."):
        LAYOUTS[layout].to_official(extra | theirs if is_first else theirs | extra)
