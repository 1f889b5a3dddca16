import math
import random

import numpy as np
import pytest
from scipy import stats

from swin_train.data import draws

# Each law is tested on 4,000 draws of a fixed generator; a right one fails such a test once in 10^4 seeds.
_DRAWS = 4000
_RARE = 1e-4


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.2), (0.8, 0.8), (1.0, 1.0), (2.0, 5.0), (0.3, 4.0)])
def test_beta_follows_its_law(a: float, b: float) -> None:
    rng = random.Random(1)

    values = [draws.beta(rng, a, b) for _ in range(_DRAWS)]

    assert stats.kstest(values, stats.beta(a, b).cdf).pvalue > _RARE


def test_beta_of_a_tiny_shape_is_a_fair_coin_and_never_nan() -> None:
    rng = random.Random(2)

    values = [draws.beta(rng, 1e-6, 1e-6) for _ in range(1000)]

    assert all(0 <= value <= 1 for value in values)
    assert 400 < sum(value > 0.5 for value in values) < 600  # 6 standard deviations


def test_normal_follows_its_law() -> None:
    rng = random.Random(3)

    values = [draws.normal(rng, 9, 0.5) for _ in range(_DRAWS)]

    assert stats.kstest(values, stats.norm(9, 0.5).cdf).pvalue > _RARE


@pytest.mark.parametrize("count", [1, 2, 40_001])
def test_normal_noise_follows_its_law(count: int) -> None:
    noise = draws.normal_noise(5, count)

    assert noise.shape == (count,)
    assert noise.dtype == np.float32
    if count > _DRAWS:
        assert stats.kstest(noise, stats.norm.cdf).pvalue > _RARE
        assert abs(np.corrcoef(noise[:20_000], noise[20_000:40_000])[0, 1]) < 0.03  # 4 standard deviations


def test_normal_noise_at_the_ends_of_its_uniforms_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    extremes = np.array([0, 2**64 - 1], dtype=np.uint64)
    monkeypatch.setattr(draws, "mix64_array", lambda z: extremes)

    assert np.isfinite(draws.normal_noise(0, 4)).all()


def test_below_and_choice_reach_every_value_equally_often() -> None:
    rng = random.Random(4)

    counts = np.bincount([draws.below(rng, 7) for _ in range(7000)], minlength=7)

    assert stats.chisquare(counts).pvalue > _RARE
    assert {draws.choice(rng, "abc") for _ in range(100)} == set("abc")


@pytest.mark.parametrize("num_images", [1, 2, 1000])
def test_permutation_holds_every_image_once(num_images: int) -> None:
    assert sorted(draws.permutation(num_images, 3, 4).tolist()) == list(range(num_images))


def test_seeds_epochs_and_streams_differ() -> None:
    orders = {tuple(draws.permutation(50, seed, epoch)) for seed in range(5) for epoch in range(5)}
    keys = {draws.key(0, stream, 0) for stream in draws.Stream}

    assert len(orders) == 25
    assert len(keys) == len(draws.Stream)


def test_permutations_of_neighbouring_seeds_are_uncorrelated() -> None:
    first, second = draws.permutation(10_000, 0, 0), draws.permutation(10_000, 1, 0)

    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / math.sqrt(10_000)
