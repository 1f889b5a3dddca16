"""Swin-MLP (the official repository's): what differs is that learned weights, not attention, mix a window."""

from typing import Unpack

import torch.nn.functional as F
from torch import Tensor, nn

from swin_train.kernels.windows import fit_window, whole_windows
from swin_train.models.hierarchical import Common, HierarchicalModel
from swin_train.models.layers.block import Block
from swin_train.models.layers.place import BlockOptions, Place


class SwinMlp(HierarchicalModel):
    """Blocks of linear layers over the tokens of a window, one for each head.

    Their weights belong to a window: unlike attention's they fit no other one.

    Args:
        img_size: side of the square images, or their height and width, in pixels.
        patch_size: side of a patch, in pixels.
        window_size: side of a window, in patches.
        common: ``num_classes`` and the other arguments of ``HierarchicalModel``.

    Raises:
        ValueError: the sizes do not fit each other; the message names both.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 256,
        patch_size: int = 4,
        *,
        window_size: int = 8,
        **common: Unpack[Common],
    ) -> None:
        def make_block(place: Place, options: BlockOptions) -> Block:
            return SpatialMlpBlock(place, options, SpatialMlp(place))

        super().__init__(img_size, patch_size, window_size, make_block, **common)


class SpatialMlpBlock(Block):
    """A block that mixes tokens with ``SpatialMlp``."""

    mixer_name = "spatial_mlp"


class SpatialMlp(nn.Conv1d):
    """A linear layer over the tokens of each window, one for each head, as a grouped convolution.

    Windows are shifted by moving the map inside zeros, not by rolling it, so none joins two borders. A map that
    is no multiple of the window is padded with zeros.

    Args:
        place: of the block.
    """

    def __init__(self, place: Place) -> None:
        width = place.num_heads * place.window**2
        super().__init__(width, width, kernel_size=1, groups=place.num_heads)
        self.place = place
        self.num_heads = place.num_heads
        self.window, self.shift = place.window, place.shift

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to [B, H, W, C]; H and W need not be those that the window was chosen for."""
        B, H, W, C = x.shape
        window = self.window  # at any size, as its weights are: a smaller map is padded
        _, shift = fit_window((H, W), window, is_shifted=self.place.is_shifted)
        before = window - shift if shift else 0
        rows, columns = (whole_windows(side + before, window) for side in (H, W))
        x = F.pad(x, (0, 0, before, columns - before - W, before, rows - before - H))

        head_dim = C // self.num_heads
        cut = x.reshape(B, rows // window, window, columns // window, window, self.num_heads, head_dim)
        windows = cut.permute(0, 1, 3, 5, 2, 4, 6)  # [B, windows down and across, heads, window, window, d]
        mixed = super().forward(windows.reshape(-1, self.num_heads * window**2, head_dim))
        merged = mixed.view(windows.shape).permute(0, 1, 4, 2, 5, 3, 6).reshape(B, rows, columns, C)
        return merged[:, before : before + H, before : before + W]

    def extra_repr(self) -> str:  # noqa: D102
        return f"num_heads={self.num_heads}, window={self.window}, shift={self.shift}"
