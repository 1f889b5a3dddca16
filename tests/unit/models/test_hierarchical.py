"""What holds for every family: at any size, for any batch, captured as a graph, in memory that came empty."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_mlp import SwinMlp
from swin_train.models.swin_v2 import SwinTransformerV2

Family = type[HierarchicalModel]


@pytest.fixture
def make_model(make_model: Callable) -> Callable[..., HierarchicalModel]:
    """Makes the small model with weights that hide nothing, unlike the norms of v2, which start at 0."""

    def make(family: Family, img_size: int | tuple[int, int], **changes: object) -> HierarchicalModel:
        model = make_model(family, img_size=img_size, **changes)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
        return model.eval()

    return make


@pytest.mark.parametrize(
    "img_size", [(16, 16), (16, 24), (20, 26), (21, 13), (9, 40), (2, 2), (1, 1), (3, 33)]
)
def test_a_model_of_any_size_gives_numbers_and_gradients(
    family: Family, img_size: tuple[int, int], make_model: Callable, make_images: Callable
) -> None:
    model = make_model(family, img_size)

    logits = model(make_images(*img_size))
    logits.square().sum().backward()

    assert logits.shape == (2, 5)
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("img_size", [(20, 26), (24, 24), (48, 16)])
def test_a_model_takes_another_size_as_one_built_for_it_does(
    family: Family, img_size: tuple[int, int], make_model: Callable, make_images: Callable
) -> None:
    model = make_model(family, 16)  # its maps hold the window of 4 in both stages, as do those of the others
    built = make_model(family, img_size)
    built.load_state_dict(model.state_dict())

    torch.testing.assert_close(model(make_images(*img_size)), built(make_images(*img_size)), rtol=0, atol=0)


def test_a_smaller_map_takes_the_middle_of_the_bias_table(
    make_model: Callable, make_images: Callable
) -> None:
    model = make_model(SwinTransformer, 16)
    smaller = make_model(SwinTransformer, 8)  # its last stage is 2 x 2: a window of 2
    state = model.state_dict()
    for name, table in state.items():
        if name.startswith("layers.1.") and name.endswith("bias_table"):
            state[name] = table.view(7, 7, -1)[2:5, 2:5].reshape(9, -1)
    smaller.load_state_dict(state)

    torch.testing.assert_close(model(make_images(8, 8)), smaller(make_images(8, 8)))


def test_the_shift_comes_back_where_a_larger_map_has_room_for_it(
    family: Family, make_model: Callable, make_images: Callable
) -> None:
    one_stage = {"depths": (2,), "num_heads": (2,)}
    model = make_model(family, 8, **one_stage)
    built = make_model(family, 24, **one_stage)
    built.load_state_dict(model.state_dict())
    assert (model.layers[0].blocks[1].place.shift, built.layers[0].blocks[1].place.shift) == (0, 2)

    torch.testing.assert_close(model(make_images(24, 24)), built(make_images(24, 24)), rtol=0, atol=0)


@pytest.mark.parametrize("family", [SwinTransformer, SwinTransformerV2])
def test_the_kinds_of_padding_differ_where_there_is_any_and_only_there(
    family: Family, make_model: Callable, make_images: Callable
) -> None:
    def logits(padding: str, side: int) -> Tensor:
        return make_model(family, side, padding=padding)(make_images(side, side))

    ways = [logits(padding, 20) for padding in ("reference", "timm", "masked")]
    assert not any(
        torch.allclose(a, b) for a, b in ((ways[0], ways[1]), (ways[0], ways[2]), (ways[1], ways[2]))
    )
    for padding in ("timm", "masked"):
        torch.testing.assert_close(logits(padding, 16), logits("reference", 16), rtol=0, atol=0)


def test_absolute_positions_are_interpolated_at_another_size(
    make_model: Callable, make_images: Callable
) -> None:
    model = make_model(SwinTransformer, 16, ape=True)
    with torch.no_grad():
        model.absolute_pos_embed.fill_(2.0)  # interpolation keeps what is the same everywhere
    built = make_model(SwinTransformer, (20, 26), ape=True)
    built.load_state_dict({**model.state_dict(), "absolute_pos_embed": torch.full((1, 130, 8), 2.0)})

    torch.testing.assert_close(model(make_images(20, 26)), built(make_images(20, 26)))


def test_images_are_padded_with_zeros_to_whole_patches(make_model: Callable, make_images: Callable) -> None:
    model = make_model(SwinTransformer, 16)
    images = make_images(15, 13)
    padded = torch.nn.functional.pad(images, (0, 1, 0, 1))

    torch.testing.assert_close(model(images), model(padded), rtol=0, atol=0)


def test_stage_maps_are_those_that_the_features_are_made_of(
    family: Family, make_model: Callable, make_images: Callable
) -> None:
    model = make_model(family, 16)

    maps = model.forward_maps(make_images(20, 26))

    assert [tuple(m.shape) for m in maps] == [(2, 10, 13, 8), (2, 5, 7, 16)]
    features = model.norm(maps[-1]).mean(dim=(1, 2))
    torch.testing.assert_close(features, model.forward_features(make_images(20, 26)), rtol=0, atol=0)


def export(model: nn.Module, images: Tensor) -> nn.Module:
    batch = torch.export.Dim.DYNAMIC
    return torch.export.export(model, (images,), dynamic_shapes=({0: batch},), strict=False).module()


@pytest.mark.filterwarnings("ignore")  # tracing is deprecated, and warns of every shape that is read
@pytest.mark.parametrize("capture", [export, torch.jit.trace])
def test_a_captured_model_takes_another_number_of_images(
    family: Family, capture: Callable, make_model: Callable, make_images: Callable
) -> None:
    model, images = make_model(family, (20, 26)), make_images(20, 26, count=5)

    captured = capture(model, make_images(20, 26, count=2))

    torch.testing.assert_close(captured(images), model(images))


def test_no_images_have_no_logits(family: Family, make_model: Callable, make_images: Callable) -> None:
    assert make_model(family, (20, 26))(make_images(20, 26, count=0)).shape == (0, 5)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_model_in_empty_memory_needs_nothing_but_its_weights(
    family: Family, device: str, monkeypatch: pytest.MonkeyPatch, make_model: Callable, make_images: Callable
) -> None:
    monkeypatch.setattr(torch, "empty_like", torch.zeros_like)  # empty memory may hold the right values
    model, images = make_model(family, (20, 26)), make_images(20, 26)
    with torch.device(device):
        other = make_model(family, (20, 26))

    nn.Sequential(other).to_empty(device="cpu")
    other.load_state_dict(model.state_dict())

    torch.testing.assert_close(other(images), model(images), rtol=0, atol=0)


def test_what_is_computed_keeps_its_type_in_empty_memory(make_model: Callable) -> None:
    with torch.device("meta"):
        model = make_model(SwinTransformerV2, 16).half()

    attention = model.to_empty(device="cpu").layers[0].blocks[1].mixer

    assert attention.relative_coords_table.dtype == attention.attn_mask.dtype == torch.float16
    assert attention.relative_position_index.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_is_computed_is_exact_again_after_a_cast(
    family: Family, dtype: torch.dtype, make_model: Callable, make_images: Callable
) -> None:
    model, images = make_model(family, (20, 26)), make_images(20, 26)
    weights, expected = {name: t.clone() for name, t in model.state_dict().items()}, model(images)

    model.to(dtype).float().load_state_dict(weights)

    torch.testing.assert_close(model(images), expected, rtol=0, atol=0)


def test_a_model_is_built_and_run_where_tensors_hold_no_values(family: Family, make_model: Callable) -> None:
    with FakeTensorMode(), torch.device("meta"):
        assert make_model(family, (20, 26))(torch.empty(2, 3, 20, 26)).shape == (2, 5)


def test_the_state_dict_holds_parameters_only(family: Family, make_model: Callable) -> None:
    model = make_model(family, 16, ape=True)

    assert list(model.state_dict()) == [name for name, _ in model.named_parameters()]
    assert model.state_dict()["absolute_pos_embed"].shape == (1, 64, 8)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("family", [SwinTransformer, SwinTransformerV2])
def test_the_residual_stream_is_as_narrow_as_asked_for(
    family: Callable, narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without, Swin has it in 16 bits from the second stage on, as the reference, and Swin V2 nowhere."""
    norm = nn.LayerNorm.forward  # gives float32 under CUDA's autocast
    monkeypatch.setattr(nn.LayerNorm, "forward", lambda self, x: norm(self, x.float()))
    sizes = {"depths": (1, 1), "num_heads": (1, 2), "embed_dim": 8, "window_size": 4, "num_classes": 5}
    model = family(32, 4, narrow_residual=narrow, **sizes)
    dtypes: list[torch.dtype] = []
    for stage in model.layers:
        stage.blocks[0].register_forward_hook(
            lambda block, given, out: dtypes.extend([given[0].dtype, out.dtype])
        )

    with torch.autocast("cpu", torch.bfloat16):
        out = model(torch.randn(2, 3, 32, 32))
    out.float().sum().backward()

    wide, half = [torch.float32] * 2, [torch.bfloat16] * 2
    usual = wide + half if family is SwinTransformer else wide + wide
    assert dtypes == (half + half if narrow else usual)
    assert model(torch.randn(2, 3, 32, 32)).dtype == torch.float32  # without autocast nothing changes


@pytest.mark.parametrize("family", [SwinTransformer, SwinTransformerV2, SwinMlp])
def test_stochastic_depth_on_the_kept_samples_alone_trains(family: Callable) -> None:
    sizes = {"depths": (2, 2), "num_heads": (1, 2), "embed_dim": 8, "window_size": 4, "num_classes": 5}
    model = family(32, 4, drop_path_rate=0.5, drop_path_mode="kept", **sizes).train()
    images, keys = torch.randn(4, 3, 32, 32), torch.arange(4)
    sizes_of_batches: list[int] = []
    for stage in model.layers:
        for block in stage.blocks:
            block.mlp.register_forward_hook(lambda mlp, given, out: sizes_of_batches.append(len(given[0])))

    out = model(images, keys)
    out.square().sum().backward()

    assert sizes_of_batches == [4, 3, 2, 2]  # of 4: at 0, 1/6, 1/3 and 1/2
    assert torch.equal(model(images, keys), out)
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert torch.equal(model.eval()(images, keys), model(images))
