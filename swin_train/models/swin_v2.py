"""Swin Transformer V2 (Liu et al. 2022, "Swin Transformer V2: Scaling Up Capacity and Resolution").

What differs from version 1: branches are normalised at their end; attention compares directions; the
position biases come from a small network, which fits any window.
"""

import contextlib
import math
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Unpack, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_train.kernels.relative_position import gather_bias, log_spaced_coordinates
from swin_train.models.hierarchical import DEPTHS, Common, HierarchicalModel
from swin_train.models.layers.block import Block
from swin_train.models.layers.cached_tensor import CachedTensor
from swin_train.models.layers.place import BlockOptions, Place
from swin_train.models.layers.window import ShiftedWindows
from swin_train.models.outline import POSITION_HIDDEN

_MAX_LOG_SCALE = math.log(100.0)  # the largest factor of the logits, section 3.3 and the official code
_MAX_BIAS = 16.0


class SwinTransformerV2(HierarchicalModel):
    """Blocks of cosine attention with continuous position biases, normalised at the end of each branch.

    Args:
        img_size: side of the square images, or their height and width, in pixels.
        patch_size: side of a patch, in pixels.
        window_size: side of a window, in patches.
        qkv_bias: whether the projections to q and v have a bias; that to k never has one.
        pretrained_window_sizes: window of each stage that the position networks were trained with; 0 is the
            model's own. Without it all are the model's own.
        common: ``num_classes`` and the other arguments of ``HierarchicalModel``.

    Raises:
        ValueError: the sizes do not fit each other; the message names both.
    """

    no_weight_decay_keywords = frozenset({"cpb_mlp", "logit_scale"})

    def __init__(
        self,
        img_size: int | tuple[int, int] = 256,
        patch_size: int = 4,
        *,
        window_size: int = 8,
        qkv_bias: bool = True,
        pretrained_window_sizes: Sequence[int] = (),
        **common: Unpack[Common],
    ) -> None:
        num_stages = len(common.get("depths", DEPTHS))
        if pretrained_window_sizes and len(pretrained_window_sizes) != num_stages:
            raise ValueError(
                f"SwinTransformerV2: pretrained_window_sizes {list(pretrained_window_sizes)} must hold one window "
                f"for each of the {num_stages} stages"
            )

        def make_block(place: Place, options: BlockOptions) -> Block:
            pretrained = pretrained_window_sizes[place.stage] if pretrained_window_sizes else 0
            attention = CosineWindowAttention(place, options, qkv_bias=qkv_bias, pretrained_window=pretrained)
            return PostNormBlock(place, options, attention)

        super().__init__(img_size, patch_size, window_size, make_block, norm_last=True, **common)
        self.pretrained_window_sizes = tuple(pretrained_window_sizes) or (0,) * len(self.layers)

    def scale_positions_by(self, pretrained_window_sizes: Sequence[int]) -> None:
        """Read the offsets of each stage as in another window from now on; 0 is the stage's own."""
        for stage, window in zip(self.layers, pretrained_window_sizes, strict=True):
            for block in stage.blocks:
                cast(CosineWindowAttention, block.mixer).scale_positions_by(window)
        self.pretrained_window_sizes = tuple(pretrained_window_sizes)


class PostNormBlock(Block):
    """A block whose branches are normalised at their end, and start as nothing: their norms are 0 at first."""

    def __init__(self, place: Place, options: BlockOptions, mixer: nn.Module) -> None:
        super().__init__(place, options, mixer)
        for parameter in (*self.norm1.parameters(), *self.norm2.parameters()):
            nn.init.zeros_(parameter)

    def mix(self, x: Tensor) -> Tensor:
        """The branch that mixes tokens."""
        return self.norm1(self.mixer(x))

    def transform(self, x: Tensor) -> Tensor:
        """The branch that mixes the channels of a token."""
        return self.norm2(self.mlp(x))


class CosineWindowAttention(ShiftedWindows):
    """Attention by the cosine of q and k, with biases that a network computes from the relative positions.

    Without gradients, as in evaluation, the biases are computed once and kept until the network changes. After
    a change that PyTorch does not count, such as one through ``.data``, call ``eval()`` again.

    Args:
        place: of the block.
        options: what all blocks share.
        qkv_bias: whether the projections to q and v have a bias.
        pretrained_window: side of the window that the position network was trained with; 0 is the own one.
    """

    relative_coords_table: Tensor

    cosine = True

    def __init__(
        self, place: Place, options: BlockOptions, *, qkv_bias: bool = True, pretrained_window: int = 0
    ) -> None:
        super().__init__(place, options)
        self.logit_scale = nn.Parameter(torch.full((self.num_heads, 1, 1), math.log(10.0)))
        self.q_bias = nn.Parameter(torch.zeros(self.dim)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(self.dim)) if qkv_bias else None
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, POSITION_HIDDEN), nn.ReLU(), nn.Linear(POSITION_HIDDEN, self.num_heads, bias=False)
        )
        self.qkv = nn.Linear(self.dim, 3 * self.dim, bias=False)
        self.proj = nn.Linear(self.dim, self.dim)

        self.scale_positions_by(pretrained_window)
        self._cached_bias = CachedTensor()

    def scale_positions_by(self, pretrained_window: int) -> None:
        """Read the offsets as in a window of that side; 0 is the own one."""
        coordinates = partial(log_spaced_coordinates, self.window, pretrained_window)
        self.register_computed("relative_coords_table", coordinates)

    def train(self, mode: bool = True) -> "CosineWindowAttention":
        """Set the mode, and forget the biases: not all changes of the network can be seen."""
        self._cached_bias = CachedTensor()
        super().train(mode)
        return self

    def bias(self, index: Tensor) -> Tensor:
        """[num_heads, N, N] for the [N, N] of ``index``; without gradients computed only after a change."""
        return self._kept(len(index), lambda: gather_bias(self.bias_table(), index))

    def kept_bias_table(self) -> Tensor:
        """``bias_table``; without gradients computed only after a change."""
        return self._kept("table", self.bias_table)

    def _kept(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        sources = [*self.cpb_mlp.parameters(), *self.cpb_mlp.buffers(), self.relative_coords_table]
        return self._cached_bias.get(sources, key, compute)

    def bias_table(self) -> Tensor:  # noqa: D102
        coordinates = self.relative_coords_table.to(self.logit_scale.dtype)
        with _without_autocast(coordinates.device.type):
            return _MAX_BIAS * torch.sigmoid(self.cpb_mlp(coordinates))

    def scale(self) -> Tensor:  # noqa: D102
        return self.logit_scale.clamp(max=_MAX_LOG_SCALE).exp()

    def project(self, x: Tensor) -> tuple[Tensor, Tensor | None]:  # noqa: D102
        if self.q_bias is None or self.v_bias is None:
            return self.qkv(x), None
        qkv_bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        return F.linear(x, self.qkv.weight, qkv_bias), qkv_bias


def _without_autocast(device_type: str) -> contextlib.AbstractContextManager:
    """Full precision: biases up to 16 are a tenth apart in bfloat16."""
    if device_type == "meta":  # has none; torch.amp.is_autocast_available cannot be compiled in torch 2.11
        return contextlib.nullcontext()
    return torch.autocast(device_type, enabled=False)
