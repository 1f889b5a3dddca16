"""The block: a mixing of tokens within windows, then of channels within tokens."""

from torch import Tensor, nn

from swin_train.models.layers.drop_path import scale_samples
from swin_train.models.layers.mlp import Mlp
from swin_train.models.layers.place import BlockOptions, Place

Factors = tuple[Tensor | None, Tensor | None]
"""By what the samples of a block's two branches are multiplied, [B]; None is by 1."""


class Block(nn.Module):
    """Two branches, each normalised before and added to what came in.

    Args:
        place: where the block stands.
        options: what all blocks share.
        mixer: mixes tokens, [B, H, W, C] to [B, H, W, C]; it stands under ``mixer_name``, for the names of
            published weights.
    """

    mixer_name = "attn"

    def __init__(self, place: Place, options: BlockOptions, mixer: nn.Module) -> None:
        super().__init__()
        self.place = place
        self.norm1 = options.norm_layer(place.dim)
        self.add_module(self.mixer_name, mixer)
        self.norm2 = options.norm_layer(place.dim)
        self.mlp = Mlp(place.dim, int(place.dim * options.mlp_ratio), options.drop_rate)

    @property
    def mixer(self) -> nn.Module:
        """The module that mixes tokens."""
        return self.get_submodule(self.mixer_name)

    def forward(self, x: Tensor, factors: Factors = (None, None)) -> Tensor:
        """[B, H, W, C] to [B, H, W, C]; ``factors`` are those of the two branches, each [B], for stochastic depth."""
        x = x + self.scale(self.mixer(self.norm1(x)), factors[0])
        return x + self.scale(self.mlp(self.norm2(x)), factors[1])

    def scale(self, branch: Tensor, factor: Tensor | None) -> Tensor:
        """The branch after stochastic depth; unchanged in evaluation, as where a stage is frozen."""
        return scale_samples(branch, factor) if self.training else branch
