import numpy as np
import pytest
import torch

from swin_train.data import draws
from swin_train.models.layers.drop_path import DropPath, counted_keep, mix64

KEYS = np.array([0, 1, -1, 2**63 - 1, -(2**63), 123456789], dtype=np.int64)


def mix64_of_numpy(z: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def test_mix64_is_splitmix64() -> None:
    mixed = mix64(torch.from_numpy(KEYS)).numpy().view(np.uint64)

    np.testing.assert_array_equal(mixed, mix64_of_numpy(KEYS.view(np.uint64)))
    assert mixed[0] == 0xE220A8397B1DCDAF  # the first output of the published generator, seed 0


def test_model_and_data_mix_bits_alike() -> None:
    mixed = mix64(torch.from_numpy(KEYS)).tolist()

    assert [m % 2**64 for m in mixed] == [draws.mix64(k % 2**64) for k in KEYS.tolist()]


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_a_branch_is_kept_where_the_draw_is_not_below_the_probability(probability: float) -> None:
    keys = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 1000)
    for layer in (0, 7):
        uniform = (mix64_of_numpy(keys.view(np.uint64) ^ np.uint64(layer)) >> np.uint64(11)) * 2.0**-53

        keep = counted_keep(torch.from_numpy(keys), layer, probability)

        np.testing.assert_array_equal(keep.numpy(), uniform >= probability)
        assert abs(keep.float().mean().item() - (1 - probability)) < 0.05  # 3 standard deviations of 1000


def test_kept_branches_are_scaled_and_the_others_zero() -> None:
    layer = DropPath(0.75, layer=3).train()
    keys = torch.arange(64)

    out = layer(torch.ones(64, 2, 3), keys)

    assert set(out.unique().tolist()) == {0.0, 4.0}
    torch.testing.assert_close(out[:, 0, 0] > 0, counted_keep(keys, 3, 0.75))


def test_without_keys_torch_s_generator_draws() -> None:
    layer = DropPath(0.5, layer=0).train()
    x = torch.ones(64, 1)

    torch.manual_seed(0)
    first = layer(x)
    torch.manual_seed(0)
    again = layer(x)
    other = layer(x)

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_captured_as_a_graph_it_draws_for_any_number_of_samples() -> None:
    batch = torch.export.Dim.DYNAMIC

    graph = torch.export.export(
        DropPath(0.5, layer=0).train(), (torch.ones(2, 1),), dynamic_shapes={"x": {0: batch}}
    )

    assert graph.module()(torch.ones(64, 1)).unique().tolist() == [0.0, 2.0]


def test_nothing_is_dropped_in_evaluation_or_at_probability_zero() -> None:
    x, keys = torch.ones(8, 1), torch.arange(8)

    assert DropPath(0.9, layer=0).eval()(x, keys) is x
    assert DropPath(0.0, layer=0).train()(x, keys) is x


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_a_probability_outside_its_range_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match=f"probability {probability} is outside"):
        DropPath(probability, layer=0)
