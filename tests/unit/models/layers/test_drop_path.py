import numpy as np
import pytest
import torch
from torch import nn

from swin_train.data import draws
from swin_train.models.layers.drop_path import KeptRows, StochasticDepth, add_branch, counted_draws, mix64

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

    factors = StochasticDepth([0.3] * 7 + [probability])(1000, torch.from_numpy(keys))

    for layer, p in ((0, 0.3), (7, probability)):
        uniform = (mix64_of_numpy(keys.view(np.uint64) ^ np.uint64(layer)) >> np.uint64(11)) * 2.0**-53
        np.testing.assert_array_equal(factors[layer] > 0, uniform >= p)
        assert abs((uniform >= p).mean() - (1 - p)) < 0.05  # 3 standard deviations of 1000


def test_kept_branches_are_scaled_and_the_others_zero() -> None:
    (factor,) = StochasticDepth([0.75])(64, torch.arange(64))

    out = add_branch(torch.ones(64, 2, 3), lambda x: 2 * x, factor)

    assert set(out.unique().tolist()) == {1.0, 9.0}
    assert torch.equal(out[:, 1, 2], 1 + 2 * factor)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_branch_keeps_its_type_and_the_scale_its_digits(dtype: torch.dtype) -> None:
    depth = StochasticDepth([0.1]).to(torch.float64 if dtype == torch.float64 else torch.float32)
    (factor,) = depth(16, torch.arange(16))

    out = add_branch(torch.zeros(16, 2, dtype=dtype), lambda x: x + 1, factor)

    assert out.dtype == dtype
    assert out.max() == torch.tensor(1 / 0.9, dtype=dtype)


@pytest.mark.parametrize("mode", ["mask", "kept"])
@pytest.mark.parametrize(
    ("narrow", "wide"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float64)]
)
def test_the_sum_has_the_type_of_what_is_added_to(mode: str, narrow: torch.dtype, wide: torch.dtype) -> None:
    for drop in (None, StochasticDepth([0.5], mode)(4, torch.arange(4))[0]):
        assert add_branch(torch.ones(4, 2, dtype=narrow), lambda x: x.to(wide), drop).dtype == narrow
        assert add_branch(torch.ones(4, 2, dtype=wide), lambda x: x.to(narrow), drop).dtype == wide


@pytest.mark.parametrize(("batch_size", "num_kept"), [(8, 6), (3, 2), (2, 1), (10, 7)])
def test_kept_rows_are_those_with_the_largest_draws_and_no_others_are_computed(
    batch_size: int, num_kept: int
) -> None:
    keys, computed = torch.arange(batch_size) + 5, []
    (drop,) = StochasticDepth([0.25], "kept")(batch_size, keys)
    assert isinstance(drop, KeptRows)
    draws = counted_draws(keys, torch.zeros(1, 1, dtype=torch.int64))[0]
    x = torch.randn(batch_size, 3)

    def branch(rows: torch.Tensor) -> torch.Tensor:
        computed.append(len(rows))
        return rows.square()

    out = add_branch(x, branch, drop)

    kept = sorted(range(batch_size), key=lambda row: -draws[row])[:num_kept]
    assert sorted(drop.rows.tolist()) == sorted(kept)
    assert computed == [num_kept]
    expected = x.clone()
    expected[kept] += x[kept].square() * batch_size / num_kept
    torch.testing.assert_close(out, expected)


def test_of_a_few_samples_one_is_kept_and_of_nearly_all_all() -> None:
    keys = torch.arange(1)

    assert StochasticDepth([0.9], "kept")(1, keys) == [None]
    assert StochasticDepth([0.0, 0.5], "kept")(1, keys) == [None, None]
    assert len(StochasticDepth([0.9], "kept")(4, torch.arange(4))[0].rows) == 1
    for probability, num_kept in ((0.8, 4), (0.9, 2)):  # 1 - p rounds down
        assert len(StochasticDepth([probability], "kept")(20, torch.arange(20))[0].rows) == num_kept


def test_without_keys_torch_s_generator_draws() -> None:
    depth = StochasticDepth([0.5])
    draws = []
    for seed in (0, 0, None):
        if seed is not None:
            torch.manual_seed(seed)
        draws.append(depth(64)[0])

    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[1], draws[2])
    assert draws[0].unique().tolist() == [0.0, 2.0]


def test_captured_as_a_graph_it_draws_for_any_number_of_samples() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.depth = StochasticDepth([0.5])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return add_branch(0 * x, lambda zeros: zeros + 1, self.depth(x.shape[0])[0])

    shapes = {"x": {0: torch.export.Dim.DYNAMIC}}
    graph = torch.export.export(Dropping().train(), (torch.ones(2, 1),), dynamic_shapes=shapes)

    assert graph.module()(torch.ones(64, 1)).unique().tolist() == [0.0, 2.0]


def test_nothing_is_dropped_in_evaluation_or_at_probability_zero() -> None:
    keys = torch.arange(8)

    assert StochasticDepth([0.5, 0.9]).eval()(8, keys) == [None, None]
    assert StochasticDepth([0.0, 0.0]).train()(8, keys) == [None, None]
    assert StochasticDepth([0.0, 0.5]).train()(8, keys)[0] is None


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_a_probability_outside_its_range_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match=f"probability {probability} is outside"):
        StochasticDepth([0.0, probability])
