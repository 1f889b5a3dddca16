"""What a layout of state dicts is, and how names are exchanged."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from swin_train.weights.layouts.facts import Facts

# Buffers that a model computes itself, by the last part of their names.
BUFFERS = frozenset({"relative_position_index", "relative_coords_table", "attn_mask"})

# Parts of SimMIM's model beside the Swin: a token for masked patches, and one convolution.
_PRETRAINING = frozenset({"mask_token", "decoder.0.weight", "decoder.0.bias"})


@dataclass(frozen=True)
class Layout:
    """The names and shapes that one library gives the weights of a Swin.

    Attributes:
        name: as on the command line and in reports.
        recognises: whether names, free of wrappers' prefixes, are of this layout.
        official_name: the published name of one tensor of this layout, buffers included.
        to_official: a state dict of this layout -> the same weights under published names and in published
            shapes, without buffers and pre-training parts. Names that no Swin has stay, for the caller to
            report. Raises ValueError where parts of one weight are missing or do not fit.
        from_official: the inverse. Raises ValueError, "what is wrong; what would be right", for what the
            target cannot express.
    """

    name: str
    recognises: Callable[[Collection[str]], bool]
    official_name: Callable[[str], str]
    to_official: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    from_official: Callable[[Mapping[str, Tensor], Facts], dict[str, Tensor]]


def renamed(state: Mapping[str, Tensor], new_name: Callable[[str], str]) -> dict[str, Tensor]:
    """The same tensors in the same order under new names.

    Raises:
        ValueError: two names become one.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new = new_name(name)
        if new in result:
            raise ValueError(f"{name} and another tensor are both called {new}; expected each weight once")
        result[new] = tensor
    return result


def with_prefix_replaced(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    """``name`` with the first of the old prefixes that it has replaced by the new one."""
    for old, new in pairs:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def is_buffer(name: str) -> bool:
    """Whether a model computes the tensor of this name itself, in any layout."""
    return name.rpartition(".")[2] in BUFFERS


def is_pretraining(official_name: str) -> bool:
    """Whether a name of masked image modelling, without "encoder.", is of a part that only that needs."""
    return official_name in _PRETRAINING
