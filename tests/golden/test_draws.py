"""The numbers of the counted randomness are part of the checkpoint format: they must never change."""

import math
import random

import numpy as np
import pytest

from swin_train.data import draws

_WORD = 2**64


def slow_mix64(z: int) -> int:
    """splitmix64 written down from its publication, with remainders instead of masks."""
    z = (z + 11400714819323198485) % _WORD
    z = (z ^ z // 2**30) * 13787848793156543929 % _WORD
    z = (z ^ z // 2**27) * 10723151780598845931 % _WORD
    return z ^ z // 2**31


def slow_key(*words: int) -> int:
    folded = 0
    for word in words:
        folded = slow_mix64(folded ^ (word % _WORD))
    return folded


def test_mix64_gives_the_published_first_outputs_of_splitmix64() -> None:
    assert draws.mix64(0) == 0xE220A8397B1DCDAF
    assert draws.mix64(1) == 0x910A2DEC89025CC1


@pytest.mark.parametrize("z", [0, 1, 2**32, 2**63, 2**64 - 1, 0x0123456789ABCDEF])
def test_mix64_agrees_with_a_slow_implementation_alone_and_in_arrays(z: int) -> None:
    assert draws.mix64(z) == slow_mix64(z)
    assert draws.mix64_array(np.array([z], dtype=np.uint64)).tolist() == [slow_mix64(z)]


def test_keys() -> None:
    assert draws.key(1, 2, 3) == slow_key(1, 2, 3) == 0xD0734750FDE362B3
    assert draws.key(3, 2, 1) == slow_key(3, 2, 1) == 0xD62A7F6E291FEF64
    assert draws.key(-1) == slow_key(-1) == 0xE4D971771B652C20


def test_stream_numbers() -> None:
    assert {stream.name: stream.value for stream in draws.Stream} == {
        "SHUFFLE": 1,
        "AUGMENT": 2,
        "MIX": 3,
        "DROPPATH": 4,
        "INIT": 5,
        "STEP": 6,
        "SUBSTITUTE": 7,
        "SUBSET": 8,
        "SAMPLE": 9,
    }


@pytest.mark.parametrize(
    ("seed", "epoch", "expected"),
    [
        (0, 0, [1, 6, 10, 5, 11, 4, 8, 3, 7, 9, 2, 0]),
        (0, 1, [11, 1, 6, 9, 10, 4, 7, 5, 2, 8, 3, 0]),
        (7, 0, [5, 0, 3, 9, 2, 4, 8, 7, 6, 10, 11, 1]),
    ],
)
def test_permutation(seed: int, epoch: int, expected: list[int]) -> None:
    slow = sorted(range(12), key=lambda i: slow_mix64(i ^ slow_key(seed, 1, epoch)))

    assert draws.permutation(12, seed, epoch).tolist() == slow == expected


def test_drop_path_keys() -> None:
    keys = draws.drop_path_keys(0, 1, 2, np.arange(3))

    assert keys.dtype == np.int64
    assert [int(k) % _WORD for k in keys] == [slow_key(0, 4, 1, 2, position) for position in range(3)]
    assert keys.tolist() == [-687919422968472496, -7043151634338545867, 7349561316418709617]


def test_sample_rng() -> None:
    rng = draws.sample_rng(0, 0, 0)

    values = [rng.random() for _ in range(3)]

    assert values == [0.1603660192532812, 0.7525662165149642, 0.968087740343048]
    assert values[0] == random.Random(slow_key(0, 2, 0, 0)).random()


def test_sequence_of_all_kinds_of_draws() -> None:
    rng = draws.sample_rng(5, 2, 11)

    assert draws.uniform(rng, -1, 3) == 0.4650167658485018
    assert draws.below(rng, 10) == 4
    assert draws.choice(rng, "abcdef") == "f"
    # logarithms and cosines may differ in the last bit between C libraries
    assert draws.normal(rng, 2, 0.5) == pytest.approx(1.8689566410876335, rel=1e-12)
    assert draws.beta(rng, 0.8, 0.8) == pytest.approx(0.9646114110296106, rel=1e-12)
    assert draws.beta(rng, 1, 1) == pytest.approx(0.6080197065603044, rel=1e-12)
    assert draws.beta(rng, 2.5, 0.3) == pytest.approx(0.9793576176854618, rel=1e-12)


def test_normal_noise() -> None:
    expected = [1.4398610591888428, -0.6153225302696228, -0.4706861078739166, -0.7956262826919556]
    slow = []
    for counter in range(3):
        bits = slow_mix64(counter ^ 42)
        u, v = (bits >> 40) / 2**24, (bits & 0xFFFFFF) / 2**24
        slow.append(math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v))

    noise = draws.normal_noise(42, 5)

    # float32 logarithm, root and cosine of an angle up to 2 pi
    np.testing.assert_allclose(noise[:4], expected, rtol=1e-5)
    np.testing.assert_allclose(noise[:3], slow, rtol=1e-4, atol=1e-6)
