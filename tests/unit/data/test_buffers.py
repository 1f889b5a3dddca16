import pytest
import torch

from swin_train.data.buffers import Buffers


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_memory_is_used_again_when_nothing_looks_at_it(dtype: torch.dtype) -> None:
    buffers = Buffers(dtype, pinned=False)
    batch = buffers.take((2, 3, 4, 5))
    place = batch.data_ptr()

    view = batch[1:, 0].flatten()[:2]
    del batch
    other = buffers.take((2, 3, 4, 5))
    assert other.data_ptr() != place
    del view

    assert buffers.take((2, 3, 4, 5)).data_ptr() == place
    assert (other.shape, other.dtype) == ((2, 3, 4, 5), dtype)


def test_a_larger_batch_gets_memory_of_its_own() -> None:
    buffers = Buffers(torch.float32, pinned=False)
    buffers.take((1, 4))

    assert buffers.take((3, 4)).fill_(1.0).sum() == 12
    assert buffers.take((1, 4)).shape == (1, 4)
