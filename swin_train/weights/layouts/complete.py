"""Whether a state dict holds each weight of a Swin, and nothing else."""

from collections.abc import Collection, Iterator

from swin_train.weights.layouts.spec import ModelSpec
from swin_train.weights.mismatch import listed_by_kind

_ATTENTION = {
    "swin": ("attn.relative_position_bias_table", "attn.qkv.weight", "attn.proj.weight", "attn.proj.bias"),
    "swinv2": (
        "attn.logit_scale",
        "attn.cpb_mlp.0.weight",
        "attn.cpb_mlp.0.bias",
        "attn.cpb_mlp.2.weight",
        "attn.qkv.weight",
        "attn.proj.weight",
        "attn.proj.bias",
    ),
    "swin_mlp": ("spatial_mlp.weight", "spatial_mlp.bias"),
}
_QKV_BIAS = {"swin": ("attn.qkv.bias",), "swinv2": ("attn.q_bias", "attn.v_bias"), "swin_mlp": ()}


def check_complete(names: Collection[str], spec: ModelSpec) -> None:
    """Make sure that published names are those of the Swin that ``spec`` describes.

    Raises:
        ValueError: a name is missing or unknown; the message says which.
    """
    if spec.family == "swin_moe":  # its names depend on the library of its experts
        return
    expected = dict.fromkeys(_names(spec, has_qkv_bias(names)))
    missing = [name for name in expected if name not in names]
    unknown = [name for name in names if name not in expected]
    if found := listed_by_kind(missing=missing, unknown=unknown):
        raise ValueError(f"is not a whole Swin of depths {list(spec.depths)}; expected each weight. {found}")


def has_qkv_bias(names: Collection[str]) -> bool:
    """Whether the projections to q, k, v have a bias."""
    return any(name.endswith(("attn.qkv.bias", "attn.q_bias", "attn.v_bias")) for name in names)


def _names(spec: ModelSpec, qkv_bias: bool) -> Iterator[str]:
    yield from _pair("patch_embed.proj")
    if spec.patch_norm:
        yield from _pair("patch_embed.norm")
    if spec.ape:
        yield "absolute_pos_embed"
    attention = _ATTENTION[spec.family] + (_QKV_BIAS[spec.family] if qkv_bias else ())
    for stage, depth in enumerate(spec.depths):
        for block in range(depth):
            prefix = f"layers.{stage}.blocks.{block}."
            yield from (prefix + name for name in attention)
            for layer in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                yield from _pair(prefix + layer)
        if stage < len(spec.depths) - 1:
            yield from _pair(f"layers.{stage}.downsample.norm")
            yield f"layers.{stage}.downsample.reduction.weight"
    yield from _pair("norm")
    if spec.num_classes:
        yield from _pair("head")


def _pair(layer: str) -> tuple[str, str]:
    return f"{layer}.weight", f"{layer}.bias"
