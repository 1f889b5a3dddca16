"""The block: a mixing of tokens within windows, then of channels within tokens."""

from torch import Tensor, nn

from swin_train.models.layers.drop_path import DropPath
from swin_train.models.layers.mlp import Mlp
from swin_train.models.layers.place import BlockOptions, Place


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
        self.drop_path1 = DropPath(place.drop_path, layer=2 * place.index)
        self.norm2 = options.norm_layer(place.dim)
        self.mlp = Mlp(place.dim, int(place.dim * options.mlp_ratio), options.drop_rate)
        self.drop_path2 = DropPath(place.drop_path, layer=2 * place.index + 1)

    @property
    def mixer(self) -> nn.Module:
        """The module that mixes tokens."""
        return self.get_submodule(self.mixer_name)

    def forward(self, x: Tensor, drop_path_keys: Tensor | None = None) -> Tensor:
        """[B, H, W, C] to [B, H, W, C]."""
        x = x + self.drop_path1(self.mixer(self.norm1(x)), drop_path_keys)
        return x + self.drop_path2(self.mlp(self.norm2(x)), drop_path_keys)
