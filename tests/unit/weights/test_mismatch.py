import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from swin_train.errors import UserError
from swin_train.weights.geometry import Geometry
from swin_train.weights.mismatch import check_same_architecture, check_same_classes, check_same_computation

TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"


def test_another_kind_of_model_is_refused(small_state: Callable) -> None:
    names = ("conv1.weight", "layer1.0.conv1.weight", "layer1.1.conv1.weight", "layer2.0.bn1.bias", "fc.bias")
    resnet = {name: torch.zeros(1) for name in names}

    message = (
        r"^w.pth: holds another kind of model, not a Swin; its names begin with conv1, layer1, layer2, fc$"
    )
    with pytest.raises(UserError, match=message):
        check_same_architecture(resnet, small_state(), "w.pth")


@pytest.mark.parametrize(
    ("name", "tensor", "problem", "file", "model"),
    [
        (
            "patch_embed.proj.weight",
            torch.zeros(8, 1, 2, 2),
            r"has in_chans 1, the model 3 \(channels are not adapted: set IN_CHANS to 1\)",
            "in_chans 1",
            "in_chans 3",
        ),
        (
            "patch_embed.proj.weight",
            torch.zeros(16, 3, 2, 2),
            "has embed_dim 16, the model 8",
            "embed_dim 16",
            "embed_dim 8",
        ),
        (
            "patch_embed.proj.weight",
            torch.zeros(8, 3, 4, 4),
            "has patch_size 4, the model 2",
            "patch_size 4",
            "patch_size 2",
        ),
        (
            TABLE,
            torch.zeros(9, 4),
            r"has heads \[4\], the model \[2\]",
            r"num_heads \[4\]",
            r"num_heads \[2\]",
        ),
        (
            "layers.0.blocks.17.norm1.bias",
            torch.zeros(8),
            "has 18 blocks in stage 0, the model 1",
            r"depths \[18\]",
            r"depths \[1\]",
        ),
        (
            "layers.1.blocks.0.norm1.bias",
            torch.zeros(8),
            "has 2 stages, the model 1",
            r"depths \[1, 1\]",
            r"depths \[1\]",
        ),
    ],
)
def test_another_architecture_is_refused_saying_in_what_and_naming_both(
    name: str, tensor: Tensor, problem: str, file: str, model: str, small_state: Callable
) -> None:
    message = (
        rf"w.pth: is of another architecture: {problem}. "
        rf"The file: Swin v1, .*{file}.* The model: Swin v1, .*{model}"
    )
    with pytest.raises(UserError, match=message):
        check_same_architecture(small_state() | {name: tensor}, small_state(), "w.pth")


def test_all_that_differs_is_said_in_one_message(whole_state: Callable) -> None:
    base = whole_state(embed_dim=16, depths=(2, 3), num_heads=(4, 8))

    message = (
        r"architecture: has embed_dim 16, the model 8; has 3 blocks in stage 1, the model 1; "
        r"has heads \[4, 8\], the model \[2, 4\]. The file"
    )
    with pytest.raises(UserError, match=message):
        check_same_architecture(base, whole_state(), "w.pth")


@pytest.mark.parametrize(
    ("file", "model", "words"),
    [
        ("swinv2", "swin", "is a Swin v2, the model a Swin v1"),
        ("swin", "swin_mlp", "is a Swin v1, the model a Swin-MLP"),
        ("swin_mlp", "swinv2", "is a Swin-MLP, the model a Swin v2"),
    ],
)
def test_another_family_is_refused_by_its_name(
    whole_state: Callable, file: str, model: str, words: str
) -> None:
    message = (
        rf"w.pth: is of another architecture: {words}\. The file: Swin.* embed_dim 16, .* The model: Swin"
    )
    with pytest.raises(UserError, match=message):
        check_same_architecture(whole_state(file, embed_dim=16), whole_state(model), "w.pth")


def test_the_spatial_weights_of_another_window_are_refused(whole_state: Callable) -> None:
    message = (
        r"w.pth: has windows \[4, 2\], the model \[4, 4\], and a Swin-MLP's spatial weights cannot be interpolated; "
        r"set MODEL.SWIN_MLP.WINDOW_SIZE to 4, and DATA.IMG_SIZE so that maps give the windows of the file"
    )
    with pytest.raises(UserError, match=message):
        check_same_architecture(whole_state("swin_mlp", windows=(4, 2)), whole_state("swin_mlp"), "w.pth")


def test_windows_that_are_each_stage_s_own_are_refused_with_the_reason() -> None:
    message = (
        r"^w.pth: each stage has a window of its own, \[4, 4, 8, 4\]; the model's are of one size, bounded by maps "
        r"alone, \[8, 8, 8, 4\]; fine-tune with --pretrained$"
    )
    with pytest.raises(UserError, match=message):
        check_same_computation(Geometry((4, 4, 8, 4)), Geometry((8, 8, 8, 4), window_size=8), "swin", "w.pth")


@pytest.mark.parametrize("family", ["swin", "swin_mlp"])
def test_windows_that_differ_by_what_maps_bound_are_one_model(family: str) -> None:
    check_same_computation(Geometry((7, 7, 4, 2)), Geometry((7, 4, 2, 1), window_size=7), family, "w.pth")
    check_same_computation(Geometry((4, 2), window_size=7), Geometry((7, 4), window_size=7), family, "w.pth")


def test_another_scale_is_refused_also_where_maps_bound_the_windows() -> None:
    v1 = Geometry((4, 2), window_size=4, qk_scales=(0.5, 0.5)), Geometry((2, 1), None, None, 4, (0.25, 0.25))
    v2 = Geometry((4, 4), (0, 0), window_size=4), Geometry((4, 2), (6, 6), window_size=4)

    with pytest.raises(
        UserError, match=r"^w.pth: its attention was scaled by .* set MODEL.SWIN.QK_SCALE to 0.5$"
    ):
        check_same_computation(*v1, "swin", "w.pth")
    with pytest.raises(UserError, match=r"set MODEL.SWINV2.PRETRAINED_WINDOW_SIZES to \[4, 4\]$"):
        check_same_computation(*v2, "swinv2", "w.pth")


def test_a_head_on_one_side_alone_is_refused(whole_state: Callable, without_head: Callable) -> None:
    with pytest.raises(
        UserError, match=r"^w.pth: has no head, the model a head of 5 classes; fine-tune with"
    ):
        check_same_classes(without_head(whole_state()), whole_state(), "w.pth")
    with pytest.raises(
        UserError, match=r"^w.pth: has a head of 5 classes, the model no head; fine-tune with"
    ):
        check_same_classes(whole_state(), without_head(whole_state()), "w.pth")


@pytest.mark.parametrize("name", [TABLE, "absolute_pos_embed", "head.weight", "patch_embed.proj.weight"])
@pytest.mark.parametrize("shape", [(), (16,), (1, 1, 1, 9, 2)])
def test_a_tensor_of_other_dimensions_is_refused_and_named(
    name: str, shape: tuple[int, ...], small_state: Callable
) -> None:
    target = small_state()

    message = (
        rf"w.pth: {name} has the shape {re.escape(str(shape))}; "
        rf"it must have {target[name].ndim} dimension\(s\), the model's is"
    )
    with pytest.raises(UserError, match=message):
        check_same_architecture(small_state() | {name: torch.zeros(shape)}, target, "w.pth")


def test_a_head_of_other_dimensions_is_refused_also_where_the_model_has_none(
    small_state: Callable, without_head: Callable
) -> None:
    with pytest.raises(UserError, match=r"w.pth: head.weight has the shape \(\); it must have 2 dimensions"):
        check_same_architecture(
            small_state() | {"head.weight": torch.zeros(())}, without_head(small_state()), "w.pth"
        )


@pytest.mark.parametrize("classes", [5, 21_841])
def test_a_head_whose_bias_is_of_other_classes_is_refused(classes: int, small_state: Callable) -> None:
    state = small_state(classes=classes) | {"head.bias": torch.zeros(3)}

    message = rf"w.pth: head.bias has the shape \(3,\); .* rows of head.weight, \({classes},\)"
    with pytest.raises(UserError, match=message):
        check_same_architecture(state, small_state(classes=1000), "w.pth")
