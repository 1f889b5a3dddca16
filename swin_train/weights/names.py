"""Names in a state dict: wrappers' prefixes off, and the layout told."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from swin_train.weights.layouts import LAYOUTS, Layout, recognise
from swin_train.weights.layouts.dropped import Dropped
from swin_train.weights.layouts.layout import is_pretraining, renamed

_WRAPPER_PREFIXES = ("module.", "_orig_mod.")  # DistributedDataParallel and averages, torch.compile
_AVERAGE = "ema."  # timm's first ModelEma keeps the model under this
_COUNTER = "n_averaged"  # torch's AveragedModel counts beside the model
_ENCODER = "encoder."  # SimMIM keeps the model under this, beside a decoder
_MMPRETRAIN = ".attn.w_msa."


@dataclass(frozen=True)
class PlainNames:
    """A state dict without wrappers, under the names of its layout.

    Attributes:
        state: weights and buffers, as ``layout.to_official`` takes them.
        layout: that of the names; the official one where they are no Swin's.
        dropped: what is not in ``state``: counters, and what SimMIM keeps beside its encoder.
    """

    state: dict[str, Tensor]
    layout: Layout
    dropped: Dropped


def plain_names(state: Mapping[str, Tensor]) -> PlainNames:
    """Take wrappers off a state dict, and tell its layout.

    The layout is told before "encoder." is taken for SimMIM's: models of Hugging Face have one too.

    Raises:
        ValueError: two names become one, or the names are a Swin's in a form that is not read.
    """
    bare, num_counters = _without_wrappers(state)
    if any(_MMPRETRAIN in name for name in bare):
        raise ValueError(
            "is of mmpretrain (or mmdetection, mmsegmentation), which names attention 'w_msa', and whose layout "
            "is not read; take the same weights from their authors, timm, torchvision or Hugging Face"
        )
    layout = recognise(bare)
    is_simmim = layout is None and any(name.startswith(_ENCODER) for name in bare)
    if is_simmim:
        bare = renamed(bare, lambda name: name.removeprefix(_ENCODER))
        layout = recognise(bare)
    if layout is None:
        _refuse_other_prefixes(bare)
        layout = LAYOUTS["official"]
    kept = {name: tensor for name, tensor in bare.items() if not (is_simmim and is_pretraining(name))}
    return PlainNames(kept, layout, Dropped(pretraining=len(bare) - len(kept), counters=num_counters))


def _without_wrappers(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """The tensors by their names in the model, and how many were counters beside it."""
    bare = renamed(state, _without_wrapper)
    num_counters = int(bare.pop(_COUNTER, None) is not None)
    if bare and all(name.startswith(_AVERAGE) for name in bare):
        bare = renamed(bare, lambda name: _without_wrapper(name.removeprefix(_AVERAGE)))
    return bare, num_counters


def _without_wrapper(name: str) -> str:
    while name.startswith(_WRAPPER_PREFIXES):
        name = name.partition(".")[2]
    return name.replace("._orig_mod.", ".")  # blocks that were compiled one by one


def _refuse_other_prefixes(names: Collection[str]) -> None:
    """Name the prefix under which there is a Swin after all."""
    prefix = next((found for name in names if (found := _other_prefix(name))), None)
    if prefix is None:
        return
    count = sum(name.startswith(prefix) for name in names)
    where = f"all {count} names" if count == len(names) else f"{count} of its {len(names)} names"
    raise ValueError(
        f"{where} begin with {prefix!r}, which no wrapper that is known adds; save those tensors without it, each "
        f"as name.removeprefix({prefix!r})"
    )


def _other_prefix(name: str) -> str | None:
    """The leading parts, up to three, without which a name is of a Swin's block."""
    parts = name.split(".")[:4]
    prefixes = (".".join(parts[:count]) + "." for count in range(1, len(parts)))
    return next((prefix for prefix in prefixes if recognise([name.removeprefix(prefix)])), None)
