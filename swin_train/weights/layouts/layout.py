"""What a layout of state dicts is, and how names are exchanged."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from swin_train.kernels.window_attention.maps import Padding
from swin_train.weights.layouts.dropped import Dropped, Reason
from swin_train.weights.layouts.spec import ModelSpec
from swin_train.weights.values import has_values

State = dict[str, Tensor]

# Buffers that a model computes itself, by the last part of their names.
_BUFFERS = frozenset({"relative_position_index", "relative_coords_table", "attn_mask"})

# Parts of SimMIM's model beside the Swin: a token for masked patches, and one convolution.
_PRETRAINING = frozenset({"mask_token", "decoder.0.weight", "decoder.0.bias"})


def computed(name: str, tensor: Tensor) -> Reason | None:
    """Say that a model computes a tensor of any layout itself, where it does.

    timm's Swin v2 has a bias of the keys that is 0 and no parameter; any other one would matter.
    """
    is_buffer = name.rpartition(".")[2] in _BUFFERS
    is_zero_key_bias = name.endswith(".attn.k_bias") and has_values(tensor) and not tensor.any()
    return "buffers" if is_buffer or is_zero_key_bias else None


def as_it_is(state: State) -> tuple[State, Dropped]:
    """Join nothing: each tensor is one of the published ones."""
    return state, Dropped()


@dataclass(frozen=True)
class Layout:
    """The names and shapes that one library gives the weights of a Swin.

    Attributes:
        name: as on the command line and in reports.
        recognises: whether names, free of wrappers' prefixes, are of this layout.
        official_name: the published name of one tensor of this layout, buffers included.
        from_official: a state dict of published names -> the same weights in this layout. Raises ValueError,
            "what is wrong; what would be right", for what the library cannot express.
        reason_to_drop: why a tensor, by its name in this layout, is no weight; None for a weight.
        join: weights under their published names -> the same in the published shapes, and what was dropped of
            them. Raises ValueError where parts of one weight are missing or do not fit.
        padding: how the library pads a map that is no multiple of its window; None where it is our own choice.
    """

    name: str
    recognises: Callable[[Collection[str]], bool]
    official_name: Callable[[str], str]
    from_official: Callable[[Mapping[str, Tensor], ModelSpec], State]
    reason_to_drop: Callable[[str, Tensor], Reason | None] = computed
    join: Callable[[State], tuple[State, Dropped]] = as_it_is
    padding: Padding | None = None

    def to_official(self, state: Mapping[str, Tensor]) -> tuple[State, Dropped]:
        """The weights of a state dict of this layout under published names and in published shapes.

        Names that no Swin has stay, for the caller to report.

        Args:
            state: free of wrappers' prefixes.

        Returns:
            The weights, and how many tensors stay behind.

        Raises:
            ValueError: two names become one, or the parts of a weight are missing or do not fit.
        """
        reasons = {name: self.reason_to_drop(name, tensor) for name, tensor in state.items()}
        kept = {name: tensor for name, tensor in state.items() if reasons[name] is None}
        joined, dropped = self.join(renamed(kept, self.official_name))
        return joined, dropped + Dropped(reason for reason in reasons.values() if reason)


def renamed(state: Mapping[str, Tensor], new_name: Callable[[str], str]) -> State:
    """The same tensors in the same order under new names.

    Raises:
        ValueError: two names become one.
    """
    result: State = {}
    for name, tensor in state.items():
        put(result, new_name(name), tensor, name)
    return result


def put(state: State, name: str, tensor: Tensor, old_name: str) -> None:
    """Add a tensor under its new name.

    Raises:
        ValueError: another one has that name.
    """
    if name in state:
        raise ValueError(f"{old_name} and another tensor are both called {name}; expected each weight once")
    state[name] = tensor


def with_prefix_replaced(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    """``name`` with the first of the old prefixes that it has replaced by the new one."""
    for old, new in pairs:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def swapped(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The pairs for the way back."""
    return tuple((new, old) for old, new in pairs)


def is_pretraining(official_name: str) -> bool:
    """Whether a name of masked image modelling, without "encoder.", is of a part that only that needs."""
    return official_name in _PRETRAINING
