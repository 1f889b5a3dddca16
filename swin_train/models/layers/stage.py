"""The Swin block and the stage: blocks at one resolution, then a merging of patches."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from swin_train.models.layers.drop_path import DropPath
from swin_train.models.layers.mlp import Mlp
from swin_train.models.layers.norm import NormLayer
from swin_train.models.layers.patch import PatchMerging
from swin_train.models.layers.window import WindowAttention


@dataclass(frozen=True)
class BlockOptions:
    """What all blocks of a model have in common; see ``SwinTransformer`` for the meanings."""

    window_size: int
    mlp_ratio: float
    qkv_bias: bool
    qk_scale: float | None
    drop_rate: float
    attn_drop_rate: float
    norm_layer: NormLayer


class SwinBlock(nn.Module):
    """Window attention and a perceptron, each normalised before and added to what came in.

    Args:
        dim: channels.
        resolution: height and width of the map, in tokens.
        num_heads: of the attention.
        index: place in the model, from 0; it numbers the block's two drop-path layers.
        is_shifted: whether the windows are shifted by half their side; not where one covers the map.
        drop_path: probability of dropping a branch.
        options: what all blocks share.
    """

    def __init__(
        self,
        dim: int,
        resolution: tuple[int, int],
        num_heads: int,
        *,
        index: int,
        is_shifted: bool,
        drop_path: float,
        options: BlockOptions,
    ) -> None:
        super().__init__()
        window, shift = _fit_window(resolution, options.window_size, is_shifted=is_shifted)
        self.norm1 = options.norm_layer(dim)
        self.attn = WindowAttention(
            dim,
            resolution,
            num_heads=num_heads,
            window=window,
            shift=shift,
            qkv_bias=options.qkv_bias,
            qk_scale=options.qk_scale,
            attn_drop=options.attn_drop_rate,
            proj_drop=options.drop_rate,
        )
        self.drop_path1 = DropPath(drop_path, layer=2 * index)
        self.norm2 = options.norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * options.mlp_ratio), options.drop_rate)
        self.drop_path2 = DropPath(drop_path, layer=2 * index + 1)

    def forward(self, x: Tensor, drop_path_keys: Tensor | None = None) -> Tensor:
        """[B, H, W, C] to [B, H, W, C]."""
        x = x + self.drop_path1(self.attn(self.norm1(x)), drop_path_keys)
        return x + self.drop_path2(self.mlp(self.norm2(x)), drop_path_keys)


class SwinStage(nn.Module):
    """Blocks at one resolution, every second one with shifted windows, then a merging of patches.

    Args:
        dim: channels.
        resolution: height and width of the map, in tokens.
        num_heads: of each block.
        first_index: place of the first block in the model.
        drop_paths: probability of dropping a branch, one for each block.
        options: what all blocks share.
        has_merging: whether patches are merged at the end.
        use_checkpoint: compute each block again in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        dim: int,
        resolution: tuple[int, int],
        num_heads: int,
        *,
        first_index: int,
        drop_paths: Sequence[float],
        options: BlockOptions,
        has_merging: bool,
        use_checkpoint: bool,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.resolution = resolution
        self.use_checkpoint = use_checkpoint
        self.blocks = nn.ModuleList(
            SwinBlock(
                dim,
                resolution,
                num_heads,
                index=first_index + i,
                is_shifted=i % 2 == 1,
                drop_path=drop_path,
                options=options,
            )
            for i, drop_path in enumerate(drop_paths)
        )
        self.downsample = PatchMerging(dim, options.norm_layer) if has_merging else None

    def forward(self, x: Tensor, drop_path_keys: Tensor | None = None) -> Tensor:
        """[B, H, W, C] to [B, H / 2, W / 2, 2C], or to [B, H, W, C] without merging."""
        for block in self.blocks:
            if self.use_checkpoint and self.training:
                x = checkpoint(block, x, drop_path_keys, use_reentrant=False)
            else:
                x = block(x, drop_path_keys)
        return x if self.downsample is None else self.downsample(x)


def _fit_window(resolution: tuple[int, int], window: int, *, is_shifted: bool) -> tuple[int, int]:
    """Window and shift at a resolution: the smaller side bounds the window, which is then not shifted."""
    side = min(resolution)
    if side <= window:
        window, is_shifted = side, False
    if any(size % window for size in resolution):
        raise ValueError(
            f"SwinTransformer: a map of {resolution[0]} x {resolution[1]} patches cannot be cut into "
            f"windows of {window} x {window}; choose an image size or a window size that fits"
        )
    return window, window // 2 if is_shifted else 0
