from collections.abc import Callable, Sequence
from itertools import product
from math import log2, sqrt

import pytest
import torch
from torch import Tensor

from swin_train.weights.geometry import (
    UNKNOWN,
    Geometry,
    bounded_by_maps,
    other_scales,
    position_scales,
    read_geometry,
)


def coords_table(window: int, scale: int) -> Tensor:
    """As the official code computes it, an offset at a time."""
    offsets = [8 * offset / (scale - 1) for offset in range(1 - window, window)]
    spaced = [log2(abs(x) + 1) / log2(8) * (1 if x > 0 else -1) for x in offsets]
    return torch.tensor([[[[row, column] for column in spaced] for row in spaced]])


def with_tables(state: dict[str, Tensor], tables: Sequence[Tensor]) -> dict[str, Tensor]:
    return state | {
        f"layers.{stage}.blocks.0.attn.relative_coords_table": table for stage, table in enumerate(tables)
    }


def test_bias_tables_tell_the_windows(whole_state: Callable) -> None:
    assert read_geometry(whole_state(windows=(7, 4)), {}) == Geometry(windows=(7, 4))


def test_spatial_weights_tell_the_windows(whole_state: Callable) -> None:
    assert read_geometry(whole_state("swin_mlp", windows=(4, 2)), {}) == Geometry(windows=(4, 2))


def test_the_weights_of_swin_v2_tell_no_window(whole_state: Callable) -> None:
    assert read_geometry(whole_state("swinv2"), {}) == UNKNOWN


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("windows", "pretrained"),
    [((8, 8), (0, 0)), ((16, 8), (12, 6)), ((24, 12), (12, 6)), ((24, 6), (12, 24)), ((14, 1), (12, 0))],
)
def test_tables_of_coordinates_tell_windows_and_those_of_pre_training(
    whole_state: Callable, windows: tuple[int, ...], pretrained: tuple[int, ...], dtype: torch.dtype
) -> None:
    tables = [coords_table(w, p or max(w, 2)).to(dtype) for w, p in zip(windows, pretrained, strict=True)]

    found = read_geometry(with_tables(whole_state("swinv2"), tables), {})

    assert found == Geometry(windows=windows, pretrained_windows=pretrained)


def test_a_table_scaled_by_the_window_itself_is_its_own(whole_state: Callable) -> None:
    state = with_tables(whole_state("swinv2"), [coords_table(8, 8), coords_table(8, 12)])

    assert read_geometry(state, {}).pretrained_windows == (0, 12)


@pytest.mark.parametrize("shape", [(16, 16), (256,)])
def test_index_tables_tell_the_windows_of_swin_v2(whole_state: Callable, shape: tuple[int, ...]) -> None:
    indices = {
        f"layers.{stage}.blocks.0.attn.relative_position_index": torch.zeros(shape, dtype=torch.int64)
        for stage in (0, 1)
    }

    assert read_geometry(whole_state("swinv2") | indices, {}) == Geometry(windows=(4, 4))


@pytest.mark.parametrize(
    "table",
    [
        torch.zeros(3),
        torch.zeros(20),
        torch.zeros(1, 4, 4, 2),
        torch.zeros(1, 5, 7, 2),
        torch.zeros(0),
        torch.tensor(1.0),
    ],
)
def test_tables_of_odd_shapes_tell_nothing(whole_state: Callable, table: Tensor) -> None:
    state = with_tables(whole_state("swinv2"), [table, table])
    state |= {f"layers.{stage}.blocks.0.attn.relative_position_index": table for stage in (0, 1)}

    assert read_geometry(state, {}) == UNKNOWN


@pytest.mark.parametrize(
    "table",
    [
        torch.full((1, 7, 7, 2), float("nan")),
        torch.zeros(1, 7, 7, 2),
        torch.full((1, 7, 7, 2), 9.0),
        torch.full((1, 7, 7, 2), 1e9),
        torch.full((1, 7, 7, 2), 1e-30),
        torch.full((1, 7, 7, 2), 0.97),
        torch.full((1, 7, 7, 2), float("inf")),
        torch.full((1, 7, 7, 2), -1.0),
        torch.full((1, 7, 7, 2), 1j),
        torch.zeros(1, 7, 7, 2, device="meta"),
        torch.zeros(1, 7, 7, 2).to_sparse(),
        torch.ones(1).expand(1, 7, 7, 2),  # without memory of its own
    ],
)
def test_values_that_no_window_gives_tell_none_of_pre_training(whole_state: Callable, table: Tensor) -> None:
    state = with_tables(whole_state("swinv2"), [table, table])

    assert read_geometry(state, {}) == Geometry(windows=(4, 4))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("224", (224, 224)),
        ("[224, 448]", (224, 448)),
        ("[224]", (224, 224)),
        ("[1, 2, 3]", None),
        ("0", None),
        ("true", None),
        ('"large"', None),
        ("224.5", None),
        ("{", None),
        ("[" * 100_000, None),
        (7, None),
    ],
)
def test_this_project_s_files_tell_the_image_size(text: object, size: tuple[int, int] | None) -> None:
    assert read_geometry({}, {"img_size": text}).img_size == size


@pytest.mark.parametrize("table", [torch.zeros(0), torch.full((5,), log2(9) / log2(8))])
def test_a_table_of_another_window_tells_none_of_pre_training(whole_state: Callable, table: Tensor) -> None:
    index = torch.zeros(16, 16, dtype=torch.int64)
    state = with_tables(whole_state("swinv2"), [table, table])
    state |= {f"layers.{stage}.blocks.0.attn.relative_position_index": index for stage in (0, 1)}

    assert read_geometry(state, {}) == Geometry(windows=(4, 4))


def test_a_table_of_absurd_size_costs_nothing(whole_state: Callable) -> None:
    table = torch.ones(1).expand(1, 2**30 - 1, 2**30 - 1, 2)

    assert read_geometry(with_tables(whole_state("swinv2"), [table, table]), {}) == Geometry((2**29, 2**29))


def test_this_project_s_files_tell_windows_where_tensors_do_not(whole_state: Callable) -> None:
    metadata = {"windows": "[8, 4]", "pretrained_windows": "[6, 0]"}

    assert read_geometry(whole_state("swinv2"), metadata) == Geometry((8, 4), (6, 0))
    assert read_geometry(whole_state(windows=(7, 7)), metadata) == Geometry((7, 7))
    assert read_geometry(whole_state("swinv2"), {"windows": "[8, 4, 4]"}) == UNKNOWN


def test_a_position_bias_is_scaled_by_the_window_of_pre_training_where_there_is_one() -> None:
    assert position_scales((16, 16, 8, 1), (12, 0, 6, 4)) == (12, 16, 6, 0)


def test_other_windows_than_a_swin_v2_learned_in_name_the_fix() -> None:
    found = Geometry((12, 12, 12, 6), (0, 0, 0, 0))

    assert other_scales(found, Geometry((16, 16, 16, 8), (0, 0, 0, 0))) == (
        "its position biases were learned in windows of [12, 12, 12, 6], the model scales them by "
        "[16, 16, 16, 8]; set MODEL.SWINV2.PRETRAINED_WINDOW_SIZES to [12, 12, 12, 6]"
    )
    assert other_scales(found, Geometry((16, 16, 16, 8), (12, 12, 12, 6))) is None
    assert other_scales(found, Geometry((12, 12, 12, 6), (0, 0, 0, 0))) is None
    assert other_scales(UNKNOWN, Geometry((16, 16, 16, 8), (0, 0, 0, 0))) is None
    assert other_scales(found, Geometry((16, 16, 16, 8))) is None  # a model of another family


def test_what_was_fine_tuned_already_keeps_its_first_windows() -> None:
    found = Geometry((16, 16, 16, 8), (12, 12, 12, 6))

    assert "PRETRAINED_WINDOW_SIZES to [12, 12, 12, 6]" in str(
        other_scales(found, Geometry((24, 24, 24, 12), (16, 16, 16, 8)))
    )


def test_windows_are_known_as_those_that_maps_bound() -> None:
    maps = [[-(-side // 2**stage) for stage in range(3)] for side in range(1, 100)]
    bounded = {tuple(min(window, side) for side in sides) for window in range(1, 9) for sides in maps}

    assert {windows for windows in product(range(1, 9), repeat=3) if bounded_by_maps(windows)} == bounded


def test_factors_are_the_same_but_for_rounding() -> None:
    usual = Geometry(qk_scales=(8**-0.5, 8**-0.5))

    assert other_scales(Geometry(qk_scales=(1 / sqrt(8), 1 / sqrt(8))), usual) is None
    assert str(other_scales(Geometry(qk_scales=(0.35, 0.35)), usual)).endswith("MODEL.SWIN.QK_SCALE to 0.35")
    assert str(other_scales(Geometry(qk_scales=(0.5, 0.25)), usual)).endswith("MODEL.SWIN.QK_SCALE to null")
    assert other_scales(usual, Geometry(qk_scales=(8**-0.5,))) is None  # of features


def test_a_stage_of_single_patches_has_no_scale_to_keep() -> None:
    assert other_scales(Geometry((8, 1), (0, 0)), Geometry((8, 2), (0, 0))) is None
    assert other_scales(Geometry((8, 2), (0, 0)), Geometry((8, 1), (0, 0))) is None
