"""The layout that Hugging Face's transformers writes to disk, in every version; q, k and v stand apart.

Expressible: v1 with one window for all stages, with or without absolute positions; v2 with any windows and
pre-trained windows, without absolute positions; a normalised patch embedding.
"""

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from swin_train.weights.architecture import BLOCK
from swin_train.weights.geometry import windows_of
from swin_train.weights.layouts import limits
from swin_train.weights.layouts.dropped import Dropped, Reason
from swin_train.weights.layouts.layout import (
    Layout,
    computed,
    is_pretraining,
    put,
    swapped,
    with_prefix_replaced,
)
from swin_train.weights.layouts.spec import ModelSpec

_PEER = "huggingface"
_MODEL = re.compile(r"^(swin|swinv2)\.")  # absent where the model was saved without a head
_THEIR_BLOCK = re.compile(r"encoder\.layers\.(\d{1,9})\.blocks\.(\d{1,9})\.")

# Their name, ours; the first that fits counts.
_OUTSIDE_BLOCKS = (
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("embeddings.norm.", "patch_embed.norm."),
    ("embeddings.position_embeddings", "absolute_pos_embed"),
    ("embeddings.mask_token", "mask_token"),
    ("encoder.layers.", "layers."),
    ("layernorm.", "norm."),
    ("classifier.", "head."),
)
_IN_BLOCKS = (
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("attention.output.dense.", "attn.proj."),
    ("attention.self.continuous_position_bias_mlp.", "attn.cpb_mlp."),
    ("attention.self.", "attn."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
)
# As transformers from version 5 on holds Swin v1 in memory; on disk it still writes the names above.
_IN_BLOCKS_IN_MEMORY = (
    ("attention.relative_position_bias.", "attn."),
    ("attention.q_proj.", "attn.query."),
    ("attention.k_proj.", "attn.key."),
    ("attention.v_proj.", "attn.value."),
    ("attention.o_proj.", "attn.proj."),
)
_PARTS = ("query", "key", "value")


def recognises(names: Collection[str]) -> bool:
    """Blocks in an encoder, with attention written out."""
    bare = (_MODEL.sub("", name, count=1) for name in names)
    found = ((name, _THEIR_BLOCK.match(name)) for name in bare)
    return any(
        match and name[match.end() :].startswith(("attention.", "layernorm_before.")) for name, match in found
    )


def official_name(name: str) -> str:
    """The published name; q, k and v as "attn.query." and so on, which no published layout has."""
    if model := _MODEL.match(name):
        name = name[model.end() :]
    if block := _THEIR_BLOCK.match(name):
        rest = with_prefix_replaced(name[block.end() :], _IN_BLOCKS + _IN_BLOCKS_IN_MEMORY)
        return f"layers.{block[1]}.blocks.{block[2]}.{rest}"
    return with_prefix_replaced(name, _OUTSIDE_BLOCKS)


def reason_to_drop(name: str, tensor: Tensor) -> Reason | None:
    """See ``Layout``. Models of masked image modelling have the same names as classifiers, and some beside."""
    return "pretraining" if is_pretraining(official_name(name)) else computed(name, tensor)


def join(published: dict[str, Tensor]) -> tuple[dict[str, Tensor], Dropped]:
    """See ``Layout``: q, k and v become one tensor."""
    result = dict(published)
    for query in published:
        block, _, kind = query.partition("attn.query.")
        if not BLOCK.fullmatch(block) or kind not in ("weight", "bias"):
            continue
        attention = f"{block}attn."
        if kind == "bias" and f"{attention}logit_scale" in result:  # v2: the keys have no bias
            for part, bias in zip("qv", _taken(result, attention, kind, ("query", "value")), strict=True):
                put(result, f"{attention}{part}_bias", bias, query)
        else:
            joined = torch.cat(_taken(result, attention, kind, _PARTS))
            put(result, f"{attention}qkv.{kind}", joined, query)
    return result, Dropped()


def from_official(state: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """See ``Layout``."""
    limits.refuse_what_no_peer_has(state, spec, _PEER)
    if spec.family == "swin":
        limits.refuse_differing_windows(windows_of(state) or (), _PEER)
        _refuse_positions_of_cut_patches(spec)
    else:
        # Its Swin v2 has a row more than there are patches, and fails in the forward pass.
        limits.refuse_absolute_positions(spec, _PEER)
        limits.refuse_chosen_windows(spec, _PEER)
        _refuse_other_bounds(spec)
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        result.update(_split(name, tensor))
    return {_huggingface_name(name, spec.family): tensor for name, tensor in result.items()}


def _taken(state: dict[str, Tensor], attention: str, kind: str, parts: tuple[str, ...]) -> tuple[Tensor, ...]:
    """Take the weights or biases of q, k, v out of ``state``; all there, of one shape with a first side."""
    names = [f"{attention}{part}.{kind}" for part in parts]
    missing = [name for name in names if name not in state]
    if missing:
        raise ValueError(f"{missing[0]} is missing, {names[0]} is there; expected both")
    tensors = tuple(state.pop(name) for name in names)
    if tensors[0].ndim == 0 or len({tensor.shape for tensor in tensors}) > 1:
        shapes = ", ".join(f"{n} {tuple(t.shape)}" for n, t in zip(names, tensors, strict=True))
        raise ValueError(f"q, k and v do not fit each other: {shapes}; expected one shape")
    return tensors


def _split(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """q, k and v on their own."""
    attention, is_joined, kind = name.partition("qkv.")
    if is_joined:
        chunks = zip(_PARTS, tensor.chunk(3), strict=True)
        return {f"{attention}{part}.{kind}": chunk for part, chunk in chunks}
    for bias, part in (("attn.q_bias", "query"), ("attn.v_bias", "value")):
        if name.endswith(bias):
            return {name.removesuffix(bias) + f"attn.{part}.bias": tensor}
    return {name: tensor}


def _refuse_positions_of_cut_patches(spec: ModelSpec) -> None:
    """It has positions for whole patches, this project also for those at the lower and right edge that are cut."""
    if spec.ape and spec.img_size is not None and any(side % spec.patch_size for side in spec.img_size):
        height, width = spec.img_size
        raise ValueError(
            f"images of {height} x {width} are no multiple of the patches' {spec.patch_size}, and {_PEER} has absolute "
            "positions (APE) for whole patches alone; keep the official layout"
        )


def _refuse_other_bounds(spec: ModelSpec) -> None:
    """Its Swin v2 bounds and shifts windows by the rows of maps alone, of which it halves odd ones downwards."""
    if spec.windows is None or spec.maps is None or spec.img_size is None:
        return
    for stage, (window, (height, width)) in enumerate(zip(spec.windows, spec.maps, strict=True)):
        rows = spec.img_size[0] // spec.patch_size // 2**stage
        theirs = min(max(spec.windows), rows)
        is_other_shift = spec.depths[stage] > 1 and (min(height, width) > window) != (rows > theirs)
        if theirs != window or is_other_shift:
            raise ValueError(
                f"the map of stage {stage} is {height} x {width} with windows of {window}; {_PEER} counts {rows} rows "
                "and looks at them alone, so its logits would be wrong; keep the official layout"
            )


def _huggingface_name(name: str, family: str) -> str:
    if name.startswith("head."):
        return name.replace("head.", "classifier.")
    if block := BLOCK.match(name):
        rest = with_prefix_replaced(name[block.end() :], swapped(_IN_BLOCKS))
        return f"{family}.encoder.layers.{block[1]}.blocks.{block[2]}.{rest}"
    return f"{family}.{with_prefix_replaced(name, swapped(_OUTSIDE_BLOCKS))}"


HUGGINGFACE = Layout(
    _PEER, recognises, official_name, from_official, reason_to_drop, join, padding="reference"
)
