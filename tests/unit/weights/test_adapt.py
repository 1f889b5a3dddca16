import re

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from swin_train.errors import UserError
from swin_train.weights.adapt import adapt, resize_bias_table, resize_positions
from swin_train.weights.imagenet22k import rows_of_1k_in_22k

TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"


def make_state(
    window: int = 2, classes: int = 5, side: int = 4, **changes: Tensor | None
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(window)
    shapes = {
        "absolute_pos_embed": (1, side**2, 8),
        "patch_embed.proj.weight": (8, 3, 2, 2),
        TABLE: ((2 * window - 1) ** 2, 2),
        "head.weight": (classes, 8),
        "head.bias": (classes,),
    }
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    state |= {name.replace("_", ".", 1): t for name, t in changes.items() if t is not None}
    return state


def test_equal_shapes_go_over_unchanged() -> None:
    state = make_state()

    adapted, report = adapt(state, make_state(), source="w.pth", num_buffers=17, num_pretraining=2)

    assert all(torch.equal(adapted[name], state[name]) for name in state)
    assert report.kept == tuple(state)
    assert str(report) == (
        "loaded 5 tensors; head of 5 classes kept; dropped 17 buffers (recomputed); "
        "dropped 2 tensors of the pre-training"
    )


def test_another_window_and_resolution_are_interpolated() -> None:
    state = make_state(window=2, side=4)

    adapted, report = adapt(state, make_state(window=4, side=8), source="w.pth")

    grid = state[TABLE].T.reshape(1, 2, 3, 3)
    expected = interpolate(grid, size=(7, 7), mode="bicubic", align_corners=False)
    torch.testing.assert_close(adapted[TABLE], expected.reshape(2, 49).T)
    assert adapted["absolute_pos_embed"].shape == (1, 64, 8)
    assert str(report) == (
        "loaded 5 tensors; resized 1 position embedding 4x4 -> 8x8 (bicubic); "
        "resized 1 bias table 3x3 -> 7x7 (bicubic); head of 5 classes kept"
    )


def test_interpolation_is_in_float32_and_gives_the_dtype_back() -> None:
    table = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))

    half = resize_bias_table(table.half(), 7)

    assert half.dtype == torch.float16
    torch.testing.assert_close(half, resize_bias_table(table.half().float(), 7).half(), rtol=0, atol=0)


def test_interpolation_keeps_rows_and_columns_apart() -> None:
    rows = torch.arange(4.0)[:, None].expand(4, 4).reshape(1, 16, 1)  # grows down the rows only

    resized = resize_positions(rows, 8).view(8, 8)

    torch.testing.assert_close(resized, resized[:, :1].expand(8, 8))
    assert (resized[1:, 0] > resized[:-1, 0]).all()


def test_the_22k_map_is_the_published_one() -> None:
    rows = rows_of_1k_in_22k()

    assert len(set(rows)) == 1000
    assert (rows[0], rows[850], rows[999]) == (359, 5564, 21817)
    others = rows[:850] + rows[851:]
    assert others == sorted(others)


def test_a_22k_head_gives_its_rows_of_the_1k_classes() -> None:
    state = make_state(classes=21841)

    adapted, report = adapt(state, make_state(classes=1000), source="w.pth")

    rows = rows_of_1k_in_22k()
    assert torch.equal(adapted["head.weight"], state["head.weight"][rows])
    assert torch.equal(adapted["head.bias"], state["head.bias"][rows])
    assert str(report) == "loaded 5 tensors; head 21841 -> 1000 by the 22K map"


def test_a_head_of_other_classes_stays_as_it_is_initialised() -> None:
    adapted, report = adapt(make_state(classes=5), make_state(classes=7), source="w.pth")

    assert "head.weight" not in adapted
    assert report.fresh == ("head.weight", "head.bias")
    assert str(report) == "loaded 3 tensors; head of 7 classes fresh (the file has 5)"


def without_head(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("head.")}


def test_heads_may_be_missing_on_either_side() -> None:
    _, from_pretraining = adapt(without_head(make_state()), make_state(), source="w.pth")
    _, to_features = adapt(make_state(), without_head(make_state()), source="w.pth")
    _, neither = adapt(without_head(make_state()), without_head(make_state()), source="w.pth")

    assert from_pretraining.head == "head of 5 classes fresh (the file has none)"
    assert from_pretraining.fresh == ("head.weight", "head.bias")
    assert to_features.head == "head of 5 classes dropped (the model has none)"
    assert to_features.fresh == ()
    assert neither.head == "no head"


def test_nothing_in_common_is_refused() -> None:
    state = {f"features.{i}": torch.zeros(1) for i in range(12)}

    message = (
        r"w.pth: none of its 12 tensors .* features.9 and 2 more. The model: absolute_pos_embed, patch_embed"
    )
    with pytest.raises(UserError, match=message):
        adapt(state, make_state(), source="w.pth")


@pytest.mark.parametrize(
    ("name", "tensor", "file", "model"),
    [
        ("patch_embed.proj.weight", torch.zeros(8, 1, 2, 2), "in_chans 1", "in_chans 3"),
        ("patch_embed.proj.weight", torch.zeros(16, 3, 2, 2), "embed_dim 16", "embed_dim 8"),
        (TABLE, torch.zeros(9, 4), r"num_heads \[4\]", r"num_heads \[2\]"),
        ("layers.0.blocks.1.norm1.bias", torch.zeros(8), r"depths \[2\]", r"depths \[1\]"),
        ("layers.1.blocks.0.norm1.bias", torch.zeros(8), r"depths \[1, 1\]", r"depths \[1\]"),
    ],
)
def test_another_architecture_is_refused_naming_both(
    name: str, tensor: Tensor, file: str, model: str
) -> None:
    message = f"w.pth: is of another architecture. The file: .*{file}.* The model: .*{model}"
    with pytest.raises(UserError, match=message):
        adapt(make_state() | {name: tensor}, make_state(), source="w.pth")


def test_tensors_that_do_not_fit_are_refused_and_named() -> None:
    state = make_state() | {"stray": torch.zeros(1), "norm.bias": torch.zeros(3)}
    target = make_state() | {"norm.weight": torch.zeros(8), "norm.bias": torch.zeros(8)}

    message = (
        r"w.pth: does not fit the model. Missing: norm.weight. Unknown: stray. "
        r"Misshapen: norm.bias \(3,\) instead of \(8,\)"
    )
    with pytest.raises(UserError, match=message):
        adapt(state, target, source="w.pth")


@pytest.mark.parametrize(("name", "shape"), [(TABLE, (10, 2)), ("absolute_pos_embed", (1, 15, 8))])
def test_positions_that_are_no_square_grid_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=rf"Misshapen: {name} {re.escape(str(shape))} instead of"):
        adapt(make_state() | {name: torch.zeros(shape)}, make_state(), source="w.pth")


@pytest.mark.parametrize("name", [TABLE, "absolute_pos_embed", "head.weight", "patch_embed.proj.weight"])
@pytest.mark.parametrize("shape", [(), (16,), (1, 1, 1, 9, 2)])
def test_a_tensor_of_other_dimensions_is_refused_and_named(name: str, shape: tuple[int, ...]) -> None:
    target = make_state()

    message = (
        rf"w.pth: {name} has the shape {re.escape(str(shape))}; "
        rf"it must have {target[name].ndim} dimension\(s\), the model's is"
    )
    with pytest.raises(UserError, match=message):
        adapt(make_state() | {name: torch.zeros(shape)}, target, source="w.pth")


def test_a_head_of_other_dimensions_is_refused_also_where_the_model_has_none() -> None:
    with pytest.raises(UserError, match=r"w.pth: head.weight has the shape \(\); it must have 2 dimensions"):
        adapt(make_state() | {"head.weight": torch.zeros(())}, without_head(make_state()), source="w.pth")


@pytest.mark.parametrize("classes", [5, 21_841])
def test_a_head_whose_bias_is_of_other_classes_is_refused(classes: int) -> None:
    state = make_state(classes=classes) | {"head.bias": torch.zeros(3)}

    message = rf"w.pth: head.bias has the shape \(3,\); .* rows of head.weight, \({classes},\)"
    with pytest.raises(UserError, match=message):
        adapt(state, make_state(classes=1000), source="w.pth")


@pytest.mark.parametrize("number", ["99999999999", "9" * 5000])
def test_a_stage_of_an_absurd_number_is_refused(number: str) -> None:
    state = make_state() | {f"layers.{number}.blocks.0.norm1.bias": torch.zeros(8)}

    with pytest.raises(UserError, match=f"w.pth: .*(Unknown: layers.{number}|another architecture)"):
        adapt(state, make_state(), source="w.pth")


def test_a_head_without_its_bias_is_refused() -> None:
    state = make_state()
    del state["head.bias"]

    with pytest.raises(UserError, match=r"Missing: head.bias"):
        adapt(state, make_state(), source="w.pth")


def test_many_problems_are_cut_at_ten() -> None:
    state = make_state() | {f"stray.{i}": torch.zeros(1) for i in range(12)}

    with pytest.raises(UserError, match=r"Unknown: stray.0, .*stray.9 and 2 more$"):
        adapt(state, make_state(), source="w.pth")
