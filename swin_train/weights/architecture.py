"""Which Swin a state dict belongs to, told by its names and shapes alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

_BLOCK = re.compile(r"layers\.(\d{1,9})\.blocks\.(\d{1,9})\.")


@dataclass(frozen=True)
class Architecture:
    """The numbers that two state dicts must share to fit one model; None or empty where they do not tell."""

    embed_dim: int | None
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    patch_size: int | None
    in_chans: int | None

    def __str__(self) -> str:
        return (
            f"embed_dim {self.embed_dim}, depths {list(self.depths)}, num_heads {list(self.num_heads)}, "
            f"patch_size {self.patch_size}, in_chans {self.in_chans}"
        )


def infer_architecture(state: Mapping[str, Tensor]) -> Architecture:
    """Read embed dim, depths, heads, patch and channels off a state dict with published names."""
    blocks = {(int(found[1]), int(found[2])) for name in state if (found := _BLOCK.match(name))}
    stages = sorted({stage for stage, _ in blocks})  # those alone: a file may name any number
    depths = tuple(1 + max(b for s, b in blocks if s == stage) for stage in stages)
    tables = [state.get(f"layers.{stage}.blocks.0.attn.relative_position_bias_table") for stage in stages]
    patches = state.get("patch_embed.proj.weight")
    shape = tuple(patches.shape) if patches is not None and patches.ndim == 4 else (None, None, None, None)
    return Architecture(
        embed_dim=shape[0],
        depths=depths,
        num_heads=tuple(table.shape[-1] for table in tables if table is not None and table.ndim == 2),
        patch_size=shape[2],
        in_chans=shape[1],
    )
