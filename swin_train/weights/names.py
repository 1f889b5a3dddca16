"""Names in a state dict: wrappers' prefixes off, the layout told, and what stays behind with its reason."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from swin_train.weights.layouts import LAYOUTS, Layout, recognise
from swin_train.weights.layouts.layout import is_buffer, is_pretraining, renamed
from swin_train.weights.values import has_values

_WRAPPER_PREFIXES = ("module.", "_orig_mod.")  # DistributedDataParallel and averages, torch.compile
_AVERAGE = "ema."  # timm's first ModelEma keeps the model under this
_COUNTER = "n_averaged"  # torch's AveragedModel counts beside the model
_ENCODER = "encoder."  # SimMIM keeps the model under this, beside a decoder
_MMPRETRAIN = ".attn.w_msa."


@dataclass(frozen=True)
class Dropped:
    """How many tensors of a file stay behind, by their reason; ``reasons`` says it in words.

    Attributes:
        buffers: index tables, masks and constants, which a model computes itself.
        pretraining: SimMIM's mask token and decoder.
        key_biases: thirds of biases that torchvision's Swin v2 stores and sets to zero in each forward.
        counters: how many steps an average of weights is of.
    """

    buffers: int = 0
    pretraining: int = 0
    key_biases: int = 0
    counters: int = 0

    def reasons(self) -> list[str]:
        """One part of a sentence for each reason that there is."""
        said = (
            (self.buffers, "buffer", "(recomputed)"),
            (self.pretraining, "tensor", "of the pre-training"),
            (self.key_biases, "key bias", "(torchvision sets them to zero)"),
            (self.counters, "counter", "of the averaging"),
        )
        return [f"dropped {count} {_plural(what, count)} {why}" for count, what, why in said if count]


NOTHING = Dropped()


@dataclass(frozen=True)
class PlainNames:
    """A state dict without wrappers, under the names of its layout.

    Attributes:
        state: weights, as ``layout.to_official`` takes them.
        layout: that of the names; the official one where they are no Swin's.
        dropped: what is not in ``state``.
        published: all tensors, the buffers too, under the names that ``layout.official_name`` gives them.
    """

    state: dict[str, Tensor]
    layout: Layout
    dropped: Dropped
    published: dict[str, Tensor]


def plain_names(state: Mapping[str, Tensor]) -> PlainNames:
    """Take wrappers, buffers and pre-training parts off a state dict, and tell its layout.

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
    return _sorted_out(bare, layout, num_counters, is_simmim=is_simmim)


def _sorted_out(bare: dict[str, Tensor], layout: Layout, num_counters: int, *, is_simmim: bool) -> PlainNames:
    published = {name: layout.official_name(name) for name in bare}
    may_pretrain = is_simmim or layout.name == "huggingface"
    buffers = {name for name, tensor in bare.items() if is_buffer(name) or _is_zero_key_bias(name, tensor)}
    pretraining = {name for name, new in published.items() if may_pretrain and is_pretraining(new)}
    kept = {name: tensor for name, tensor in bare.items() if name not in buffers | pretraining}
    key_biases = 0
    if layout.name == "torchvision":
        key_biases = sum(
            name.replace("qkv.bias", "logit_scale") in kept for name in kept if "qkv.bias" in name
        )
    dropped = Dropped(len(buffers), len(pretraining), key_biases, num_counters)
    return PlainNames(kept, layout, dropped, {new: bare[name] for name, new in published.items()})


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


def _is_zero_key_bias(name: str, tensor: Tensor) -> bool:
    """timm's Swin v2 has a bias of the keys that is 0 and no parameter; any other one would matter."""
    return name.endswith(".attn.k_bias") and has_values(tensor) and not tensor.any()


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


def _plural(what: str, count: int) -> str:
    if count == 1:
        return what
    return f"{what}es" if what.endswith("s") else f"{what}s"
