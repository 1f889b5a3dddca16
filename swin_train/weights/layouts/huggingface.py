"""The layout that Hugging Face's transformers writes to disk, in every version; q, k and v stand apart.

Expressible: v1 with one window for all stages, with or without absolute positions; v2 with any windows and
pre-trained windows, without absolute positions; a normalised patch embedding.
"""

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from swin_train.weights.geometry import windows_of
from swin_train.weights.layouts import limits
from swin_train.weights.layouts.dropped import NOTHING, Dropped
from swin_train.weights.layouts.facts import Facts
from swin_train.weights.layouts.layout import (
    OFFICIAL_BLOCK,
    Layout,
    Reason,
    computed,
    is_pretraining,
    swapped,
    with_prefix_replaced,
)

_PEER = "huggingface"
_MODEL = re.compile(r"(swin|swinv2)\.")  # absent where the model was saved without a head
_BLOCK = re.compile(r"encoder\.layers\.(\d{1,9})\.blocks\.(\d{1,9})\.")

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
    found = ((name, _BLOCK.match(name)) for name in bare)
    return any(
        match and name[match.end() :].startswith(("attention.", "layernorm_before.")) for name, match in found
    )


def official_name(name: str) -> str:
    """The published name; q, k and v as "attn.query." and so on, which no published layout has."""
    if model := _MODEL.match(name):
        name = name[model.end() :]
    if block := _BLOCK.match(name):
        rest = with_prefix_replaced(name[block.end() :], _IN_BLOCKS + _IN_BLOCKS_IN_MEMORY)
        return f"layers.{block[1]}.blocks.{block[2]}.{rest}"
    return with_prefix_replaced(name, _OUTSIDE_BLOCKS)


def reason_to_drop(name: str, tensor: Tensor) -> Reason | None:
    """See ``Layout``. Models of masked image modelling have the same names as classifiers, and some beside."""
    return "pretraining" if is_pretraining(official_name(name)) else computed(name, tensor)


def join(published: dict[str, Tensor]) -> tuple[dict[str, Tensor], Dropped]:
    """See ``Layout``: q, k and v become one tensor."""
    result = dict(published)
    for query in [name for name in result if ".attn.query." in name]:
        attention, _, kind = query.partition("query.")
        if kind == "bias" and f"{attention}logit_scale" in result:  # v2: the keys have no bias
            result[f"{attention}q_bias"], result[f"{attention}v_bias"] = _taken(
                result, attention, kind, ("query", "value")
            )
        else:
            result[f"{attention}qkv.{kind}"] = torch.cat(_taken(result, attention, kind, _PARTS))
    return result, NOTHING


def from_official(state: Mapping[str, Tensor], facts: Facts) -> dict[str, Tensor]:
    """See ``Layout``."""
    limits.refuse_what_no_peer_has(state, facts, _PEER)
    if facts.family == "swin":
        limits.refuse_differing_windows(windows_of(state) or (), _PEER)
    else:
        # Its Swin v2 has a row more than there are patches, and fails in the forward pass.
        limits.refuse_absolute_positions(facts, _PEER)
        _refuse_other_bounds(facts)
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        result.update(_split(name, tensor))
    return {_huggingface_name(name, facts.family): tensor for name, tensor in result.items()}


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


def _refuse_other_bounds(facts: Facts) -> None:
    """Its Swin v2 bounds and shifts windows by the rows of maps alone, of which it halves odd ones downwards."""
    if facts.windows is None or facts.maps is None or facts.img_size is None:
        return
    for stage, (window, (height, width)) in enumerate(zip(facts.windows, facts.maps, strict=True)):
        rows = facts.img_size[0] // facts.patch_size // 2**stage
        theirs = min(max(facts.windows), rows)
        is_other_shift = facts.depths[stage] > 1 and (min(height, width) > window) != (rows > theirs)
        if theirs != window or is_other_shift:
            raise ValueError(
                f"the map of stage {stage} is {height} x {width} with windows of {window}; {_PEER} counts {rows} rows "
                "and looks at them alone, so its logits would be wrong; keep the official layout"
            )


def _huggingface_name(name: str, family: str) -> str:
    if name.startswith("head."):
        return name.replace("head.", "classifier.")
    if block := OFFICIAL_BLOCK.match(name):
        rest = with_prefix_replaced(name[block.end() :], swapped(_IN_BLOCKS))
        return f"{family}.encoder.layers.{block[1]}.blocks.{block[2]}.{rest}"
    return f"{family}.{with_prefix_replaced(name, swapped(_OUTSIDE_BLOCKS))}"


HUGGINGFACE = Layout(
    _PEER, recognises, official_name, from_official, reason_to_drop, join, padding="reference"
)
