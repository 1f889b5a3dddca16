import pytest
import torch

from swin_train.models.layers.place import block_places


def drop_paths(rate: float, depth: int) -> list[float]:
    [places] = block_places(8, [(4, 4)], [depth], [2], rate)
    return [place.drop_path for place in places]


def test_places_are_numbered_through_the_stages_and_every_second_one_of_a_stage_is_shifted() -> None:
    places = block_places(8, [(6, 4), (3, 2)], [3, 2], [2, 4], 0.0)

    assert [[(p.stage, p.index, p.is_shifted) for p in stage] for stage in places] == [
        [(0, 0, False), (0, 1, True), (0, 2, False)],
        [(1, 3, False), (1, 4, True)],
    ]
    assert {(p.dim, p.resolution, p.num_heads) for stage in places for p in stage} == {
        (8, (6, 4), 2),
        (16, (3, 2), 4),
    }


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.2, 0.3, 0.5])
def test_drop_path_rises_as_torch_s_linspace(rate: float) -> None:
    for depth in range(1, 60):
        expected = torch.linspace(0, rate, depth).tolist()
        assert drop_paths(rate, depth) == pytest.approx(expected, rel=2**-23, abs=0)  # one place in float32


def test_drop_path_is_the_same_to_the_bit_on_every_machine() -> None:
    # torch.linspace(0, 0.5, 24) where sums are fused with products; without that the two differ in the last bit
    assert [drop_paths(0.5, 24)[i] for i in (16, 20)] == [0.3478260934352875, 0.43478259444236755]
