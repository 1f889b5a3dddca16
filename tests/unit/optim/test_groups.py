import pytest
import torch
from torch import nn

from swin_train.models.swin import SwinTransformer
from swin_train.optim import parameter_groups


def make_model(**changes: object) -> SwinTransformer:
    sizes = {"embed_dim": 8, "depths": (2, 1), "num_heads": (2, 4), "window_size": 2, "num_classes": 5}
    return SwinTransformer(**{"img_size": 8, "patch_size": 2, **sizes, **changes})


def test_every_trainable_parameter_is_in_one_group() -> None:
    model = make_model(ape=True)

    for layer_decay in (1.0, 0.5):
        groups = parameter_groups(model, 0.05, layer_decay)
        found = [id(p) for group in groups for p in group["params"]]
        assert sorted(found) == sorted(id(p) for p in model.parameters())
        names = dict(model.named_parameters())
        assert all(names[n] is p for g in groups for n, p in zip(g["names"], g["params"], strict=True))


def test_positions_biases_and_vectors_do_not_decay() -> None:
    decay, no_decay = parameter_groups(make_model(ape=True), 0.05)

    assert "absolute_pos_embed" in no_decay["names"]
    assert all(parameter.ndim > 1 for parameter in decay["params"])
    assert not any(name.endswith("relative_position_bias_table") for name in decay["names"])
    assert (decay["weight_decay"], no_decay["weight_decay"]) == (0.05, 0.0)


def test_frozen_parameters_are_in_no_group() -> None:
    model = make_model()
    model.freeze_all_but_head()

    groups = parameter_groups(model, 0.05)

    assert [group["names"] for group in groups] == [["head.weight"], ["head.bias"]]


def test_groups_that_would_be_empty_are_left_out() -> None:
    groups = parameter_groups(nn.LayerNorm(3), 0.05)

    assert [group["name"] for group in groups] == ["no_decay"]


def test_a_model_that_is_all_frozen_is_refused() -> None:
    with pytest.raises(ValueError, match="no parameter of the model requires a gradient"):
        parameter_groups(nn.Linear(1, 1).requires_grad_(False), 0.05)


def test_layer_decay_slows_each_layer_by_its_depth() -> None:
    groups = parameter_groups(make_model(ape=True), 0.05, layer_decay=0.5)

    scale = {name: group["lr_scale"] for group in groups for name in group["names"]}
    assert scale["patch_embed.proj.weight"] == 0.5**4
    assert scale["layers.0.blocks.0.norm1.weight"] == 0.5**3
    assert scale["layers.0.blocks.1.norm1.weight"] == 0.5**2
    assert scale["layers.0.downsample.reduction.weight"] == 0.5**2
    assert scale["layers.1.blocks.0.mlp.fc1.weight"] == 0.5
    assert scale["head.weight"] == scale["norm.bias"] == scale["absolute_pos_embed"] == 1.0
    decays = {group["name"]: group["weight_decay"] for group in groups}
    assert decays["layer_0_decay"] == 0.05
    assert decays["layer_0_no_decay"] == 0.0


def test_layer_decay_of_swin_base_has_the_reference_s_52_groups() -> None:
    with torch.device("meta"):
        model = SwinTransformer(embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32))

    groups = parameter_groups(model, 0.05, layer_decay=0.75)

    assert len(groups) == 52
    assert min(group["lr_scale"] for group in groups) == pytest.approx(0.75**25)


def test_layer_decay_counts_frozen_layers_too() -> None:
    model = make_model()
    model.freeze_stages(1)

    groups = parameter_groups(model, 0.05, layer_decay=0.5)

    assert {group["lr_scale"] for group in groups} == {0.5, 1.0}
