"""Interleaved rounds and what is made of them."""

import pytest

from swin_train.benchmark import rounds
from swin_train.benchmark.rounds import Sample, Spread, ratios, run_rounds, spread


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """CPU seconds so far, which passes add to."""
    used = [0.0]
    monkeypatch.setattr(rounds, "cpu_seconds", lambda: used[0])
    return used


def test_each_contender_runs_once_a_round_in_alternating_order_after_warming_up(clock: list[float]) -> None:
    calls: list[tuple[str, int]] = []

    def load(name: str, number: int) -> int:
        calls.append((name, number))
        clock[0] += 2.0
        return 10

    passes = {name: lambda number, name=name: load(name, number) for name in "ab"}
    said: list[str] = []
    samples = run_rounds(passes, 3, said.append)

    assert calls == [
        *[("a", 0), ("b", 0)],
        *[("a", 1), ("b", 1)],
        *[("b", 2), ("a", 2)],
        *[("a", 3), ("b", 3)],
    ]
    assert said == ["warming up", "round 1 of 3", "round 2 of 3", "round 3 of 3"]
    assert [(sample.images, sample.cpu_s) for sample in samples["a"]] == [(10, 2.0)] * 3
    assert samples["a"][0].wall_s < 1.0  # the real clock


def test_a_sample_in_three_units() -> None:
    sample = Sample(images=100, cpu_s=0.5, wall_s=0.25)

    assert (sample.per_core_s, sample.per_s, sample.ms) == (200.0, 400.0, 5.0)


def test_a_spread_is_the_median_and_the_extremes() -> None:
    assert spread([3.0, 9.0, 1.0]) == Spread(3.0, 1.0, 9.0)


def test_ratios_are_taken_round_by_round() -> None:
    """The machine is twice as slow in the second round: the ratio is not."""
    fast = [Sample(100, cpu_s, 1.0) for cpu_s in (0.1, 0.2, 0.1)]
    slow = [Sample(100, cpu_s, 1.0) for cpu_s in (0.4, 0.8, 0.5)]

    assert ratios(fast, slow) == pytest.approx((4.0, 4.0, 5.0))
