import pytest
import torch

from swin_train.models.layers.place import block_places


def test_places_are_numbered_through_the_stages_and_every_second_one_of_a_stage_is_shifted() -> None:
    places = block_places(8, [(6, 4), (3, 2)], [3, 2], [2, 4], window_size=3, drop_path_rate=0.0)

    assert [[(p.stage, p.index, p.is_shifted, p.shift) for p in stage] for stage in places] == [
        [(0, 0, False, 0), (0, 1, True, 1), (0, 2, False, 0)],
        [(1, 3, False, 0), (1, 4, True, 0)],  # no room for a shift
    ]
    assert {(p.dim, p.resolution, p.num_heads, p.window) for stage in places for p in stage} == {
        (8, (6, 4), 2, 3),
        (16, (3, 2), 4, 2),
    }


@pytest.mark.parametrize("depths", [[1], [2], [2, 2, 6, 2], [2, 2, 18, 2]])
def test_drop_path_rises_through_the_stages_as_the_official_code_s(depths: list[int]) -> None:
    stages = len(depths)

    places = block_places(8, [(4, 4)] * stages, depths, [2] * stages, window_size=2, drop_path_rate=0.3)

    found = [place.drop_path for stage in places for place in stage]
    official = torch.linspace(0, 0.3, sum(depths)).tolist()
    assert found == pytest.approx(official, rel=1e-6)  # which has the 7 places of float32
