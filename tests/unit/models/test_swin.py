import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.mark.parametrize(
    "variant",
    [
        {"ape": True},
        {"qkv_bias": False},
        {"qk_scale": 0.1},
        {"patch_norm": False},
        {"drop_rate": 0.1, "attn_drop_rate": 0.1},
        {"embed_dim": 24, "num_heads": (3, 6), "depths": (1, 3), "mlp_ratio": 1.5},
        {"window_size": 8},
    ],
)
def test_every_variant_trains(variant: dict, make_model: Callable, make_images: Callable) -> None:
    model = make_model(**variant)

    model(make_images()).square().sum().backward()

    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_rectangular_images_and_other_channels_work(make_model: Callable, make_images: Callable) -> None:
    model = make_model(img_size=(8, 16), in_chans=1)

    assert model(make_images(8, 16, channels=1)).shape == (2, 5)


def test_without_classes_the_model_gives_features(make_model: Callable, make_images: Callable) -> None:
    model = make_model(num_classes=0)

    assert model(make_images()).shape == (2, 16)
    assert not any(name.startswith("head") for name in model.state_dict())


def test_initial_weights_are_the_paper_s(make_model: Callable) -> None:
    model = make_model(embed_dim=64, num_heads=(2, 4), window_size=8, ape=True)

    linear = model.layers[0].blocks[0].mlp.fc1
    table = model.layers[0].blocks[0].attn.relative_position_bias_table
    for weight in (linear.weight, table, model.absolute_pos_embed, model.head.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.15)  # 450 values in the smallest
    assert not linear.bias.any()
    assert (model.norm.weight == 1).all()
    assert not model.norm.bias.any()


def test_drop_path_follows_each_sample_s_key_not_its_place(
    make_model: Callable, make_images: Callable
) -> None:
    model = make_model(drop_path_rate=0.9)
    images, keys = make_images(count=6), torch.arange(6) * 1_000_003
    order = torch.tensor([3, 0, 5, 1, 4, 2])

    out = model(images, keys)
    permuted = model(images[order], keys[order])
    alone = model(images[2:3], keys[2:3])

    torch.testing.assert_close(permuted, out[order])
    torch.testing.assert_close(alone, out[2:3])
    assert not torch.allclose(model(images, keys + 1), out)


def test_each_branch_has_its_own_draw_in_forward_order(make_model: Callable, make_images: Callable) -> None:
    model = make_model(drop_path_rate=0.3)

    received: list[torch.Tensor | None] = []
    for block in (block for stage in model.layers for block in stage.blocks):
        block.register_forward_pre_hook(lambda block, given: received.extend(given[1]))
    keys = torch.arange(2)

    model.train()(make_images(), keys)

    depth = model.stochastic_depth
    assert depth.probabilities == pytest.approx([0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
    assert depth.layers.flatten().tolist() == list(range(8))
    assert received[:2] == [None, None]
    torch.testing.assert_close(received[2:], depth(2, keys)[2:])


def test_evaluation_drops_nothing(make_model: Callable, make_images: Callable) -> None:
    model = make_model(drop_path_rate=0.9).eval()
    images = make_images()

    assert torch.equal(model(images, torch.arange(2)), model(images))


@pytest.mark.parametrize("num_stages", [1, 2])
def test_frozen_stages_keep_their_weights_and_stay_in_evaluation(
    num_stages: int, make_model: Callable
) -> None:
    model = make_model(drop_path_rate=0.5, ape=True)

    model.freeze_stages(num_stages)
    model.eval().train()

    frozen = ("patch_embed.", "absolute_pos_embed", *(f"layers.{i}." for i in range(num_stages)))
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != name.startswith(frozen), name
    assert [stage.training for stage in model.layers] == [i >= num_stages for i in range(2)]
    assert not model.patch_embed.training
    assert model.training
    assert model.head.training


def test_freezing_all_but_the_head_leaves_the_head(make_model: Callable) -> None:
    model = make_model()

    model.freeze_all_but_head()

    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    assert [m for m in model.children() if m.training] == [model.head]


def test_a_copy_of_a_frozen_model_is_frozen_by_itself(make_model: Callable) -> None:
    model = make_model()
    model.freeze_all_but_head()

    twin = copy.deepcopy(model).train()

    assert not twin.layers[0].training
    assert twin._frozen[0] is twin.patch_embed


def test_freezing_again_trains_what_is_no_longer_frozen(make_model: Callable) -> None:
    model, fresh = make_model(), make_model()
    model.freeze_all_but_head()
    model.freeze_stages(2)

    for each in (model, fresh):
        each.freeze_stages(1)

    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in fresh.parameters()]
    assert [m.training for m in model.modules()] == [m.training for m in fresh.modules()]


@pytest.mark.parametrize("num_stages", [0, 3, True, 1.0])
def test_freezing_stages_that_do_not_exist_is_refused(num_stages: object, make_model: Callable) -> None:
    message = rf"cannot freeze {num_stages} stages; expected a whole number, 1\.\.2"
    with pytest.raises(ValueError, match=message):
        make_model().freeze_stages(num_stages)


def test_freezing_all_but_a_missing_head_is_refused(make_model: Callable) -> None:
    with pytest.raises(ValueError, match="the model has no head"):
        make_model(num_classes=0).freeze_all_but_head()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"img_size": 0}, r"img_size \(0, 0\) holds no pixels"),
        ({"num_heads": (2,)}, r"depths \[2, 2\] and num_heads \[2\] must hold one positive number for each"),
        (
            {"depths": (2, 0)},
            r"depths \[2, 0\] and num_heads \[2, 4\] must hold one positive number for each",
        ),
        ({"num_heads": (2, 3)}, "stage 1 has 16 channels, no multiple of 3 heads"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: dict, message: str, make_model: Callable) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(**sizes)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 0, 16), (16, 16)])
def test_images_of_other_channels_or_none_are_refused_naming_both(
    shape: tuple[int, ...], make_model: Callable
) -> None:
    with pytest.raises(ValueError, match=r"shape \(2, .*the model takes \[batch, 3, height, width\]"):
        make_model()(torch.zeros(2, *shape))


@pytest.mark.parametrize("keys", [torch.arange(3), torch.zeros(2)])
def test_keys_of_another_shape_or_type_are_refused(
    keys: torch.Tensor, make_model: Callable, make_images: Callable
) -> None:
    with pytest.raises(ValueError, match=r"expected torch.int64 \(2,\), one key per image"):
        make_model()(make_images(), keys)


def test_norm_layer_replaces_every_norm(make_model: Callable) -> None:
    class Norm(nn.LayerNorm):
        pass

    model = make_model(norm_layer=Norm)

    assert {type(m) for m in model.modules() if isinstance(m, nn.LayerNorm)} == {Norm}
