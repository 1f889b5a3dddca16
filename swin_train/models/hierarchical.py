"""What all Swin models are: a patch embedding, stages of blocks on ever coarser maps, a norm and a head."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypedDict, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_train.kernels.window_attention import Attention, Padding
from swin_train.kernels.windows import stage_maps
from swin_train.models.layers.block import Block, Drops
from swin_train.models.layers.drop_path import DropPathMode, StochasticDepth
from swin_train.models.layers.norm import NormLayer
from swin_train.models.layers.patch import PatchEmbed, PatchMerging
from swin_train.models.layers.place import BlockOptions, Place, block_places
from swin_train.models.layers.stage import Stage

DEPTHS = (2, 2, 6, 2)  # of the smallest published models

MakeBlock = Callable[[Place, BlockOptions], Block]


class Common(TypedDict, total=False):
    """The arguments of ``HierarchicalModel`` that a family passes on as they are."""

    in_chans: int
    num_classes: int
    embed_dim: int
    depths: Sequence[int]
    num_heads: Sequence[int]
    padding: Padding
    attention: Attention
    mlp_ratio: float
    drop_rate: float
    attn_drop_rate: float
    drop_path_rate: float
    norm_layer: NormLayer
    ape: bool
    patch_norm: bool
    checkpoint_stages: Sequence[int]
    drop_path_mode: DropPathMode
    narrow_residual: bool


class HierarchicalModel(nn.Module):
    """An image classifier; names and shapes in its state dict are those of the published checkpoints.

    It takes images of any size. Windows are chosen for ``img_size``; at another size they keep their side, as
    long as the map holds it.

    Args:
        img_size: side of the square images, or their height and width, in pixels.
        patch_size: side of a patch, in pixels.
        window_size: side of a window, in patches.
        make_block: makes the block of a place.
        norm_last: whether merged patches are normalised after their projection.
        in_chans: channels of the images.
        num_classes: outputs of the head; 0 leaves the head out and gives the features.
        embed_dim: channels of the first stage; each next stage has twice as many.
        depths: blocks of each stage.
        num_heads: heads of each stage.
        padding: what stands beside the edge of a map that is no multiple of the window; attention alone asks.
        attention: implementation of window attention; see MODEL.ATTENTION.
        mlp_ratio: hidden channels of a block's perceptron, as a multiple of its channels.
        drop_rate: dropout after the patch embedding, in the perceptrons and after the attention.
        attn_drop_rate: dropout of the attention weights.
        drop_path_rate: probability of dropping a branch in the last block; it rises from 0, linearly.
        norm_layer: makes a normalisation from a number of channels.
        ape: whether a learned absolute position is added to each patch.
        patch_norm: whether the patch embedding is normalised.
        checkpoint_stages: numbers, from 0, of the stages whose blocks are computed again in the backward pass, to
            save memory.
        drop_path_mode: how stochastic depth chooses; see ``StochasticDepth``.
        narrow_residual: under autocast, keep the residual stream in its dtype in all stages.

    Raises:
        ValueError: the sizes do not fit each other; the message names both.
    """

    no_weight_decay_names = frozenset({"absolute_pos_embed"})
    no_weight_decay_keywords = frozenset({"relative_position_bias_table"})

    layers: Sequence[Stage]  # the stages, under their published name

    def __init__(
        self,
        img_size: int | tuple[int, int],
        patch_size: int,
        window_size: int,
        make_block: MakeBlock,
        *,
        norm_last: bool = False,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 96,
        depths: Sequence[int] = DEPTHS,
        num_heads: Sequence[int] = (3, 6, 12, 24),
        padding: Padding = "reference",
        attention: Attention = "auto",
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        norm_layer: NormLayer = nn.LayerNorm,
        ape: bool = False,
        patch_norm: bool = True,
        checkpoint_stages: Sequence[int] = (),
        drop_path_mode: DropPathMode = "mask",
        narrow_residual: bool = False,
    ) -> None:
        super().__init__()
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else (img_size[0], img_size[1])
        self.patch_size = patch_size
        self.window_size = window_size
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.num_features = embed_dim * 2 ** (len(depths) - 1)
        resolutions = stage_maps(self.img_size, patch_size, len(depths))
        self._check_sizes(embed_dim, depths, num_heads, checkpoint_stages)

        self.patch_embed = PatchEmbed(patch_size, in_chans, embed_dim, norm_layer if patch_norm else None)
        height, width = resolutions[0]
        self.absolute_pos_embed = nn.Parameter(torch.empty(1, height * width, embed_dim)) if ape else None
        self.pos_drop = nn.Dropout(drop_rate)

        places = block_places(embed_dim, resolutions, depths, num_heads, window_size, drop_path_rate)
        options = BlockOptions(padding, attention, mlp_ratio, drop_rate, attn_drop_rate, norm_layer)
        stages = []
        for i, in_stage in enumerate(places):
            blocks = [make_block(place, options) for place in in_stage]
            is_last = i == len(depths) - 1
            merging = None if is_last else PatchMerging(in_stage[0].dim, norm_layer, norm_last=norm_last)
            again = i in checkpoint_stages
            stages.append(Stage(blocks, merging, use_checkpoint=again, narrow_residual=narrow_residual))
        self.layers = cast(Sequence[Stage], nn.ModuleList(stages))
        rates = [place.drop_path for in_stage in places for place in in_stage for _ in range(2)]
        self.stochastic_depth = StochasticDepth(rates, drop_path_mode)
        self.norm = norm_layer(self.num_features)
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

        self._frozen: list[nn.Module] = []
        self.apply(_init_linear)
        if self.absolute_pos_embed is not None:
            nn.init.trunc_normal_(self.absolute_pos_embed, std=0.02)

    def forward(self, images: Tensor, drop_path_keys: Tensor | None = None) -> Tensor:
        """Logits [B, num_classes], or features [B, num_features] where there is no head.

        Args:
            images: [B, in_chans, height, width], normalised.
            drop_path_keys: int64 [B]; makes stochastic depth a pure function of each sample's key. Without
                them torch's generator draws.

        Raises:
            ValueError: images or keys of another shape.
        """
        return self.head(self.forward_features(images, drop_path_keys))

    def forward_features(self, images: Tensor, drop_path_keys: Tensor | None = None) -> Tensor:
        """Features [B, num_features]: the mean over the last stage's patches; arguments as ``forward``."""
        x, drops = self._embed(images), self._drops(images, drop_path_keys)
        for stage, own in zip(self.layers, drops, strict=True):
            x = stage(x, own)
        return self.norm(x).mean(dim=(1, 2))

    def forward_maps(self, images: Tensor, drop_path_keys: Tensor | None = None) -> list[Tensor]:
        """The feature map of each stage, before its merging: [B, H, W, C]; arguments as ``forward``."""
        x, drops = self._embed(images), self._drops(images, drop_path_keys)
        maps = []
        for stage, own in zip(self.layers, drops, strict=True):
            maps.append(stage.run_blocks(x, own))
            x = maps[-1] if stage.downsample is None else stage.downsample(maps[-1])
        return maps

    def freeze_stages(self, num_stages: int) -> None:
        """Keep the patch embedding and the first stages as they are, in evaluation mode, from now on.

        What an earlier call froze and this one does not is trained again.

        Raises:
            ValueError: ``num_stages`` is no whole number from 1 to that of the stages.
        """
        if type(num_stages) is not int or not 1 <= num_stages <= len(self.layers):
            raise ValueError(
                f"cannot freeze {num_stages!r} stages; expected a whole number, 1..{len(self.layers)}"
            )
        self._freeze([self.patch_embed, self.pos_drop, *self.layers[:num_stages]])

    def freeze_all_but_head(self) -> None:
        """Keep everything but the head as it is, in evaluation mode, from now on.

        Raises:
            ValueError: the model has no head.
        """
        if self.num_classes == 0:
            raise ValueError("cannot freeze all but the head; the model has no head (num_classes is 0)")
        self._freeze(
            [self.patch_embed, self.pos_drop, self.get_submodule("layers"), self.stochastic_depth, self.norm]
        )

    def train(self, mode: bool = True) -> "HierarchicalModel":
        """Set training or evaluation mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def _drops(self, images: Tensor, drop_path_keys: Tensor | None) -> list[list[Drops]]:
        """Stochastic depth of each block of each stage."""
        self._check_keys(images, drop_path_keys)
        drops = iter(self.stochastic_depth(images.shape[0], drop_path_keys))
        return [[(next(drops), next(drops)) for _ in stage.blocks] for stage in self.layers]

    def _embed(self, images: Tensor) -> Tensor:
        """Images to the first stage's map, with absolute positions."""
        self._check_images(images)
        x = self.patch_embed(images)
        if self.absolute_pos_embed is not None:
            x = x + self._positions(self.absolute_pos_embed, (x.shape[1], x.shape[2]))
        return self.pos_drop(x)

    def _positions(self, positions: Tensor, resolution: tuple[int, int]) -> Tensor:
        """The absolute positions of a map: interpolated as in fine-tuning, at another size than the model's."""
        built_for = self.layers[0].resolution
        grid = positions.view(1, *built_for, -1)
        if resolution == built_for:
            return grid
        resized = F.interpolate(grid.permute(0, 3, 1, 2), resolution, mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1)

    def _freeze(self, modules: Iterable[nn.Module]) -> None:
        for module in self._frozen:
            module.requires_grad_(True)
        self._frozen = list(modules)
        for module in self._frozen:
            module.requires_grad_(False)
        if self.absolute_pos_embed is not None:
            self.absolute_pos_embed.requires_grad_(False)
        self.train(self.training)

    def _check_images(self, images: Tensor) -> None:
        name = type(self).__name__
        if images.ndim != 4 or images.shape[1] != self.in_chans or 0 in images.shape[2:]:
            raise ValueError(
                f"{name}: images have shape {tuple(images.shape)}; "
                f"the model takes [batch, {self.in_chans}, height, width]"
            )

    def _check_keys(self, images: Tensor, drop_path_keys: Tensor | None) -> None:
        if drop_path_keys is not None and (
            drop_path_keys.dtype != torch.int64 or drop_path_keys.shape != images.shape[:1]
        ):
            raise ValueError(
                f"{type(self).__name__}: drop_path_keys are {drop_path_keys.dtype} {tuple(drop_path_keys.shape)}; "
                f"expected torch.int64 {(len(images),)}, one key per image"
            )

    def _check_sizes(
        self, embed_dim: int, depths: Sequence[int], num_heads: Sequence[int], stages: Sequence[int]
    ) -> None:
        name = type(self).__name__
        if min(self.img_size) < 1:
            raise ValueError(f"{name}: img_size {self.img_size} holds no pixels; both sides must be positive")
        if not depths or min(depths) < 1 or len(depths) != len(num_heads):
            raise ValueError(
                f"{name}: depths {list(depths)} and num_heads {list(num_heads)} must hold one positive number "
                f"for each stage"
            )
        for i, heads in enumerate(num_heads):
            if embed_dim * 2**i % heads:
                raise ValueError(
                    f"{name}: stage {i} has {embed_dim * 2**i} channels, no multiple of {heads} heads"
                )
        if not set(stages) <= set(range(len(depths))):
            raise ValueError(
                f"{name}: checkpoint_stages {list(stages)} must be numbers of stages, 0 to {len(depths) - 1}"
            )


def _init_linear(module: nn.Module) -> None:
    """The paper's initialisation; what is not linear keeps torch's own."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
