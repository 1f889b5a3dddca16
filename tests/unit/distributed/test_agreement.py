"""A hash that sees every bit of the weights and its place, and what is said where processes disagree."""

import itertools

import pytest
import torch
from torch import Tensor

from swin_train.distributed.agreement import check_agreement, hash_tensors
from swin_train.distributed.channel import Channel
from swin_train.errors import NumericsError

_INTEGERS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64])
def test_every_bit_counts(dtype: torch.dtype) -> None:
    tensor = torch.arange(5).to(dtype)
    bits = tensor.element_size() * 8
    hashes = {hash_tensors([tensor])}

    for place in range(5):
        for bit in range(bits):
            flipped = tensor.clone()
            flipped.view(_INTEGERS[tensor.element_size()])[place] ^= -(2**63) if bit == 63 else 1 << bit
            hashes.add(hash_tensors([flipped]))

    assert len(hashes) == 1 + 5 * bits


def test_changes_of_two_signs_do_not_cancel() -> None:
    one = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    hashes = {hash_tensors([one * torch.tensor(signs)]) for signs in itertools.product((1, -1), repeat=4)}

    assert len(hashes) == 16


def test_a_number_and_its_complement_differ() -> None:
    """A shift that repeats the sign would make them the same."""
    assert hash_tensors([torch.tensor([5])]) != hash_tensors([torch.tensor([~5])])


def test_zeros_of_both_signs_differ() -> None:
    assert hash_tensors([torch.tensor([0.0])]) != hash_tensors([torch.tensor([-0.0])])


def test_places_count() -> None:
    one, other = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0])

    assert hash_tensors([one]) != hash_tensors([other])


def test_the_order_of_tensors_counts() -> None:
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([3.0])

    assert hash_tensors([one, other]) != hash_tensors([other, one])


def test_equal_tensors_have_equal_hashes_however_they_lie() -> None:
    matrix = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert hash_tensors([matrix.t().contiguous().t()]) == hash_tensors([matrix.clone()])
    assert hash_tensors([]) == 0


def test_large_tensors_are_hashed_in_pieces_whose_places_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swin_train.distributed.agreement._CHUNK", 4)
    values = torch.arange(12.0)

    swapped = torch.cat([values[4:8], values[:4], values[8:]])

    assert hash_tensors([values]) != hash_tensors([swapped])


class Said(Channel):
    """What the processes of a run say to each other, by rank: the part that each holds, and its hash."""

    def __init__(self, *said: list[int]) -> None:
        super().__init__(world_size=len(said))
        object.__setattr__(self, "said", list(said))

    def gather(self, value: list[int]) -> list[list[int]]:  # type: ignore[override]
        assert value in self.said  # type: ignore[attr-defined]
        return self.said  # type: ignore[attr-defined,no-any-return]


def check(weights: list[Tensor], copy: int, *said: list[int]) -> None:
    check_agreement(weights, copy, Said(*said), "update 7")


def test_processes_of_other_parts_need_not_agree() -> None:
    weights, other = [torch.tensor([1.0])], [torch.tensor([2.0])]
    one, two = hash_tensors(weights), hash_tensors(other)

    check(weights, 0, [0, one], [1, two], [0, one], [1, two])


def test_strays_are_named_and_where_nobody_knows_who_is_right_all_are() -> None:
    """Three processes hold one part and one of them strays; of the other part, two hold and differ."""
    weights, other = [torch.tensor([1.0])], [torch.tensor([2.0])]
    one, two = hash_tensors(weights), hash_tensors(other)
    advice = "memory or a processor may be faulty. Go on from the last checkpoint, without that machine"

    with pytest.raises(NumericsError) as error:
        check(weights, 0, [0, two], [1, two], [0, one], [1, two], [0, one])
    assert str(error.value) == (
        f"update 7: the weights of rank 0 are no longer those of the others that should hold the same; {advice}"
    )
    with pytest.raises(NumericsError) as error:
        check(weights, 0, [0, one], [1, two], [0, one], [1, one])
    assert str(error.value) == (
        f"update 7: the weights of rank 1, 3 are no longer those of each other that should hold the same; {advice}"
    )


def test_one_process_agrees_with_itself() -> None:
    check_agreement([torch.tensor([float("nan")])], 0, Channel(), "at the start")
