"""The block: a mixing of tokens within windows, then of channels within tokens."""

from torch import Tensor, nn

from swin_train.models.layers.drop_path import Drop, add_branch
from swin_train.models.layers.mlp import Mlp
from swin_train.models.layers.place import BlockOptions, Place

Drops = tuple[Drop, Drop]
"""Of the two branches of a block."""


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

    def forward(self, x: Tensor, drops: Drops = (None, None)) -> Tensor:
        """[B, H, W, C] to [B, H, W, C]; ``drops`` is what stochastic depth makes of the two branches."""
        drop1, drop2 = drops if self.training else (None, None)  # a frozen stage is in evaluation
        x = add_branch(x, self.mix, drop1)
        return add_branch(x, self.transform, drop2)

    def mix(self, x: Tensor) -> Tensor:
        """The branch that mixes tokens."""
        return self.mixer(self.norm1(x))

    def transform(self, x: Tensor) -> Tensor:
        """The branch that mixes the channels of a token."""
        return self.mlp(self.norm2(x))
