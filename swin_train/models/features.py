"""A Swin as the backbone of a detector or a decoder: the feature maps of its stages."""

from collections.abc import Sequence

from torch import Tensor, nn

from swin_train.models.hierarchical import HierarchicalModel


class StageFeatures(nn.Module):
    """The feature maps of a model's stages, for images of any size.

    Every parameter takes part: what the maps do not need, the last norm and the head among it, is taken out.
    A map is what the last block of its stage gives; a decoder that wants it normalised does that itself.

    Args:
        model: taken over; it is no classifier any more.
        out_indices: the stages to give, from 0, in rising order; None is all of them.

    Attributes:
        strides: of each map: pixels of the image beside one pixel of the map.
        channels: of each map.
        left_out: names of the model's weights that were taken out.

    Raises:
        ValueError: ``out_indices`` are not those of stages, or not in rising order.
    """

    def __init__(self, model: HierarchicalModel, out_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        stages = range(len(model.layers))
        chosen = list(stages) if out_indices is None else list(out_indices)
        if not chosen or chosen != sorted(set(chosen) & set(stages)):
            raise ValueError(
                f"StageFeatures: out_indices {chosen} must be numbers of stages, 0 to {stages[-1]}, in rising order"
            )
        self.out_indices = tuple(chosen)
        self.strides = tuple(model.patch_size * 2**i for i in chosen)
        self.channels = tuple(model.layers[i].dim for i in chosen)
        whole = model.state_dict().keys()
        self.model = _without_end(model, num_stages=chosen[-1] + 1)
        self.left_out = frozenset(whole - self.model.state_dict().keys())

    def forward(self, images: Tensor, drop_path_keys: Tensor | None = None) -> list[Tensor]:
        """The chosen maps, [B, channels, height / stride, width / stride], sides rounded up.

        They lie in memory channels last, as the model computes them; convolutions take them so.

        Args:
            images: [B, in_chans, height, width], normalised; the size may change from call to call.
            drop_path_keys: as in ``HierarchicalModel.forward``.

        Raises:
            ValueError: images or keys of another shape.
        """
        maps = self.model.forward_maps(images, drop_path_keys)
        return [maps[i].permute(0, 3, 1, 2) for i in self.out_indices]

    def freeze_stages(self, num_stages: int) -> None:
        """Keep the patch embedding and the first stages as they are; see ``HierarchicalModel``.

        Raises:
            ValueError: there are not that many stages.
        """
        self.model.freeze_stages(num_stages)


def _without_end(model: HierarchicalModel, num_stages: int) -> HierarchicalModel:
    """Take out what the maps of the first stages do not need."""
    model.layers = model.layers[:num_stages]
    model.layers[-1].downsample = None
    model.norm, model.head, model.num_classes = nn.Identity(), nn.Identity(), 0
    model.num_features = model.layers[-1].dim
    return model
