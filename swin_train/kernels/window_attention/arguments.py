"""What the torch op of window attention is called with, and what its backward pass gives."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from swin_train.kernels.window_attention.maps import Padding
from swin_train.kernels.windows import whole_windows


@dataclass(frozen=True)
class Arguments:
    """One call.

    Attributes:
        qkv: [B, H, W, 3C], contiguous.
        table: [(2 * table_window - 1) ** 2, num_heads], the bias of every offset.
        scales: [num_heads], factors of the logits; None is ``scale`` for all heads.
        pad_token: [3C], q, k and v of a padded token; None is zeros.
        num_heads, window, shift, scale, cosine, padding: as of the contract.
    """

    qkv: Tensor
    table: Tensor
    scales: Tensor | None
    pad_token: Tensor | None
    num_heads: int
    window: int
    shift: int
    scale: float
    cosine: bool
    padding: Padding

    @property
    def channels(self) -> int:
        """C."""
        return self.qkv.shape[3] // 3

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.channels // self.num_heads

    @property
    def tokens(self) -> int:
        """N, of a window."""
        return self.window**2

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of windows of an image."""
        _, height, width, _ = self.qkv.shape
        return whole_windows(height, self.window) // self.window, whole_windows(
            width, self.window
        ) // self.window

    @property
    def num_windows(self) -> int:
        """Of the batch."""
        return self.qkv.shape[0] * self.grid[0] * self.grid[1]

    @property
    def table_window(self) -> int:
        """The side of the window that the table was made for."""
        return (math.isqrt(len(self.table)) + 1) // 2

    @property
    def padding_is_keys(self) -> bool:
        """Whether there are padded tokens that others attend to."""
        _, height, width, _ = self.qkv.shape
        return self.padding != "masked" and bool(height % self.window or width % self.window)


class Gradients(NamedTuple):
    """Of the four tensors of a call, each in float32 but that of ``qkv``; zeros where it was None."""

    qkv: Tensor
    table: Tensor
    scales: Tensor
    pad_token: Tensor
