"""Names in a state dict: prefixes off, older names to the newer ones, and the layout told."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from swin_train.weights.architecture import BLOCK
from swin_train.weights.layouts import LAYOUTS, Layout, recognise
from swin_train.weights.layouts.dropped import Dropped
from swin_train.weights.layouts.layout import is_pretraining, renamed

_WRAPPERS = ("module.", "_orig_mod.")  # DistributedDataParallel and averages, torch.compile
_COMPILED = "._orig_mod."  # in blocks that were compiled one by one
# What keeps one model and nothing else: timm's first ModelEma, our StageFeatures, other trainers and detectors.
_HOLDERS = ("ema.", "model.", "net.", "network.", "backbone.", "swin.", *_WRAPPERS)
_FLAT_STAGE = re.compile(r"(^|\.)layers_(\d{1,9})\.")  # as timm's features_only models call a stage
_COUNTER = "n_averaged"  # torch's AveragedModel counts beside the model
_ENCODER = "encoder."  # SimMIM keeps the model under this, beside a decoder
_MMPRETRAIN = ".attn.w_msa."
_OLDER = re.compile(rf"^({BLOCK.pattern}attn\.)rpe_mlp\.")  # in files of SimMIM's time


@dataclass(frozen=True)
class PlainNames:
    """A state dict without wrappers, under the names of its layout.

    Attributes:
        state: weights and buffers, as ``layout.to_official`` takes them.
        layout: that of the names; the official one where they are no Swin's.
        dropped: what is not in ``state``: counters, and what SimMIM keeps beside its encoder.
        changes: what was done to names, in words.
    """

    state: dict[str, Tensor]
    layout: Layout
    dropped: Dropped
    changes: tuple[str, ...] = ()


def plain_names(state: Mapping[str, Tensor]) -> PlainNames:
    """Take off what is put before the names of a Swin, and tell their layout.

    The layout is told first: the "swin." and "encoder." of Hugging Face are its own.

    Raises:
        ValueError: two names become one, or the names are a Swin's in a form that is not read.
    """
    names = {name: _without_wrappers(_FLAT_STAGE.sub(r"\1layers.\2.", name)) for name in state}
    counters = [name for name, new in names.items() if new == _COUNTER]
    for name in counters:
        del names[name]
    if any(_MMPRETRAIN in name for name in names):
        raise ValueError(
            "is of mmpretrain (or mmdetection, mmsegmentation), which names attention 'w_msa', and whose layout "
            "is not read; take the same weights from their authors, timm, torchvision or Hugging Face"
        )
    while (layout := recognise(names.values())) is None and (holder := _shared_holder(names.values())):
        names = {name: new.removeprefix(holder) for name, new in names.items()}
    is_simmim = layout is None and any(new.startswith(_ENCODER) for new in names.values())
    if is_simmim:
        names = {name: new.removeprefix(_ENCODER) for name, new in names.items()}
        layout = recognise(names.values())
    if layout is None:
        _refuse_other_prefixes([name.replace(_COMPILED, ".") for name in state])
        layout = LAYOUTS["official"]
    newer = {name: _OLDER.sub(r"\1cpb_mlp.", new) for name, new in names.items()}
    bare = renamed({name: state[name] for name in names}, newer.__getitem__)
    kept = {name: tensor for name, tensor in bare.items() if not (is_simmim and is_pretraining(name))}
    dropped = Dropped({"pretraining": len(bare) - len(kept), "counters": len(counters)})
    return PlainNames(kept, layout, dropped, _changes(names, is_older=newer != names))


def _without_wrappers(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name.replace(_COMPILED, ".")


def _shared_holder(names: Collection[str]) -> str | None:
    """The first part of all names, where it is one of ``_HOLDERS``."""
    holder = next(iter(names), "").partition(".")[0] + "."
    return holder if holder in _HOLDERS and all(name.startswith(holder) for name in names) else None


def _changes(names: Mapping[str, str], *, is_older: bool) -> tuple[str, ...]:
    """Say what was taken off names, and whether some were older."""
    lost = dict.fromkeys(
        part for name, new in names.items() for part in name.split(".") if part not in new.split(".")
    )
    prefixes = [f"'{part}.'" for part in lost if not _FLAT_STAGE.match(f"{part}.")]
    said = {
        f"names without {', '.join(prefixes)}": bool(prefixes),
        "layers_N read as layers.N": len(prefixes) < len(lost),
        "rpe_mlp read as cpb_mlp": is_older,
    }
    return tuple(change for change, was_made in said.items() if was_made)


def _refuse_other_prefixes(names: Collection[str]) -> None:
    """Name the prefix under which there is a Swin after all."""
    prefix = next((found for name in names if (found := _other_prefix(name))), None)
    if prefix is None:
        return
    others = [name for name in names if not name.startswith(prefix)]
    beside = f", beside others such as {others[0]}" if others else ""
    raise ValueError(
        f"the names of a Swin begin with {prefix!r}{beside}; save the weights of the Swin alone, each as "
        f"name.removeprefix({prefix!r})"
    )


def _other_prefix(name: str) -> str | None:
    """The leading parts, up to three, without which a name is of a Swin's block."""
    parts = name.split(".")[:4]
    prefixes = (".".join(parts[:count]) + "." for count in range(1, len(parts)))
    return next((prefix for prefix in prefixes if recognise([name.removeprefix(prefix)])), None)
