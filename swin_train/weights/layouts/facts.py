"""What must be known of a model to write its weights in another layout."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from swin_train.kernels.windows import stage_maps
from swin_train.weights.architecture import infer_architecture
from swin_train.weights.geometry import Geometry


@dataclass(frozen=True)
class Facts:
    """A model, as far as state dicts depend on it; None means unknown.

    Attributes:
        family: "swin", "swinv2", "swin_mlp" or "swin_moe", as MODEL.TYPE.
        embed_dim: channels of the first stage.
        depths: blocks of each stage.
        num_heads: attention heads of each stage.
        patch_size: side of a patch, in pixels.
        in_chans: channels of the images.
        num_classes: outputs of the head; 0 without a head.
        ape: whether there is a learned absolute position.
        patch_norm: whether the patch embedding is normalised.
        windows: side of each stage's windows, in tokens, after the maps have bounded them.
        pretrained_windows: of Swin v2, the side that each stage's position bias is scaled by; 0 is its own.
        img_size: height and width of the images, in pixels.
        qk_scale: factor of v1's attention logits, where it is not the head dimension to the power of -1/2.
    """

    family: str
    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    patch_size: int
    in_chans: int
    num_classes: int
    ape: bool
    patch_norm: bool
    windows: tuple[int, ...] | None = None
    pretrained_windows: tuple[int, ...] | None = None
    img_size: tuple[int, int] | None = None
    qk_scale: float | None = None

    @property
    def maps(self) -> tuple[tuple[int, int], ...] | None:
        """Height and width of each stage's map, in tokens; an odd side is padded before it is halved."""
        if self.img_size is None:
            return None
        return tuple(stage_maps(self.img_size, self.patch_size, len(self.depths)))


def infer_facts(state: Mapping[str, Tensor], geometry: Geometry) -> Facts:
    """Read the facts off a state dict with published names, and what its file told beside it.

    Raises:
        ValueError: the state dict is not of a whole Swin.
    """
    found = infer_architecture(state)
    if found.family is None or found.embed_dim is None or found.patch_size is None or found.in_chans is None:
        raise ValueError(
            "is not the weights of a Swin; expected patch_embed.proj.weight and stages of blocks"
        )
    head = state.get("head.weight")
    return Facts(
        family=found.family,
        embed_dim=found.embed_dim,
        depths=found.depths,
        num_heads=found.num_heads,
        patch_size=found.patch_size,
        in_chans=found.in_chans,
        num_classes=0 if head is None else len(head),
        ape="absolute_pos_embed" in state,
        patch_norm="patch_embed.norm.weight" in state,
        windows=geometry.windows,
        pretrained_windows=geometry.pretrained_windows,
        img_size=geometry.img_size,
    )
