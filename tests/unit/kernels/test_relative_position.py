import math

import pytest
import torch

from swin_train.kernels.relative_position import (
    gather_bias,
    log_spaced_coordinates,
    pretrained_window_of,
    relative_position_index,
)


def test_relative_position_index_numbers_offsets_row_by_row() -> None:
    index = relative_position_index(2)

    assert index.tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_a_smaller_window_reads_the_middle_of_the_table() -> None:
    whole, part = relative_position_index(4), relative_position_index(2, table_window=4)

    inside = [0, 1, 4, 5]  # the first two tokens of the first two rows
    assert torch.equal(part, whole[inside][:, inside])


def test_biases_are_spread_over_the_pairs_of_tokens() -> None:
    table = torch.arange(18.0).view(9, 2)

    bias = gather_bias(table, relative_position_index(2))

    assert bias.shape == (2, 4, 4)
    assert bias[1].tolist() == (2 * relative_position_index(2) + 1).tolist()


def test_coordinates_are_spaced_by_the_logarithm() -> None:
    table = log_spaced_coordinates(3).view(5, 5, 2)

    spaced = [-math.log2(9) / 3, -math.log2(5) / 3, 0, math.log2(5) / 3, math.log2(9) / 3]
    assert table[:, 0, 0].tolist() == pytest.approx(spaced)
    assert table[0, :, 1].tolist() == pytest.approx(spaced)


@pytest.mark.parametrize(
    ("window", "pretrained", "largest"), [(16, 12, 1.191), (8, 6, 1.203), (16, 0, 1.057)]
)
def test_coordinates_keep_the_scale_of_the_pre_training(window: int, pretrained: int, largest: float) -> None:
    # official.md's figures, measured on the reference: windows 12 and 6 fine-tuned at 16 and 8
    assert log_spaced_coordinates(window, pretrained).max().item() == pytest.approx(largest, abs=5e-4)


@pytest.mark.parametrize(("window", "pretrained"), [(2, 2), (7, 12), (16, 12), (24, 16)])
def test_the_largest_coordinate_tells_the_window_of_the_pre_training(window: int, pretrained: int) -> None:
    largest = log_spaced_coordinates(window, pretrained).max().item()

    assert pretrained_window_of(largest, window) == pytest.approx(pretrained, rel=1e-5)  # float32
