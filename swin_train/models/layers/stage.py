"""The stage: blocks at one resolution, then a merging of patches."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from swin_train.models.layers.block import Block, Drops
from swin_train.models.layers.patch import PatchMerging


class Stage(nn.Module):
    """Blocks at one resolution, then a merging of patches.

    Args:
        blocks: at least one, all at one resolution.
        downsample: merges patches at the end, except in the last stage.
        use_checkpoint: compute each block again in the backward pass instead of keeping its activations.
        narrow_residual: under autocast, keep what the blocks add to in its dtype, whatever comes in.
    """

    blocks: Sequence[Block]

    def __init__(
        self,
        blocks: Sequence[Block],
        downsample: PatchMerging | None,
        *,
        use_checkpoint: bool = False,
        narrow_residual: bool = False,
    ) -> None:
        super().__init__()
        self.dim = blocks[0].place.dim
        self.resolution = blocks[0].place.resolution
        self.window = blocks[0].place.window
        self.use_checkpoint = use_checkpoint
        self.narrow_residual = narrow_residual
        self.blocks = cast(Sequence[Block], nn.ModuleList(blocks))
        self.downsample = downsample

    def forward(self, x: Tensor, drops: Sequence[Drops] | None = None) -> Tensor:
        """[B, H, W, C] to [B, H / 2, W / 2, 2C], or to [B, H, W, C] without merging; ``drops`` are the blocks'."""
        x = self.run_blocks(x, drops)
        return x if self.downsample is None else self.downsample(x)

    def run_blocks(self, x: Tensor, drops: Sequence[Drops] | None = None) -> Tensor:
        """[B, H, W, C] to [B, H, W, C], before the merging: the stage's feature map."""
        if self.narrow_residual and torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        for block, own in zip(self.blocks, drops or [(None, None)] * len(self.blocks), strict=True):
            if self.use_checkpoint and self.training:
                x = checkpoint(block, x, own, use_reentrant=False)
            else:
                x = block(x, own)
        return x
