import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from swin_train.weights.resize import Resized, resize_all, resize_bias_table, resize_positions

TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"
POSITIONS = "absolute_pos_embed"


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_a_table_is_interpolated_as_the_authors_do_it() -> None:
    table = draw(9, 2)

    grid = interpolate(table.T.reshape(1, 2, 3, 3), size=(7, 7), mode="bicubic", align_corners=False)
    assert torch.equal(resize_bias_table(table, (3, 3), (7, 7)), grid.reshape(2, 49).T)


def test_interpolation_is_in_float32_and_gives_the_dtype_back() -> None:
    half = draw(9, 2).half()

    resized = resize_bias_table(half, (3, 3), (7, 7))

    assert resized.dtype == torch.float16
    assert torch.equal(resized, resize_bias_table(half.float(), (3, 3), (7, 7)).half())


def test_interpolation_keeps_rows_and_columns_apart() -> None:
    rows = torch.arange(2.0)[:, None].expand(2, 8).reshape(1, 16, 1)  # grows down the rows only

    resized = resize_positions(rows, (2, 8), (4, 6)).view(4, 6)

    torch.testing.assert_close(resized, resized[:, :1].expand(4, 6))
    assert (resized[1:, 0] > resized[:-1, 0]).all()


def test_only_what_lies_on_another_grid_is_interpolated() -> None:
    state = {TABLE: draw(9, 2), POSITIONS: draw(1, 16, 4), "norm.weight": draw(4), "stray": draw(2)}
    target = {TABLE: draw(25, 2), POSITIONS: draw(1, 16, 4), "norm.weight": draw(7)}

    adapted, resized = resize_all(state, target)

    assert resized == [Resized(TABLE, (3, 3), (5, 5))]
    assert adapted[TABLE].shape == (25, 2)
    assert all(adapted[name] is state[name] for name in (POSITIONS, "norm.weight", "stray"))


@pytest.mark.parametrize(
    ("count", "old_map", "new_map", "grids"),
    [
        (64, None, None, ((8, 8), (4, 4))),
        (64, None, (2, 8), ((8, 8), (2, 8))),
        (64, (4, 16), (2, 8), ((4, 16), (2, 8))),
        (64, (5, 5), (3, 3), ((8, 8), (4, 4))),  # of another model: no use
        (32, (4, 8), None, ((4, 8), (4, 4))),
        (16, (2, 8), (8, 2), ((2, 8), (8, 2))),  # as many patches, lying otherwise
        (16, (2, 8), (2, 8), None),
        (16, None, (2, 8), None),  # unknown, so taken for the same
        (15, None, None, None),  # no grid
    ],
)
def test_maps_are_squares_where_nothing_says_otherwise(
    count: int, old_map: tuple | None, new_map: tuple | None, grids: tuple | None
) -> None:
    state, target = {POSITIONS: draw(1, count, 4)}, {POSITIONS: torch.empty(1, 16, 4, device="meta")}

    adapted, resized = resize_all(state, target, old_map=old_map, new_map=new_map)

    assert resized == ([] if grids is None else [Resized(POSITIONS, *grids)])
    assert adapted[POSITIONS].shape[1] == (count if grids is None else 16)


def test_tensors_of_other_dimensions_are_left_for_the_report() -> None:
    state = {TABLE: draw(9), POSITIONS: draw(16, 4)}

    assert resize_all(state, {TABLE: draw(25, 2), POSITIONS: draw(1, 64, 4)}) == (state, [])
