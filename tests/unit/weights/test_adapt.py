import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from swin_train.errors import UserError
from swin_train.weights.adapt import adapt, adapt_exactly
from swin_train.weights.geometry import UNKNOWN, Geometry
from swin_train.weights.imagenet22k import rows_of_1k_in_22k
from swin_train.weights.layouts.dropped import Dropped
from swin_train.weights.read import Weights

TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"


def weights_of(state: dict[str, Tensor], **facts: Any) -> Weights:
    return Weights(state, "w.pth", {}, **facts)


def exact(state: dict[str, Tensor], target: dict[str, Tensor], old: tuple | None, new: tuple | None) -> tuple:
    return adapt_exactly(weights_of(state, geometry=Geometry(old)), target, Geometry(new))


def test_equal_shapes_go_over_unchanged(small_state: Callable) -> None:
    state = small_state()

    adapted, report = adapt(
        weights_of(state, dropped=Dropped(buffers=17, pretraining=2)), small_state(), UNKNOWN
    )

    assert all(torch.equal(adapted[name], state[name]) for name in state)
    assert report.kept == tuple(state)
    assert str(report) == (
        "loaded 5 tensors; head of 5 classes kept; dropped 17 buffers (recomputed); "
        "dropped 2 tensors of the pre-training"
    )


def test_what_was_done_to_names_is_said(small_state: Callable) -> None:
    changes = ("names without 'module.'", "rpe_mlp read as cpb_mlp")

    _, report = adapt(weights_of(small_state(), name_changes=changes), small_state(), UNKNOWN)

    assert str(report) == (
        "loaded 5 tensors; names without 'module.'; rpe_mlp read as cpb_mlp; head of 5 classes kept"
    )


def test_a_classifier_needs_the_norm_that_a_detector_s_backbone_lacks(whole_state: Callable) -> None:
    state = {name: tensor for name, tensor in whole_state(classes=0).items() if not name.startswith("norm.")}

    with pytest.raises(UserError, match=r"does not fit the model. Missing: norm.weight, norm.bias$"):
        adapt(weights_of(state), whole_state(), UNKNOWN)


def test_another_window_and_resolution_are_interpolated(small_state: Callable) -> None:
    adapted, report = adapt(weights_of(small_state(window=2, side=4)), small_state(window=4, side=8), UNKNOWN)

    assert adapted[TABLE].shape == (49, 2)
    assert adapted["absolute_pos_embed"].shape == (1, 64, 8)
    assert str(report) == (
        "loaded 5 tensors; resized 1 position embedding 4x4 -> 8x8 (bicubic); "
        "resized 1 bias table 3x3 -> 7x7 (bicubic); head of 5 classes kept"
    )


def test_the_report_reads_as_the_issue_has_it(whole_state: Callable) -> None:
    sizes = {"embed_dim": 24, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24), "patch_size": 4}
    state = whole_state(**sizes, windows=(7,) * 4, classes=21841)
    target = whole_state(**sizes, windows=(12,) * 4, classes=1000)

    _, report = adapt(weights_of(state, dropped=Dropped(buffers=17)), target, UNKNOWN)
    _, of_timm = adapt(weights_of(state, layout="timm"), target, UNKNOWN)

    line = "resized 12 bias tables 13x13 -> 23x23 (bicubic); head 21841 -> 1000 by the 22K map"
    assert str(report) == f"loaded 173 tensors; {line}; dropped 17 buffers (recomputed)"
    assert str(of_timm) == f"loaded 173 tensors (timm layout); {line}"


def test_maps_that_are_not_square_are_interpolated_where_they_are_known(small_state: Callable) -> None:
    weights = weights_of(small_state(side=4), geometry=Geometry(img_size=(4, 16)))  # patches of 2

    adapted, report = adapt(weights, small_state(side=8), Geometry(img_size=(8, 31)))

    assert adapted["absolute_pos_embed"].shape == (1, 64, 8)
    assert report.resized[0].change == "2x8 -> 4x16 (bicubic)"


@pytest.mark.parametrize("family", ["swinv2", "swin_mlp"])
def test_other_families_have_nothing_to_interpolate(
    whole_state: Callable, assert_equal: Callable, family: str
) -> None:
    adapted, report = adapt(weights_of(whole_state(family)), whole_state(family), UNKNOWN)

    assert_equal(adapted, whole_state(family))
    assert str(report) == f"loaded {len(adapted)} tensors; head of 5 classes kept"


def test_the_22k_map_is_the_published_one() -> None:
    rows = rows_of_1k_in_22k()

    assert len(set(rows)) == 1000
    assert (rows[0], rows[850], rows[999]) == (359, 5564, 21817)
    others = rows[:850] + rows[851:]
    assert others == sorted(others)


def test_a_22k_head_gives_its_rows_of_the_1k_classes(small_state: Callable) -> None:
    state = small_state(classes=21841)

    adapted, report = adapt(weights_of(state), small_state(classes=1000), UNKNOWN)

    rows = rows_of_1k_in_22k()
    assert torch.equal(adapted["head.weight"], state["head.weight"][rows])
    assert torch.equal(adapted["head.bias"], state["head.bias"][rows])
    assert str(report) == "loaded 5 tensors; head 21841 -> 1000 by the 22K map"


def test_a_head_of_other_classes_stays_as_it_is_initialised(small_state: Callable) -> None:
    adapted, report = adapt(weights_of(small_state(classes=5)), small_state(classes=7), UNKNOWN)

    assert "head.weight" not in adapted
    assert report.fresh == ("head.weight", "head.bias")
    assert str(report) == "loaded 3 tensors; head of 7 classes fresh (the file has 5)"


def test_heads_may_be_missing_on_either_side(small_state: Callable, without_head: Callable) -> None:
    _, from_pretraining = adapt(weights_of(without_head(small_state())), small_state(), UNKNOWN)
    _, to_features = adapt(weights_of(small_state()), without_head(small_state()), UNKNOWN)
    _, neither = adapt(weights_of(without_head(small_state())), without_head(small_state()), UNKNOWN)

    assert from_pretraining.head == "head of 5 classes fresh (the file has none)"
    assert from_pretraining.fresh == ("head.weight", "head.bias")
    assert to_features.head == "head of 5 classes dropped (the model has none)"
    assert to_features.fresh == ()
    assert neither.head == "no head"


def test_evaluation_takes_equal_shapes_as_they_are(whole_state: Callable, assert_equal: Callable) -> None:
    for family in ("swin", "swinv2", "swin_mlp"):
        state = whole_state(family)

        adapted, resized = exact(state, whole_state(family), (4, 4), (4, 4))

        assert_equal(adapted, state)
        assert resized == []


def test_evaluation_interpolates_what_a_small_map_alone_has_bounded(whole_state: Callable) -> None:
    adapted, resized = exact(
        whole_state(windows=(4, 2), num_patches=64),
        whole_state(windows=(4, 4), num_patches=256),
        (4, 2),
        (4, 4),
    )

    assert adapted["layers.1.blocks.0.attn.relative_position_bias_table"].shape == (49, 4)
    assert [(tensor.kind, tensor.change) for tensor in resized] == [
        ("position embedding", "8x8 -> 16x16 (bicubic)"),
        ("bias table", "3x3 -> 7x7 (bicubic)"),
    ]


def test_evaluation_on_smaller_maps_takes_the_offsets_that_a_bounded_window_has(
    whole_state: Callable,
) -> None:
    state = whole_state(windows=(4, 4))

    adapted, resized = exact(state, whole_state(windows=(4, 2)), (4, 4), (4, 2))

    name = "layers.1.blocks.0.attn.relative_position_bias_table"
    assert torch.equal(adapted[name].view(3, 3, -1), state[name].view(7, 7, -1)[2:5, 2:5])
    assert [tensor.change for tensor in resized] == ["7x7 -> 3x3 (cropped)"]


def test_evaluation_refuses_another_window_and_says_what_to_set(whole_state: Callable) -> None:
    message = (
        r"^w.pth: was trained in windows of 7, the model has 4; set MODEL.SWIN.WINDOW_SIZE to 7, or fine-tune with "
        r"--pretrained$"
    )
    with pytest.raises(UserError, match=message):
        exact(whole_state(windows=(7, 4)), whole_state(windows=(4, 4)), (7, 4), (4, 4))


@pytest.mark.parametrize("windows", [(None, (4, 4)), ((4, 4), None)])
def test_evaluation_refuses_another_shape_where_windows_are_not_known(
    whole_state: Callable, windows: tuple
) -> None:
    old, new = windows
    message = (
        r"w.pth: is not a checkpoint of this model. The file: Swin v1, .* The model: Swin v1, .* "
        r"Misshapen: layers.0.blocks.0.attn.relative_position_bias_table \(169, 2\) instead of \(49, 2\)"
    )
    with pytest.raises(UserError, match=message):
        exact(whole_state(windows=(7, 4)), whole_state(windows=(4, 4)), old, new)


def test_evaluation_refuses_other_classes(whole_state: Callable) -> None:
    with pytest.raises(
        UserError, match=r"^w.pth: has 5 classes, the model 7; evaluate it on images of its cl"
    ):
        exact(whole_state(), whole_state(classes=7), (4, 4), (4, 4))


def test_tensors_that_do_not_fit_are_refused_and_named(small_state: Callable) -> None:
    state = small_state() | {"stray": torch.zeros(1), "norm.bias": torch.zeros(3)}
    target = small_state() | {"norm.weight": torch.zeros(8), "norm.bias": torch.zeros(8)}

    message = (
        r"w.pth: does not fit the model. Missing: norm.weight. Unknown: stray. "
        r"Misshapen: norm.bias \(3,\) instead of \(8,\)"
    )
    with pytest.raises(UserError, match=message):
        adapt(weights_of(state), target, UNKNOWN)


@pytest.mark.parametrize(("name", "shape"), [(TABLE, (10, 2)), ("absolute_pos_embed", (1, 15, 8))])
def test_positions_that_are_no_square_grid_are_refused(
    name: str, shape: tuple[int, ...], small_state: Callable
) -> None:
    with pytest.raises(UserError, match=rf"Misshapen: {name} {re.escape(str(shape))} instead of"):
        adapt(weights_of(small_state() | {name: torch.zeros(shape)}), small_state(), UNKNOWN)


@pytest.mark.parametrize("fit", [adapt, adapt_exactly])
@pytest.mark.parametrize("classes", [5, 7, 0])
@pytest.mark.parametrize("half", [("weight", "bias"), ("bias", "weight")])
def test_half_a_head_is_refused_whatever_the_model_s_is(
    small_state: Callable, without_head: Callable, fit: Callable, classes: int, half: tuple[str, str]
) -> None:
    target = small_state(classes=classes) if classes else without_head(small_state())
    there, missing = (f"head.{part}" for part in half)
    state = {name: tensor for name, tensor in small_state().items() if name != missing}

    with pytest.raises(
        UserError, match=rf"^w.pth: holds {there} without {missing}; expected both or neither"
    ):
        fit(weights_of(state), target, UNKNOWN)


@pytest.mark.parametrize("fit", [adapt, adapt_exactly])
def test_positions_of_images_of_an_unknown_size_are_refused_with_what_to_take(
    whole_state: Callable, fit: Callable
) -> None:
    weights = weights_of(whole_state(num_patches=96), geometry=Geometry((4, 4)))
    message = r"instead of \(1, 64, 8\)\. The file does not tell the size of the images that .*: take the .safetensors"

    with pytest.raises(UserError, match=message):
        fit(weights, whole_state(num_patches=64), Geometry((4, 4), img_size=(16, 16)))


def test_many_problems_are_cut_at_ten(small_state: Callable) -> None:
    state = small_state() | {f"stray.{i}": torch.zeros(1) for i in range(12)}

    with pytest.raises(UserError, match=r"Unknown: stray.0, .*stray.9 and 2 more$"):
        adapt(weights_of(state), small_state(), UNKNOWN)


@pytest.mark.parametrize("fit", [adapt, adapt_exactly])
def test_another_architecture_is_refused_first(small_state: Callable, fit: Callable) -> None:
    weights = weights_of(small_state() | {"stray": torch.zeros(1)})
    other = small_state() | {"patch_embed.proj.weight": torch.zeros(16, 3, 2, 2)}

    with pytest.raises(UserError, match=r"^w.pth: is of another architecture: has embed_dim 8, the model 16"):
        fit(weights, other, UNKNOWN)


@pytest.mark.parametrize("number", ["99999999999", "9" * 5000])
def test_a_stage_of_an_absurd_number_is_refused(number: str, small_state: Callable) -> None:
    state = small_state() | {f"layers.{number}.blocks.0.norm1.bias": torch.zeros(8)}

    with pytest.raises(UserError, match=f"w.pth: .*(Unknown: layers.{number}|another architecture)"):
        adapt(weights_of(state), small_state(), UNKNOWN)
