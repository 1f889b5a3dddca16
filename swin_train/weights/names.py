"""Names in a state dict: wrappers' prefixes off, computed buffers and pre-training parts out."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

_WRAPPER_PREFIXES = ("module.", "_orig_mod.")  # DistributedDataParallel, torch.compile
_ENCODER = "encoder."  # SimMIM keeps the model under this, beside a decoder
_BUFFERS = ("relative_position_index", "relative_coords_table", "attn_mask")


@dataclass(frozen=True)
class PlainNames:
    """A state dict under published names, and how much of the given one was left out."""

    state: dict[str, Tensor]
    num_buffers: int
    num_pretraining: int


def plain_names(state: Mapping[str, Tensor]) -> PlainNames:
    """Bring a state dict to published names.

    The prefixes of wrappers go wherever they stand. Where any name begins with "encoder.", only those stay,
    without the prefix and without the mask token. Then the buffers that a model computes itself are dropped.

    Raises:
        ValueError: two names become one.
    """
    bare: dict[str, Tensor] = {}
    for name, tensor in state.items():
        plain = _without_wrappers(name)
        if plain in bare:
            raise ValueError(f"{name} and another tensor are both called {plain} without their prefixes")
        bare[plain] = tensor

    model = bare
    if any(name.startswith(_ENCODER) for name in bare):
        model = {name.removeprefix(_ENCODER): t for name, t in bare.items() if name.startswith(_ENCODER)}
        model.pop("mask_token", None)
    kept = {name: t for name, t in model.items() if name.rpartition(".")[2] not in _BUFFERS}
    return PlainNames(kept, num_buffers=len(model) - len(kept), num_pretraining=len(bare) - len(model))


def _without_wrappers(name: str) -> str:
    while name.startswith(_WRAPPER_PREFIXES):
        name = name.partition(".")[2]
    return name.replace("._orig_mod.", ".")  # blocks that were compiled one by one
