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
    cut = {
        "num_images": 50,
        "global_batch": 12,
        "world_size": 1,
        "rank": 0,
        "micro_batch": 12,
        "mix_group": 0,
    }
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

    assert sorted(showing for rank in ranks for showing in rank) == whole
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

    blocks = _BLOCKS[images]
    firsts = [int(np.flatnonzero(blocks == block)[0]) for block in range(10)]
    lasts = [int(np.flatnonzero(blocks == block)[-1]) for block in range(10)]
    open_at = [sum(f <= place <= last for f, last in zip(firsts, lasts, strict=True)) for place in range(50)]
    assert sorted(images.tolist()) == list(range(50))
    assert max(open_at) == 3


def test_the_images_of_a_window_are_shuffled_among_themselves() -> None:
    order = BlockShuffled(np.repeat(np.arange(20), 50), window=4, seed=0)(1).images

    windows = (order // 50).reshape(5, 200)
    assert all(len(set(window)) == 4 for window in windows.tolist())
    assert sorted({tuple(sorted(set(window))) for window in windows.tolist()})[0] != (0, 1, 2, 3)
    changes = (np.diff(windows, axis=1) != 0).mean()
    assert 0.70 < changes < 0.80  # 3 / 4 expected, 3.7 standard deviations


def test_one_window_of_all_blocks_is_the_full_shuffle() -> None:
    law = BlockShuffled(_BLOCKS, window=10, seed=3)

    assert law(5).images.tolist() == LAWS["full"](5).images.tolist()


def test_balanced_sampling_shows_every_class_once_in_each_round() -> None:
    images, _ = LAWS["balanced"](0)

    rounds = _LABELS[images][:48].reshape(16, 3).tolist()
    assert all(sorted(classes) == [0, 1, 3] for classes in rounds)
    assert len({tuple(classes) for classes in rounds}) == 6  # in every order


def test_balanced_sampling_draws_the_images_of_a_class_equally_often() -> None:
    images = np.concatenate([LAWS["balanced"](epoch).images for epoch in range(200)])

    for label in (0, 1, 3):
        counts = np.bincount(images, minlength=50)[label == _LABELS]
        assert stats.chisquare(counts).pvalue > _RARE


def test_repeated_augmentation_shows_the_images_of_timms_steps() -> None:
    """Its sampler, which is DeiT's, on 4 processes of 32 images."""
    samplers = [RepeatAugSampler(range(1024), num_replicas=4, rank=rank, num_repeats=3) for rank in range(4)]
    for sampler in samplers:
        sampler.set_epoch(1)
    theirs = np.array([list(sampler) for sampler in samplers]).reshape(4, 8, 32).swapaxes(0, 1)
    order = torch.randperm(1024, generator=torch.Generator().manual_seed(1)).numpy()

    ours = Repeated(lambda epoch: Order(order, order * 0), 3, global_batch=128)(1).images

    for step, images in enumerate(ours.reshape(8, 128).tolist()):
        assert Counter(images) == Counter(theirs[step].ravel().tolist())


@pytest.mark.parametrize(("world_size", "mix_group"), [(3, 4), (4, 3), (6, 2), (1, 3)])
def test_copies_are_in_other_mixing_groups_and_on_other_processes(world_size: int, mix_group: int) -> None:
    ours = Repeated(Shuffled(48, 0), 3, global_batch=12)(0)

    for images in ours.images.reshape(4, 12).tolist():
        for image in set(images):
            places = np.flatnonzero(np.array(images) == image)
            assert len(places) == 3
            assert len(set((places // mix_group).tolist())) == 3
            assert world_size < 3 or len(set((places // (12 // world_size)).tolist())) == 3


def test_repeated_augmentation_shows_fewer_images() -> None:
    images, repeats = LAWS["repeated"](0)

    counts = Counter(images.tolist())
    assert sorted(counts.values()) == [2] + [3] * 16
    assert sorted(repeats.tolist()) == [0] * 17 + [1] * 17 + [2] * 16
    assert set(counts) == set(draws.permutation(50, 3, 0)[:17].tolist())
