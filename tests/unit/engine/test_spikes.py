"""A loss that jumps is found against those before it."""

import json
import math

import pytest
import torch

from swin_train.engine.spikes import SpikeWatch


def usual_losses(count: int) -> dict[int, float]:
    """Losses as of a run: around 2, with a deviation of about 0.1, from update 1."""
    noise = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {step: 2 + 0.1 * value for step, value in enumerate(noise.clamp(-3, 3).tolist(), start=1)}


def test_a_jump_is_found_and_said() -> None:
    watch = SpikeWatch()

    assert watch.find(usual_losses(300), 6.0) is None
    found = watch.find({301: 2.1, 302: 4.0, 303: 9.0}, 6.0)

    assert found is not None
    step, why = found
    assert step == 302  # the first
    assert why == "from what the 200 before had 1.995 +- 0.093 to 4"


def test_a_spike_is_not_among_the_usual() -> None:
    watch = SpikeWatch()
    watch.find(usual_losses(200), 6.0)
    before = list(watch.losses)

    watch.find({201: 4.0}, 6.0)

    assert watch.losses == before


def test_a_loss_that_stays_up_has_jumped_once_and_is_the_usual_one_then() -> None:
    watch = SpikeWatch()
    watch.find(usual_losses(200), 6.0)
    higher = {step + 200: loss + 4 for step, loss in usual_losses(300).items()}

    assert [step for step in higher if watch.find({step: higher[step]}, 6.0)] == [201]
    found = watch.find({501: 20.0}, 6.0)
    assert found is not None
    assert found[1].startswith("from what the 200 before had 5.9")


def test_after_usual_losses_a_jump_is_another_one() -> None:
    watch = SpikeWatch()
    watch.find(usual_losses(200), 6.0)
    losses = {201: 9.0, 202: 9.0, 203: 2.0, 204: 9.0}

    assert [step for step in losses if watch.find({step: losses[step]}, 6.0)] == [201, 204]


def test_losses_behind_a_jump_are_noted() -> None:
    watch = SpikeWatch()
    watch.find(usual_losses(200), 6.0)

    watch.find({201: 9.0, 202: 2.125}, 6.0)

    assert watch.losses[-1] == 2.125


def test_checkpoints_before_the_last_three_jumps_are_kept() -> None:
    watch = SpikeWatch()
    for step in (5, 10, 10, 15, 20):
        watch.keep(step)

    assert watch.kept == [10, 15, 20]


def test_the_jump_must_be_of_so_many_deviations() -> None:
    losses = usual_losses(200)
    mean = math.fsum(losses.values()) / 200
    deviation = math.sqrt(math.fsum((loss - mean) ** 2 for loss in losses.values()) / 200)

    for factor, is_found in ((5.99, False), (6.01, True)):
        watch = SpikeWatch()
        watch.find(losses, 6.0)
        assert (watch.find({201: mean + factor * deviation}, 6.0) is not None) is is_found


def test_nothing_is_unusual_before_fifty() -> None:
    losses = usual_losses(50)
    for count, is_found in ((49, False), (50, True)):
        watch = SpikeWatch()
        watch.find({step: losses[step] for step in range(1, count + 1)}, 6.0)
        assert (watch.find({count + 1: 100.0}, 6.0) is not None) is is_found


def test_with_a_sigma_of_zero_nothing_is_found_and_losses_are_noted() -> None:
    watch = SpikeWatch()
    watch.find(usual_losses(200), 0.0)

    assert watch.find({201: 1e9}, 0.0) is None
    assert watch.losses[-1] == 1e9


def test_only_the_last_two_hundred_tell_what_is_usual() -> None:
    watch = SpikeWatch()
    watch.find(dict.fromkeys(range(200), 100.0) | {200 + i: loss for i, loss in usual_losses(200).items()}, 0)

    assert len(watch.losses) == 200
    assert max(watch.losses) < 3


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_losses_that_are_not_finite_are_passed_over(value: float) -> None:
    watch = SpikeWatch()
    watch.find(usual_losses(100), 6.0)
    before = list(watch.losses)

    assert watch.find({101: value}, 6.0) is None
    assert watch.losses == before


def test_a_saved_watch_finds_what_the_first_would() -> None:
    watch = SpikeWatch(left_out=[(11, 20), (31, 31)], kept=[5], num_rollbacks=2)
    watch.find(usual_losses(100), 6.0)

    resumed = SpikeWatch.from_numbers(json.loads(json.dumps(watch.numbers())))

    assert resumed == watch
    assert resumed.find({101: 4.0}, 6.0) == watch.find({101: 4.0}, 6.0) is not None


def test_updates_that_are_passed_over_are_known_by_their_number() -> None:
    watch = SpikeWatch(left_out=[(11, 20), (31, 31)])

    left_out = [step for step in range(1, 40) if watch.is_left_out(step)]

    assert left_out == [*range(11, 21), 31]
