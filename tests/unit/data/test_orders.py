from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats
from timm.data.distributed_sampler import RepeatAugSampler

from swin_train.data import draws
from swin_train.data.orders import Balanced, BlockShuffled, Order, OrderLaw, Repeated, Shuffled
from swin_train.data.sampler import BatchGeometry, BatchRequest, EpochSampler

_RARE = 1e-4  # a right law fails a test on a fixed generator once in 10^4 seeds
_BLOCKS = np.repeat(np.arange(10), [3, 7, 5, 5, 1, 9, 4, 6, 5, 5])
_LABELS = np.repeat([0, 1, 3], [30, 4, 16])  # of class 2 there is no image
LAWS: dict[str, OrderLaw] = {
    "full": Shuffled(50, seed=3),
    "blocks": BlockShuffled(_BLOCKS, window=3, seed=3),
    "balanced": Balanced(_LABELS, seed=3),
    "repeated": Repeated(Shuffled(50, seed=3), 3, global_batch=12),
    "repeated balanced": Repeated(Balanced(_LABELS, seed=3), 2, global_batch=12),
}


def requests(law: OrderLaw, first_step: int = 0, **changes: int) -> list[BatchRequest]:
    cut = {"num_images": 50, "global_batch": 12, "world_size": 1, "rank": 0, "micro_batch": 12, "mix_group": 0}
    sampler = EpochSampler(BatchGeometry(**{**cut, "seed": 3, **changes}), law)
    sampler.start_at(2, first_step)
    return list(sampler)


def shown(requests: list[BatchRequest]) -> list[tuple[int, int, int, int]]:
    return [
        (r.step, position, *showing)
        for r in requests
        for position, showing in zip(r.positions.tolist(), r.showings(), strict=True)
    ]


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize(("world_size", "micro_batch"), [(1, 5), (2, 6), (3, 4), (4, 2)])
def test_steps_hold_the_same_showings_on_any_processes_and_micro_batches(
    name: str, world_size: int, micro_batch: int
) -> None:
    whole = shown(requests(LAWS[name]))

    ranks = [
        shown(requests(LAWS[name], world_size=world_size, rank=rank, micro_batch=micro_batch))
        for rank in range(world_size)
    ]

    assert sorted(sum(ranks, [])) == whole
    assert len(whole) == 48


@pytest.mark.parametrize("name", LAWS)
def test_a_pass_from_a_step_on_is_the_rest(name: str) -> None:
    whole = shown(requests(LAWS[name], micro_batch=5))

    rest = shown(requests(LAWS[name], first_step=2, micro_batch=5))

    assert rest == [showing for showing in whole if showing[0] >= 2]


@pytest.mark.parametrize("name", LAWS)
def test_no_view_is_shown_twice_in_an_epoch(name: str) -> None:
    images, repeats = LAWS[name](0)

    assert len(images) == len(repeats) == 50
    assert len(set(zip(images.tolist(), repeats.tolist(), strict=True))) == 50
    counts = Counter(images.tolist())
    assert all(sorted(repeats[images == image].tolist()) == list(range(n)) for image, n in counts.items())


@pytest.mark.parametrize("name", LAWS)
def test_epochs_differ(name: str) -> None:
    assert LAWS[name](0).images.tolist() != LAWS[name](1).images.tolist()


def test_the_full_shuffle_is_the_counted_permutation() -> None:
    assert LAWS["full"](4).images.tolist() == draws.permutation(50, 3, 4).tolist()


def test_a_block_shuffle_shows_every_image_once_a_few_blocks_at_a_time() -> None:
    images, _ = LAWS["blocks"](0)

    blocks = _BLOCKS[images].tolist()
    assert sorted(images.tolist()) == list(range(50))
    windows = []
    while blocks:
        window = set(blocks[: max(3, 1)])
        while len(window) < min(3, len(set(blocks))):
            window.add(blocks[len(window)])
            window |= set(blocks[: len(window) + 5]) if len(window) < 3 else set()
        size = sum(blocks.count(block) for block in window)
        windows.append(window)
        blocks = blocks[size:]
    assert sum(len(window) for window in windows) == 10
