"""torchvision's layout: stages and mergings numbered as one sequence of features; buffers in the file.

Expressible: v1 and v2 with one window for all stages, with absolute positions and pre-trained windows nowhere,
a normalised patch embedding, q, k, v with bias, and images of three channels.
"""

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from swin_train.kernels.relative_position import log_spaced_coordinates, relative_position_index
from swin_train.weights.architecture import BLOCK
from swin_train.weights.geometry import position_scales, windows_of
from swin_train.weights.layouts import limits
from swin_train.weights.layouts.complete import has_qkv_bias
from swin_train.weights.layouts.dropped import Dropped
from swin_train.weights.layouts.layout import Layout, put, swapped, with_prefix_replaced
from swin_train.weights.layouts.spec import ModelSpec

_PEER = "torchvision"
_THEIR_BLOCK = re.compile(r"features\.(\d{1,9})\.(\d{1,9})\.(attn|norm1|norm2|mlp)\.")
_MERGING = re.compile(r"features\.(\d{1,9})\.(norm|reduction)\.")
_OFFICIAL_MERGING = re.compile(r"layers\.(\d{1,9})\.downsample\.")

# torchvision's name, ours.
_PATCHES = (("features.0.0.", "patch_embed.proj."), ("features.0.2.", "patch_embed.norm."))
_MLP = (("mlp.0.", "mlp.fc1."), ("mlp.3.", "mlp.fc2."))


def recognises(names: Collection[str]) -> bool:
    """Attention among numbered features."""
    return any((found := _THEIR_BLOCK.match(name)) and found[3] == "attn" for name in names)


def official_name(name: str) -> str:
    """Stage i is features 2i + 1, its merging features 2i + 2."""
    if (found := _THEIR_BLOCK.match(name)) and int(found[1]) % 2:
        rest = with_prefix_replaced(name[found.start(3) :], _MLP)
        return f"layers.{int(found[1]) // 2}.blocks.{found[2]}.{rest}"
    if (found := _MERGING.match(name)) and int(found[1]) % 2 == 0 < int(found[1]):
        return f"layers.{int(found[1]) // 2 - 1}.downsample.{name[found.start(2) :]}"
    return with_prefix_replaced(name, _PATCHES)


def join(published: dict[str, Tensor]) -> tuple[dict[str, Tensor], Dropped]:
    """See ``Layout``. Of v2's bias, the third for the keys goes: torchvision sets it to zero in each forward."""
    num_key_biases = 0
    result: dict[str, Tensor] = {}
    for name, tensor in published.items():
        block = name.removesuffix("attn.qkv.bias")
        if block == name or f"{block}attn.logit_scale" not in published:
            put(result, name, tensor, name)
            continue
        if tensor.ndim != 1 or len(tensor) % 3:
            raise ValueError(
                f"{name} has the shape {tuple(tensor.shape)}; expected three parts of one length"
            )
        query, _, value = tensor.chunk(3)
        put(result, f"{block}attn.q_bias", query, name)
        put(result, f"{block}attn.v_bias", value, name)
        num_key_biases += 1
    return result, Dropped({"key_biases": num_key_biases})


def from_official(state: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """See ``Layout``. The buffers are written, because torchvision asks for each of them when it loads."""
    limits.refuse_what_no_peer_has(state, spec, _PEER)
    limits.refuse_absolute_positions(spec, _PEER)
    limits.refuse_cut_images(spec, _PEER)
    if not has_qkv_bias(state):
        raise ValueError(
            f"q, k, v have no bias, {_PEER}'s always do; choose timm, or keep the official layout"
        )
    if spec.in_chans != 3:
        raise ValueError(
            f"images have {spec.in_chans} channel(s), {_PEER}'s always 3; choose timm, or keep the official layout"
        )
    window = _window(state, spec)
    limits.refuse_oblong_maps(spec, (window,) * len(spec.depths), _PEER)
    result: dict[str, Tensor] = {}
    for name, tensor in _with_joined_bias(state).items():
        result[_torchvision_name(name)] = tensor
        if name.endswith("attn.proj.bias"):  # once in each block
            attention = _torchvision_name(name).removesuffix("proj.bias")
            result |= {attention + buffer: t for buffer, t in _buffers(spec.family, window).items()}
    return result


def _buffers(family: str, window: int) -> dict[str, Tensor]:
    buffers = {"relative_position_index": relative_position_index(window).flatten()}
    if family == "swinv2":
        side = 2 * window - 1
        buffers["relative_coords_table"] = log_spaced_coordinates(window).view(1, side, side, 2)
    return buffers


def _window(state: Mapping[str, Tensor], spec: ModelSpec) -> int:
    """The one window of all stages."""
    windows = windows_of(state) or spec.windows
    if windows is None:
        raise ValueError(
            f"{_PEER}'s files hold tables for the window, which this file of a Swin v2 does not tell; "
            "name its configuration by --cfg"
        )
    limits.refuse_differing_windows(windows, _PEER)
    if spec.maps is not None and any(windows[0] > min(sides) for sides in spec.maps):
        raise ValueError(
            f"the window of {windows[0]} is larger than a stage's map ({spec.maps[-1][0]} x {spec.maps[-1][1]} "
            f"in the last), {_PEER} does not bound it; choose timm, or keep the official layout"
        )
    if spec.family == "swinv2":
        _refuse_pretrained_windows(windows, spec.pretrained_windows)
    return windows[0]


def _refuse_pretrained_windows(windows: tuple[int, ...], pretrained: tuple[int, ...] | None) -> None:
    if pretrained is None:
        raise ValueError(
            f"{_PEER} scales the position bias by the window itself, and whether this Swin v2 does is not known; "
            "name its configuration by --cfg"
        )
    if position_scales(windows, pretrained) != position_scales(windows, (0,) * len(windows)):
        raise ValueError(
            f"the position bias was learned in windows of {list(pretrained)} (PRETRAINED_WINDOW_SIZES), {_PEER} "
            "knows of none, so its logits would be wrong; choose timm or huggingface, or keep the official layout"
        )


def _with_joined_bias(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One bias for q, k, v also in v2, where that of the keys is zero."""
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        block, is_query, _ = name.partition("attn.q_bias")
        if is_query:
            value = state[f"{block}attn.v_bias"]
            result[f"{block}attn.qkv.bias"] = torch.cat([tensor, torch.zeros_like(tensor), value])
        elif not name.endswith("attn.v_bias"):
            result[name] = tensor
    return result


def _torchvision_name(name: str) -> str:
    if found := BLOCK.match(name):
        rest = with_prefix_replaced(name[found.end() :], swapped(_MLP))
        return f"features.{2 * int(found[1]) + 1}.{found[2]}.{rest}"
    if found := _OFFICIAL_MERGING.match(name):
        return f"features.{2 * int(found[1]) + 2}.{name[found.end() :]}"
    return with_prefix_replaced(name, swapped(_PATCHES))


TORCHVISION = Layout(_PEER, recognises, official_name, from_official, join=join, padding="reference")
