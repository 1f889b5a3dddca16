"""From images to a map of patches, and from a map to one of half the side."""

import torch
import torch.nn.functional as F
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
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)
        self.norm = nn.Identity() if norm_layer is None else norm_layer(embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        """[B, in_chans, height, width] to [B, height / patch, width / patch, embed_dim], rounded up.

        Images are padded with zeros, at the bottom and on the right, to whole patches.
        """
        below, right = (-side % self.patch_size for side in images.shape[2:])
        if below or right:
            images = F.pad(images, (0, right, 0, below))
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Join each 2 x 2 neighbourhood: half the side, twice the channels.

    Args:
        dim: channels coming in.
        norm_layer: makes the normalisation.
        norm_last: normalise the 2 * dim channels that come out, not the 4 * dim joined ones.
    """

    def __init__(self, dim: int, norm_layer: NormLayer, *, norm_last: bool = False) -> None:
        super().__init__()
        self.norm_last = norm_last
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(2 * dim if norm_last else 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to [B, H / 2, W / 2, 2C], rounded up: an odd side is padded with zeros."""
        _, height, width, _ = x.shape
        if height % 2 or width % 2:
            x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        # Down each column of the neighbourhood before the next: the order that published weights expect.
        corners = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        joined = torch.cat(corners, dim=-1)
        return self.norm(self.reduction(joined)) if self.norm_last else self.reduction(self.norm(joined))
