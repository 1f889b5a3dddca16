from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from swin_train.data import draws
from swin_train.data.mixing import Mixer
from swin_train.data.orders import BlockShuffled, OrderLaw, Repeated, Shuffled
from swin_train.data.sampler import BatchGeometry, BatchRequest, EpochSampler, EvalSampler


def geometry(**changes: int) -> BatchGeometry:
    settings: dict[str, Any] = {
        "num_images": 50,
        "global_batch": 12,
        "world_size": 1,
        "rank": 0,
        "micro_batch": 12,
        "mix_group": 0,
        "seed": 3,
    }
    return BatchGeometry(**{**settings, **changes})


def requests(cut: BatchGeometry, epoch: int, first_step: int = 0) -> Iterator[BatchRequest]:
    return cut.requests(Shuffled(cut.num_images, cut.seed)(epoch), epoch, first_step)


def facts(requests: Any) -> list[tuple[int, int, list[int], list[int]]]:
    return [(r.epoch, r.step, r.indices.tolist(), r.positions.tolist()) for r in requests]


def images_by_step(requests: list[BatchRequest]) -> dict[int, list[int]]:
    steps: dict[int, list[int]] = {}
    for request in requests:
        steps.setdefault(request.step, []).extend(request.indices.tolist())
    return steps


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("micro_batch", [1, 2, 5, 12])
def test_every_step_takes_its_slice_of_the_order_whatever_the_ranks_and_micro_batches(
    world_size: int, micro_batch: int
) -> None:
    order = draws.permutation(50, 3, 2).tolist()
    ranks = [
        geometry(world_size=world_size, rank=rank, micro_batch=micro_batch) for rank in range(world_size)
    ]

    steps = [images_by_step(list(requests(rank, 2))) for rank in ranks]

    for step in range(4):
        together = [image for rank in steps for image in rank[step]]
        assert together == order[step * 12 : (step + 1) * 12]
    assert all(len(rank) == 4 for rank in steps)


def test_an_epoch_holds_no_image_twice_and_leaves_out_what_does_not_fill_a_batch() -> None:
    seen = [i for request in requests(geometry(), 0) for i in request.indices.tolist()]

    assert len(seen) == len(set(seen)) == 48


def test_positions_count_through_the_global_batch() -> None:
    found = list(requests(geometry(world_size=2, rank=1, micro_batch=4), 0))

    assert [r.positions.tolist() for r in found[:2]] == [[6, 7, 8, 9], [10, 11]]
    assert len(found) == 4 * geometry(world_size=2, micro_batch=4).micro_batches


def test_starting_in_mid_epoch_gives_the_remaining_requests() -> None:
    whole = facts(requests(geometry(micro_batch=5), 1))

    rest = facts(requests(geometry(micro_batch=5), 1, 2))

    assert rest == [request for request in whole if request[1] >= 2]


def test_the_epoch_sampler_starts_where_it_was_told() -> None:
    sampler = EpochSampler(geometry())

    sampler.start_at(5, 1)

    assert facts(sampler) == facts(requests(geometry(), 5, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"world_size": 5}, "global_batch 12 must be a multiple of world_size 5"),
        ({"rank": 1}, "rank 1 must be below world_size 1"),
        (
            {"world_size": 2, "mix_group": 4},
            "6 images per process and 12 per micro-batch must both be multiples",
        ),
        ({"micro_batch": 6, "mix_group": 4}, "12 images per process and 6 per micro-batch must both be"),
    ],
)
def test_a_geometry_that_does_not_divide_is_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        geometry(**changes)


@pytest.mark.parametrize("num_images", [1, 3, 10, 17])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_evaluation_sees_every_image_once_in_equally_many_batches(
    num_images: int, world_size: int, batch_size: int
) -> None:
    samplers = [EvalSampler(num_images, world_size, rank, batch_size) for rank in range(world_size)]

    ranks = [list(sampler) for sampler in samplers]

    real = [r.indices[r.positions < num_images] for requests in ranks for r in requests]
    assert sorted(np.concatenate(real).tolist()) == list(range(num_images))
    assert {len(requests) for requests in ranks} == {len(samplers[0])}
    assert all(r.indices.max() < num_images for requests in ranks for r in requests)


_PICTURE = (8, 8)


def _plans(seed: int) -> tuple[BatchGeometry, list[BatchGeometry], OrderLaw]:
    """A random plan as one process has it, the same shared by several, and a random law of its order."""
    rng = np.random.default_rng(seed)
    world_size = int(rng.integers(1, 9))
    mix_group = int(rng.choice([0, 2, 4, 6]))
    unit = max(1, mix_group)
    rank_batch = unit * int(rng.integers(1, 7))
    micro_batch = unit * int(rng.integers(1, 8))  # also one larger than the rank's share, or not dividing it
    global_batch = world_size * rank_batch
    num_images = global_batch * int(rng.integers(1, 5)) + int(rng.integers(0, global_batch))
    settings = {"num_images": num_images, "global_batch": global_batch, "mix_group": mix_group, "seed": seed}
    alone = geometry(**settings, micro_batch=global_batch)
    ranks = [
        geometry(**settings, micro_batch=micro_batch, world_size=world_size, rank=rank)
        for rank in range(world_size)
    ]
    blocks = np.arange(num_images) // 7
    laws: list[OrderLaw] = [Shuffled(num_images, seed), BlockShuffled(blocks, 3, seed)]
    laws.append(Repeated(laws[0], int(rng.integers(2, 4)), global_batch))
    return alone, ranks, laws[int(rng.integers(len(laws)))]


def _groups(cut: BatchGeometry, shares: list[list[BatchRequest]]) -> dict[tuple[int, int], Any]:
    """By step and number of the group: which images are mixed how, and with which of them."""
    mixer = Mixer(0.8, 1.0, None, 1.0, 0.5, "elem", 0.1, 3, cut.mix_group, cut.seed)
    found: dict[tuple[int, int], Any] = {}
    for request in (request for share in shares for request in share):
        first = int(request.positions[0]) // cut.mix_group
        plan = mixer.plan(
            _PICTURE, len(request.indices), epoch=request.epoch, step=request.step, first_group=first
        )
        partners = request.indices[plan.partners.numpy()]
        facts = zip(
            request.indices.tolist(),
            partners.tolist(),
            plan.weights.tolist(),
            plan.boxes.tolist(),
            strict=True,
        )
        for position, fact in zip(request.positions.tolist(), facts, strict=True):
            found.setdefault((request.step, position // cut.mix_group), []).append(fact)
    return found


@pytest.mark.parametrize("seed", range(150))
def test_processes_share_any_plan_equally_and_do_together_what_one_does(seed: int) -> None:
    alone, ranks, law = _plans(seed)
    epoch = seed % 3

    whole = list(alone.requests(law(epoch), epoch))
    shares = [list(rank.requests(law(epoch), epoch)) for rank in ranks]

    # equal work, in every step: none waits for another, and none is left alone in a collective
    work = [[(request.step, len(request.indices)) for request in share] for share in shares]
    assert all(mine == work[0] for mine in work)
    counts = [sum(step == place for place, _ in work[0]) for step in range(alone.steps_per_epoch)]
    assert counts == [ranks[0].micro_batches] * (alone.num_images // alone.global_batch)
    # the union is the global batch of one process: images, places and how often they were shown
    assert len(whole) == len(counts)
    for step, one in enumerate(whole):
        parts = [request for share in shares for request in share if request.step == step]
        for name in ("positions", "indices", "repeats"):
            together = np.concatenate([getattr(part, name) for part in parts])
            assert together.tolist() == getattr(one, name).tolist()
    shown = [showing for request in whole for showing in request.showings()]
    assert len(set(shown)) == len(shown) == alone.steps_per_epoch * alone.global_batch
    if not isinstance(law, Repeated):
        assert len({image for image, _ in shown}) == len(shown)
    if alone.mix_group:
        groups = _groups(alone, [whole])
        assert _groups(ranks[0], shares) == groups
        assert all(len(group) == alone.mix_group for group in groups.values())
