"""Which Swin a state dict belongs to, told by its names and shapes alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

TITLES = {"swin": "Swin v1", "swinv2": "Swin v2", "swin_mlp": "Swin-MLP", "swin_moe": "Swin-MoE"}

BLOCK = re.compile(r"layers\.(\d{1,9})\.blocks\.(\d{1,9})\.")  # of stage and block
HEAD = ("head.weight", "head.bias")


@dataclass(frozen=True)
class Architecture:
    """The numbers that two state dicts must share to fit one model; None or empty where they do not tell.

    ``family`` is spelled as MODEL.TYPE.
    """

    family: str | None
    embed_dim: int | None
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    patch_size: int | None
    in_chans: int | None

    @property
    def title(self) -> str:
        """The family's name in prose."""
        return TITLES.get(self.family or "", "Swin of an unknown family")

    def __str__(self) -> str:
        return (
            f"{self.title}, embed_dim {self.embed_dim}, depths {list(self.depths)}, "
            f"num_heads {list(self.num_heads)}, patch_size {self.patch_size}, in_chans {self.in_chans}"
        )


def infer_architecture(state: Mapping[str, Tensor]) -> Architecture:
    """Read family, embed dim, depths, heads, patch and channels off a state dict with published names."""
    blocks = {(int(found[1]), int(found[2])) for name in state if (found := BLOCK.match(name))}
    stages = sorted({stage for stage, _ in blocks})  # those alone: a file may name any number
    depths = tuple(1 + max(b for s, b in blocks if s == stage) for stage in stages)
    patches = state.get("patch_embed.proj.weight")
    shape = tuple(patches.shape) if patches is not None and patches.ndim == 4 else (None, None, None, None)
    heads = (_num_heads(state, f"layers.{stage}.blocks.0.") for stage in stages)
    return Architecture(
        family=_family(state),
        embed_dim=shape[0],
        depths=depths,
        num_heads=tuple(number for number in heads if number),
        patch_size=shape[2],
        in_chans=shape[1],
    )


def has_blocks(state: Mapping[str, Tensor]) -> bool:
    """Whether any name is one of a Swin's blocks."""
    return any(map(BLOCK.match, state))


def num_classes(state: Mapping[str, Tensor]) -> int:
    """Outputs of the head; 0 without one."""
    return len(state["head.weight"]) if "head.weight" in state else 0


def _family(state: Mapping[str, Tensor]) -> str | None:
    parts = {name[found.end() :] for name in state if (found := BLOCK.match(name))}
    if any("._moe_layer." in part for part in parts):
        return "swin_moe"
    if "spatial_mlp.weight" in parts:
        return "swin_mlp"
    if "attn.logit_scale" in parts:
        return "swinv2"
    if "attn.relative_position_bias_table" in parts:
        return "swin"
    # The dense baseline of Swin-MoE: v2's position bias without its cosine attention.
    return "swin_moe" if "attn.cpb_mlp.2.weight" in parts else None


def _num_heads(state: Mapping[str, Tensor], block: str) -> int:
    """Heads of one block; 0 where nothing of the right dimensions tells."""
    table = state.get(f"{block}attn.relative_position_bias_table")
    if table is not None and table.ndim == 2:
        return table.shape[1]
    bias = state.get(f"{block}attn.cpb_mlp.2.weight")
    if bias is not None and bias.ndim == 2:
        return bias.shape[0]
    scale = state.get(f"{block}attn.logit_scale")
    if scale is not None and scale.ndim == 3:
        return scale.shape[0]
    spatial = state.get(f"{block}spatial_mlp.weight")  # [heads * window^2, window^2, 1]
    if spatial is not None and spatial.ndim == 3 and spatial.shape[1]:
        return spatial.shape[0] // spatial.shape[1]
    return 0
