"""What the tests of weights share: the state dict of a whole Swin, small, under its published names."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from swin_train.weights.geometry import Geometry
from swin_train.weights.layouts import LAYOUTS, infer_spec
from swin_train.weights.layouts.dropped import Dropped
from swin_train.weights.names import plain_names

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def whole_shapes(
    family: str = "swin",
    *,
    embed_dim: int = 8,
    depths: Sequence[int] = (2, 1),
    num_heads: Sequence[int] = (2, 4),
    windows: Sequence[int] = (4, 4),
    patch_size: int = 2,
    in_chans: int = 3,
    classes: int = 5,
    num_patches: int = 0,
    patch_norm: bool = True,
    qkv_bias: bool = True,
) -> Shapes:
    """Names and shapes of a Swin's weights; ``num_patches`` is that of an absolute position embedding."""
    yield from _linear("patch_embed.proj", (embed_dim, in_chans, patch_size, patch_size))
    if patch_norm:
        yield from _linear("patch_embed.norm", (embed_dim,))
    if num_patches:
        yield "absolute_pos_embed", (1, num_patches, embed_dim)
    for stage, depth in enumerate(depths):
        dim = embed_dim * 2**stage
        for block in range(depth):
            prefix = f"layers.{stage}.blocks.{block}."
            mixing = _mixing(family, dim, num_heads[stage], windows[stage], qkv_bias)
            yield from ((prefix + name, shape) for name, shape in mixing)
            yield from _linear(f"{prefix}norm1", (dim,))
            yield from _linear(f"{prefix}norm2", (dim,))
            yield from _linear(f"{prefix}mlp.fc1", (4 * dim, dim))
            yield from _linear(f"{prefix}mlp.fc2", (dim, 4 * dim))
        if stage < len(depths) - 1:
            yield f"layers.{stage}.downsample.reduction.weight", (2 * dim, 4 * dim)
            yield from _linear(
                f"layers.{stage}.downsample.norm", (2 * dim if family == "swinv2" else 4 * dim,)
            )
    yield from _linear("norm", (dim,))
    if classes:
        yield from _linear("head", (classes, dim))


def _mixing(family: str, dim: int, heads: int, window: int, qkv_bias: bool) -> Shapes:
    if family == "swin_mlp":
        yield from _linear("spatial_mlp", (heads * window**2, window**2, 1))
        return
    yield "attn.qkv.weight", (3 * dim, dim)
    yield from _linear("attn.proj", (dim, dim))
    if family == "swin":
        yield "attn.relative_position_bias_table", ((2 * window - 1) ** 2, heads)
        if qkv_bias:
            yield "attn.qkv.bias", (3 * dim,)
    else:
        yield "attn.logit_scale", (heads, 1, 1)
        yield from _linear("attn.cpb_mlp.0", (512, 2))
        yield "attn.cpb_mlp.2.weight", (heads, 512)
        if qkv_bias:
            yield "attn.q_bias", (dim,)
            yield "attn.v_bias", (dim,)


def _linear(name: str, shape: tuple[int, ...]) -> Shapes:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


@pytest.fixture
def whole_state() -> Callable[..., dict[str, Tensor]]:
    """Makes the state dict of a whole Swin; a tensor's values depend on its name and shape alone."""

    def make(family: str = "swin", **sizes: Any) -> dict[str, Tensor]:
        state = {}
        for name, shape in whole_shapes(family, **sizes):
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            state[name] = torch.randn(shape, generator=generator)
        return state

    return make


@pytest.fixture
def swin_t() -> dict[str, Any]:
    """The sizes of a Swin-T's whole state, but for its windows."""
    return {
        "embed_dim": 96,
        "depths": (2, 2, 6, 2),
        "num_heads": (3, 6, 12, 24),
        "patch_size": 4,
        "classes": 1000,
    }


@pytest.fixture
def in_layout() -> Callable[[Mapping[str, Tensor], str], dict[str, Tensor]]:
    """Writes a whole Swin, of windows of 4 and without any of pre-training, in a layout."""

    def write(state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        return LAYOUTS[layout].from_official(state, infer_spec(state, Geometry((4, 4), (0, 0))))

    return write


@pytest.fixture
def loaded() -> Callable[[Mapping[str, Tensor]], tuple[dict[str, Tensor], Dropped]]:
    """Gives the weights of a file under their published names, and all that stays behind."""

    def load(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Dropped]:
        plain = plain_names(state)
        weights, dropped = plain.layout.to_official(plain.state)
        return weights, plain.dropped + dropped

    return load


@pytest.fixture
def small_state() -> Callable[..., dict[str, Tensor]]:
    """Makes the few weights that tell an architecture, a window, a resolution and classes."""

    def make(window: int = 2, classes: int = 5, side: int = 4) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(window)
        shapes = {
            "absolute_pos_embed": (1, side**2, 8),
            "patch_embed.proj.weight": (8, 3, 2, 2),
            "layers.0.blocks.0.attn.relative_position_bias_table": ((2 * window - 1) ** 2, 2),
            "head.weight": (classes, 8),
            "head.bias": (classes,),
        }
        return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}

    return make


@pytest.fixture
def without_head() -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """Takes the head off a state dict."""

    def cut(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in state.items() if not name.startswith("head.")}

    return cut
