"""What a model is: its parameters, its multiply-adds, its shape."""

from typing import Any, cast

from torch import nn

from swin_train.models.layers.stage import SwinBlock, SwinStage
from swin_train.models.swin import SwinTransformer


def num_parameters(model: nn.Module, *, trainable_only: bool = False) -> int:
    """Number of scalars in the parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


def flops(model: SwinTransformer) -> int:
    """Multiply-adds of one image's forward pass, counted as the papers' "FLOPs" are.

    Products of matrices, and one per element for each normalisation; softmax, GELU and additions are free.
    """
    stages = _stages(model)
    per_patch = model.patch_embed.proj.weight.numel()
    if not isinstance(model.patch_embed.norm, nn.Identity):
        per_patch += stages[0].dim
    embedding = _num_tokens(stages[0]) * per_patch
    final_norm = _num_tokens(stages[-1]) * model.num_features
    head = model.num_features * model.num_classes
    return embedding + sum(map(_stage_flops, stages)) + final_norm + head


def architecture(model: SwinTransformer) -> dict[str, Any]:
    """The numbers that tell one Swin from another, under the names of its arguments."""
    stages = _stages(model)
    attentions = [_blocks(stage)[0].attn for stage in stages]
    return {
        "img_size": list(model.img_size),
        "patch_size": model.patch_embed.proj.kernel_size[0],
        "in_chans": model.in_chans,
        "num_classes": model.num_classes,
        "embed_dim": stages[0].dim,
        "depths": [len(_blocks(stage)) for stage in stages],
        "num_heads": [attention.num_heads for attention in attentions],
        "windows": [attention.window for attention in attentions],
    }


def _stages(model: SwinTransformer) -> list[SwinStage]:
    return cast(list[SwinStage], list(model.layers))


def _blocks(stage: SwinStage) -> list[SwinBlock]:
    return cast(list[SwinBlock], list(stage.blocks))


def _num_tokens(stage: SwinStage) -> int:
    return stage.resolution[0] * stage.resolution[1]


def _stage_flops(stage: SwinStage) -> int:
    tokens = _num_tokens(stage)
    total = tokens * sum(_block_flops_per_token(block, stage.dim) for block in _blocks(stage))
    if stage.downsample is not None:
        total += tokens * stage.dim + tokens // 4 * stage.downsample.reduction.weight.numel()
    return total


def _block_flops_per_token(block: SwinBlock, dim: int) -> int:
    norms = 2 * dim
    projections = 4 * dim**2  # q, k, v and the output
    attention = 2 * block.attn.window**2 * dim  # q @ k.T and weights @ v
    perceptron = 2 * dim * block.mlp.fc1.out_features
    return norms + projections + attention + perceptron
