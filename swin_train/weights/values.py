"""Which tensors of a file hold values that may be looked at."""

import torch
from torch import Tensor


def has_values(tensor: Tensor) -> bool:
    """Whether a tensor is dense, on the CPU, and has memory for each of its elements.

    A file of a kilobyte may hold a tensor of 10^10 elements that all lie in one place.
    """
    if tensor.layout is not torch.strided or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
