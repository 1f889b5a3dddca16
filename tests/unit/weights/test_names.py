from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from swin_train.weights.layouts import LAYOUTS
from swin_train.weights.layouts.dropped import Dropped
from swin_train.weights.names import plain_names


def names(*keys: str) -> list[str]:
    return list(plain_names({key: torch.zeros(1) for key in keys}).state)


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.encoder.",
        "ema.",
        "ema.module.",
        "module.ema.",
    ],
)
def test_prefixes_of_wrappers_go(prefix: str) -> None:
    assert names(f"{prefix}norm.weight", f"{prefix}head.bias") == ["norm.weight", "head.bias"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("classes", [5, 0])
@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "ema.", "model.", "net.", "network.", "backbone.", "model._orig_mod.backbone."],
)
def test_prefixes_that_all_names_share_go_in_every_layout_and_are_said(
    whole_state: Callable, assert_equal: Callable, layout: str, classes: int, prefix: str, in_layout: Callable
) -> None:
    state = in_layout(whole_state(classes=classes), layout)

    plain = plain_names(prefixed(state, prefix))

    assert plain.layout is LAYOUTS[layout]
    assert plain.state.keys() == state.keys()
    assert_equal(plain.layout.to_official(plain.state)[0], whole_state(classes=classes))
    parts = ", ".join(f"'{part}.'" for part in prefix.split(".")[:-1])
    assert plain.changes == (f"names without {parts}",)


def test_names_that_are_as_they_were_need_no_word(whole_state: Callable, in_layout: Callable) -> None:
    for layout in LAYOUTS:
        assert plain_names(in_layout(whole_state(), layout)).changes == ()


def test_the_maps_of_a_detector_are_read_without_their_holder(
    whole_state: Callable, assert_equal: Callable
) -> None:
    """``StageFeatures`` has no norm and no head."""
    state = {name: tensor for name, tensor in whole_state(classes=0).items() if not name.startswith("norm.")}

    assert_equal(plain_names(prefixed(state, "model.")).state, state)


def test_blocks_compiled_one_by_one_get_their_names_back() -> None:
    plain = plain_names({"layers.0.blocks.1._orig_mod.norm1.weight": torch.zeros(1)})

    assert list(plain.state) == ["layers.0.blocks.1.norm1.weight"]
    assert plain.changes == ("names without '_orig_mod.'",)


def test_the_older_name_of_the_position_bias_is_read_and_said(
    whole_state: Callable, assert_equal: Callable
) -> None:
    state = whole_state("swinv2")

    plain = plain_names({name.replace("cpb_mlp", "rpe_mlp"): tensor for name, tensor in state.items()})

    assert_equal(plain.state, state)
    assert plain.changes == ("rpe_mlp read as cpb_mlp",)


def test_a_weight_under_its_older_and_its_newer_name_is_refused(whole_state: Callable) -> None:
    state = whole_state("swinv2")
    name = "layers.0.blocks.0.attn.cpb_mlp.0.bias"

    with pytest.raises(ValueError, match=rf"and another tensor are both called {name}; expected each weight"):
        plain_names(state | {name.replace("cpb", "rpe"): state[name]})


def test_a_name_that_merely_resembles_the_older_one_is_left(whole_state: Callable) -> None:
    for name in (
        "extra.layers.0.blocks.0.attn.rpe_mlp.0.bias",
        "layers.0.blocks.0.extra.attn.rpe_mlp.0.bias",
    ):
        assert name in plain_names(whole_state("swinv2") | {name: torch.zeros(1)}).state


def test_a_name_that_merely_begins_as_an_average_s_is_left() -> None:
    assert names("ema.norm.weight", "norm.weight") == ["ema.norm.weight", "norm.weight"]


def test_the_counter_of_an_average_is_dropped_and_counted() -> None:
    plain = plain_names({"n_averaged": torch.tensor(7), "module.norm.weight": torch.zeros(1)})

    assert list(plain.state) == ["norm.weight"]
    assert plain.dropped == Dropped(counters=1)


def test_only_the_encoder_of_a_pre_training_is_kept(whole_state: Callable, assert_equal: Callable) -> None:
    encoder = prefixed(whole_state(classes=0), "encoder.")
    others = {k: torch.zeros(1) for k in ("encoder.mask_token", "decoder.0.weight", "decoder.0.bias")}

    plain = plain_names(encoder | others)

    assert plain.layout is LAYOUTS["official"]
    assert_equal(plain.state, whole_state(classes=0))
    assert plain.dropped == Dropped(pretraining=3)
    assert plain.changes == ("names without 'encoder.'",)


def test_a_pre_training_that_a_trainer_held_is_read(whole_state: Callable, assert_equal: Callable) -> None:
    encoder = prefixed(whole_state(classes=0), "model.encoder.")
    others = {k: torch.zeros(1) for k in ("model.encoder.mask_token", "model.decoder.0.weight")}

    plain = plain_names(encoder | others)

    assert_equal(plain.state, whole_state(classes=0))
    assert plain.changes == ("names without 'model.', 'encoder.'",)


@pytest.mark.parametrize("name", ["decoder.layers.0.weight", "mask_token", "decoder.0.bias", "head.weight"])
def test_what_lies_beside_a_pre_training_s_encoder_has_no_reason_to_go(
    loaded: Callable, whole_state: Callable, name: str
) -> None:
    """Of another model, or beside one that is no pre-training's."""
    state = whole_state(classes=0)
    if name in ("head.weight", "decoder.layers.0.weight"):
        state = prefixed(state, "encoder.")

    weights, dropped = loaded(state | {name: torch.zeros(1)})

    assert name in weights
    assert dropped == Dropped()


@pytest.mark.parametrize("kind", ["", "swin."])
def test_the_encoder_of_hugging_face_is_not_taken_for_a_pre_training_s(
    whole_state: Callable, kind: str, in_layout: Callable
) -> None:
    theirs = in_layout(whole_state(classes=0), "huggingface")

    bare = {name.removeprefix("swin."): tensor for name, tensor in theirs.items()}

    plain = plain_names(prefixed(bare, kind))

    assert plain.layout is LAYOUTS["huggingface"]
    assert (plain.state.keys(), plain.dropped) == (theirs.keys() if kind else bare.keys(), Dropped())


def test_the_parts_of_masked_image_modelling_are_counted_in_files_of_hugging_face(
    loaded: Callable, whole_state: Callable, in_layout: Callable
) -> None:
    theirs = in_layout(whole_state(classes=0), "huggingface")
    others = {k: torch.zeros(1) for k in ("swin.embeddings.mask_token", "decoder.0.weight", "decoder.0.bias")}

    weights, dropped = loaded(theirs | others)

    assert weights.keys() == whole_state(classes=0).keys()
    assert dropped == Dropped(pretraining=3)


def test_mmpretrain_is_named() -> None:
    with pytest.raises(ValueError, match=r"is of mmpretrain .* 'w_msa', .* take the same weights from their"):
        names("backbone.stages.0.blocks.0.attn.w_msa.qkv.weight")


def test_stages_as_timm_s_features_call_them_are_read_and_said(
    whole_state: Callable, in_layout: Callable, assert_equal: Callable
) -> None:
    state = in_layout(whole_state(), "timm")
    flat = {name.replace("layers.", "layers_", 1): tensor for name, tensor in state.items()}

    plain, nested = plain_names(flat), plain_names(prefixed(flat, "model."))

    for found in (plain, nested):
        assert_equal(found.state, state)
        assert found.layout.name == "timm"
    assert plain.changes == ("layers_N read as layers.N",)
    assert nested.changes == ("names without 'model.'", "layers_N read as layers.N")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("prefix", ["teacher.", "student.backbone.", "net.visual.trunk."])
def test_an_unknown_prefix_before_all_names_is_named(
    whole_state: Callable, layout: str, prefix: str, in_layout: Callable
) -> None:
    state = prefixed(in_layout(whole_state(), layout), prefix)

    message = (
        rf"^the names of a Swin begin with '{prefix}'; save the weights of the Swin alone, each as "
        rf"name.removeprefix\('{prefix}'\)$"
    )
    with pytest.raises(ValueError, match=message):
        plain_names(state)


@pytest.mark.parametrize("outer", ["", "model.", "module."])
def test_a_prefix_beside_other_parts_is_named(whole_state: Callable, outer: str) -> None:
    state = prefixed(prefixed(whole_state(), "backbone.") | {"neck.conv.weight": torch.zeros(1)}, outer)

    message = (
        rf"of a Swin begin with '{outer}backbone\.', beside others such as {outer}neck.conv.weight; save the"
    )
    with pytest.raises(ValueError, match=message):
        plain_names(state)


def test_names_of_another_model_are_left_for_the_report() -> None:
    resnet = ("conv1.weight", "layer1.0.conv1.weight", "fc.bias")

    assert names(*resnet) == list(resnet)
    assert names(*(f"visual.{name}" for name in resnet)) == [f"visual.{name}" for name in resnet]


def test_two_tensors_of_one_name_are_refused() -> None:
    message = "module.head.bias and another tensor are both called head.bias; expected each weight once"
    with pytest.raises(ValueError, match=message):
        names("head.bias", "module.head.bias")
