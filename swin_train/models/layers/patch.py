"""From images to a map of patches, and from a map to one of half the side."""

import torch
from torch import Tensor, nn

from swin_train.models.layers.norm import NormLayer


class PatchEmbed(nn.Module):
    """Cut images into square patches and project each linearly.

    Args:
        patch_size: side of a patch, in pixels.
        in_chans: channels of the images.
        embed_dim: channels of the map.
        norm_layer: applied to the map; None leaves it out.
    """

    def __init__(
        self, patch_size: int, in_chans: int, embed_dim: int, norm_layer: NormLayer | None = None
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)
        self.norm = nn.Identity() if norm_layer is None else norm_layer(embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        """[B, in_chans, height, width] to [B, height / patch, width / patch, embed_dim]."""
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Join each 2 x 2 neighbourhood: half the side, twice the channels.

    Args:
        dim: channels coming in.
        norm_layer: applied to the 4 * dim joined channels.
    """

    def __init__(self, dim: int, norm_layer: NormLayer) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to [B, H / 2, W / 2, 2C]; H and W even."""
        # Down each column of the neighbourhood before the next: the order that published weights expect.
        corners = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))
