"""What must be known of a model to write its weights in another layout."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from swin_train.kernels.windows import stage_maps
from swin_train.weights.architecture import infer_architecture, num_classes
from swin_train.weights.geometry import Geometry


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Geometry):
    """A model, as far as state dicts depend on it: its geometry, and what its parameters tell.

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

    @property
    def maps(self) -> tuple[tuple[int, int], ...] | None:
        """Height and width of each stage's map, in tokens; an odd side is padded before it is halved."""
        if self.img_size is None:
            return None
        return tuple(stage_maps(self.img_size, self.patch_size, len(self.depths)))

    @property
    def usual_qk_scales(self) -> tuple[float, ...]:
        """Of each stage, the head dimension to the power of -1/2."""
        dims = (self.embed_dim * 2**stage for stage in range(len(self.depths)))
        return tuple((dim // heads) ** -0.5 for dim, heads in zip(dims, self.num_heads, strict=True))


def infer_spec(state: Mapping[str, Tensor], geometry: Geometry) -> ModelSpec:
    """Read the spec off a state dict with published names, and what its file told beside it.

    Raises:
        ValueError: the state dict is not of a whole Swin.
    """
    found = infer_architecture(state)
    if None in vars(found).values():
        raise ValueError(
            "is not the weights of a Swin; expected patch_embed.proj.weight and stages of blocks"
        )
    return ModelSpec(
        **vars(found),
        num_classes=num_classes(state),
        ape="absolute_pos_embed" in state,
        patch_norm="patch_embed.norm.weight" in state,
        **vars(geometry),
    )
