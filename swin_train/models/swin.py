"""Swin Transformer, version 1 (Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer")."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from swin_train.models.layers.norm import NormLayer
from swin_train.models.layers.patch import PatchEmbed
from swin_train.models.layers.stage import BlockOptions, SwinStage


class SwinTransformer(nn.Module):
    """An image classifier; names and shapes in its state dict are those of the published checkpoints.

    Args:
        img_size: side of the square images, or their height and width, in pixels.
        patch_size: side of a patch, in pixels.
        in_chans: channels of the images.
        num_classes: outputs of the head; 0 leaves the head out and gives the features.
        embed_dim: channels of the first stage; each next stage has twice as many.
        depths: blocks of each stage.
        num_heads: attention heads of each stage.
        window_size: side of a window, in patches.
        mlp_ratio: hidden channels of a block's perceptron, as a multiple of its channels.
        qkv_bias: whether the projections to q, k, v have a bias.
        qk_scale: factor of the attention logits; None is the head dimension to the power of -1/2.
        drop_rate: dropout after the patch embedding, in the perceptrons and after the attention.
        attn_drop_rate: dropout of the attention weights.
        drop_path_rate: probability of dropping a branch in the last block; it rises from 0, linearly.
        norm_layer: makes a normalisation from a number of channels.
        ape: whether a learned absolute position is added to each patch.
        patch_norm: whether the patch embedding is normalised.
        use_checkpoint: compute blocks again in the backward pass, to save memory.

    Raises:
        ValueError: the sizes do not fit each other; the message names both.
    """

    no_weight_decay_names = frozenset({"absolute_pos_embed"})
    no_weight_decay_keywords = frozenset({"relative_position_bias_table"})

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 4,
        in_chans: int = 3,
        num_classes: int = 1000,
        *,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        norm_layer: NormLayer = nn.LayerNorm,
        ape: bool = False,
        patch_norm: bool = True,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.num_features = embed_dim * 2 ** (len(depths) - 1)
        resolutions = _resolutions(self.img_size, patch_size, len(depths))
        _check_heads(embed_dim, depths, num_heads)

        self.patch_embed = PatchEmbed(patch_size, in_chans, embed_dim, norm_layer if patch_norm else None)
        height, width = resolutions[0]
        self.absolute_pos_embed = nn.Parameter(torch.empty(1, height * width, embed_dim)) if ape else None
        self.pos_drop = nn.Dropout(drop_rate)

        options = BlockOptions(
            window_size, mlp_ratio, qkv_bias, qk_scale, drop_rate, attn_drop_rate, norm_layer
        )
        drop_paths = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist()
        self.layers = nn.ModuleList()
        for i, depth in enumerate(depths):
            first = sum(depths[:i])
            stage = SwinStage(
                embed_dim * 2**i,
                resolutions[i],
                num_heads[i],
                first_index=first,
                drop_paths=drop_paths[first : first + depth],
                options=options,
                has_merging=i < len(depths) - 1,
                use_checkpoint=use_checkpoint,
            )
            self.layers.append(stage)
        self.norm = norm_layer(self.num_features)
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

        self._frozen: list[nn.Module] = []
        self.apply(_init_linear)
        if self.absolute_pos_embed is not None:
            nn.init.trunc_normal_(self.absolute_pos_embed, std=0.02)

    def forward(self, images: Tensor, drop_path_keys: Tensor | None = None) -> Tensor:
        """Logits [B, num_classes], or features [B, num_features] where there is no head.

        Args:
            images: [B, in_chans, height, width] of exactly ``img_size``, normalised.
            drop_path_keys: int64 [B]; makes stochastic depth a pure function of each sample's key. Without
                them torch's generator draws.

        Raises:
            ValueError: images or keys of another shape.
        """
        return self.head(self.forward_features(images, drop_path_keys))

    def forward_features(self, images: Tensor, drop_path_keys: Tensor | None = None) -> Tensor:
        """Features [B, num_features]: the mean over the last stage's patches; arguments as ``forward``."""
        self._check_inputs(images, drop_path_keys)
        x = self.patch_embed(images)
        if self.absolute_pos_embed is not None:
            x = x + self.absolute_pos_embed.view(1, *x.shape[1:])
        x = self.pos_drop(x)
        for stage in self.layers:
            x = stage(x, drop_path_keys)
        return self.norm(x).mean(dim=(1, 2))

    def freeze_stages(self, num_stages: int) -> None:
        """Keep the patch embedding and the first stages as they are, in evaluation mode, from now on.

        Raises:
            ValueError: ``num_stages`` is not between 1 and the number of stages.
        """
        if not 1 <= num_stages <= len(self.layers):
            raise ValueError(f"cannot freeze {num_stages} stages; the model has {len(self.layers)}")
        self._freeze([self.patch_embed, self.pos_drop, *self.layers[:num_stages]])

    def freeze_all_but_head(self) -> None:
        """Keep everything but the head as it is, in evaluation mode, from now on.

        Raises:
            ValueError: the model has no head.
        """
        if self.num_classes == 0:
            raise ValueError("cannot freeze all but the head; the model has no head (num_classes is 0)")
        self._freeze([self.patch_embed, self.pos_drop, self.layers, self.norm])

    def train(self, mode: bool = True) -> "SwinTransformer":
        """Set training or evaluation mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def _freeze(self, modules: Iterable[nn.Module]) -> None:
        self._frozen = list(modules)
        for module in self._frozen:
            module.requires_grad_(False)
        if self.absolute_pos_embed is not None:
            self.absolute_pos_embed.requires_grad_(False)
        self.train(self.training)

    def _check_inputs(self, images: Tensor, drop_path_keys: Tensor | None) -> None:
        expected = (self.in_chans, *self.img_size)
        if images.ndim != 4 or images.shape[1:] != expected:
            raise ValueError(
                f"SwinTransformer: images have shape {tuple(images.shape)}; "
                f"the model was built for [batch, {', '.join(map(str, expected))}]"
            )
        if drop_path_keys is not None and (
            drop_path_keys.dtype != torch.int64 or drop_path_keys.shape != images.shape[:1]
        ):
            raise ValueError(
                f"SwinTransformer: drop_path_keys are {drop_path_keys.dtype} {tuple(drop_path_keys.shape)}; "
                f"expected torch.int64 {(len(images),)}, one key per image"
            )


def _init_linear(module: nn.Module) -> None:
    """The paper's initialisation; what is not linear keeps torch's own."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _resolutions(img_size: tuple[int, int], patch_size: int, num_stages: int) -> list[tuple[int, int]]:
    """Height and width of each stage's map, in patches."""
    multiple = patch_size * 2 ** (num_stages - 1)
    if any(side % multiple or side == 0 for side in img_size):
        raise ValueError(
            f"SwinTransformer: img_size {img_size} does not fit patch_size {patch_size} and {num_stages} "
            f"stages; both sides must be multiples of {multiple}"
        )
    height, width = (side // patch_size for side in img_size)
    return [(height // 2**i, width // 2**i) for i in range(num_stages)]


def _check_heads(embed_dim: int, depths: Sequence[int], num_heads: Sequence[int]) -> None:
    if len(depths) != len(num_heads):
        raise ValueError(
            f"SwinTransformer: depths {list(depths)} and num_heads {list(num_heads)} differ in length"
        )
    for i, heads in enumerate(num_heads):
        if embed_dim * 2**i % heads:
            raise ValueError(
                f"SwinTransformer: stage {i} has {embed_dim * 2**i} channels, no multiple of {heads} heads"
            )
