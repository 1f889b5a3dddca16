"""Relative positions of the tokens in a window."""

import torch
from torch import Tensor


def relative_position_index(window: int) -> Tensor:
    """For each pair of tokens, the row of the bias table that holds their offset.

    Returns:
        int64 [N, N], N = window ** 2, with values in [0, (2 * window - 1) ** 2).

    Source: Swin (Liu et al. 2021), section 3.2, "relative position bias".
    """
    side = torch.arange(window)
    offset = side[:, None] - side[None, :] + window - 1
    rows = offset[:, None, :, None] * (2 * window - 1)
    columns = offset[None, :, None, :]
    return (rows + columns).reshape(window**2, window**2)
