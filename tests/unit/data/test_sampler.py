from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from swin_train.data import draws
from swin_train.data.orders import Shuffled
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
