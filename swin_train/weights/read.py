"""Files of weights -> plain state dicts, without running anything that the file brings along."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from swin_train.errors import UserError
from swin_train.weights.damage import describe_damage
from swin_train.weights.geometry import UNKNOWN, Geometry, read_geometry
from swin_train.weights.layouts import LAYOUTS
from swin_train.weights.layouts.dropped import Dropped, in_words
from swin_train.weights.layouts.huggingface_config import sizes_beside
from swin_train.weights.manifest import MANIFEST
from swin_train.weights.metadata import of_training_state, value
from swin_train.weights.names import plain_names
from swin_train.weights.torch_file import load_as_data
from swin_train.weights.training_state import read_section, training_state_at
from swin_train.weights.values import has_values

Which = Literal["raw", "ema"]

_HUGGINGFACE_FILES = ("model.safetensors", "pytorch_model.bin")  # in a folder of ``save_pretrained``

# As torch's files are named by the authors, others, Hugging Face and Lightning.
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_KINDS = ".safetensors, .pth, .pt, .bin or .ckpt"

# Where the weights stand in a checkpoint's dict, and in which section of a training state.
_WRAPPERS: dict[Which, tuple[str, ...]] = {
    "raw": ("model", "state_dict"),
    "ema": ("model_ema", "ema", "state_dict_ema"),
}
_SECTIONS: dict[Which, str] = {"raw": "model", "ema": "ema"}

# Without the scales beside them, narrower ones (8-bit floats, integers) are not the weights' values.
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Weights:
    """The weights of one model, as a file holds them.

    Attributes:
        state: parameters by their published names, on the CPU.
        source: the path they came from.
        metadata: what else the file says, such as "config" or "epoch".
        dropped: how many tensors were left behind, by their reason.
        layout: the layout that the file has, a key of ``LAYOUTS``; ``state`` is in the official one.
        geometry: what the file tells about windows and images.
        name_changes: what was done to names before the layout was told, in words.
    """

    state: dict[str, Tensor]
    source: str
    metadata: dict[str, Any]
    dropped: Dropped = field(default_factory=Dropped)
    layout: str = "official"
    geometry: Geometry = UNKNOWN
    name_changes: tuple[str, ...] = ()

    @property
    def padding(self) -> str | None:
        """How maps were padded in the training, as MODEL.PADDING: as the file says, or the library of its layout."""
        said = value(self.metadata, "padding")
        return said if isinstance(said, str) else LAYOUTS[self.layout].padding

    @property
    def notes(self) -> list[str]:
        """What was done to names and what stayed behind, in words."""
        return [*self.name_changes, *in_words(self.dropped)]

    def __str__(self) -> str:
        return self.source if self.layout == "official" else f"{self.source} ({self.layout} layout)"


class _Content(NamedTuple):
    """What a file holds: weights by their names in it, facts, and how many averages of weights beside them."""

    state: dict[str, Tensor]
    metadata: dict[str, Any]
    num_averages: int


def read_weights(path: str | Path, which: Which = "raw") -> Weights:
    """Read a .safetensors, .pth, .pt, .bin or .ckpt file, a run's checkpoint folder or one of ``save_pretrained``.

    Args:
        path: the file or folder.
        which: the trained weights, or their exponential moving average.

    Raises:
        UserError: missing, damaged (a run's folder is held against its manifest), not a checkpoint, more than
            data, without the weights asked for, of a layout that is not read, or with a weight that is not a dense
            floating-point tensor of finite values.
    """
    path = Path(path)
    content = _read(path, which)
    metadata = content.metadata
    try:
        plain = plain_names(content.state)
        layout = plain.layout
        if layout.recognises(plain.state):  # of another model what it is says more
            for name, tensor in plain.state.items():
                if layout.reason_to_drop(name, tensor) is None:
                    _check_values(tensor, f"{path}: {name}")
        official, dropped = layout.to_official(plain.state)
        dropped = dropped + plain.dropped + Dropped({"averages": content.num_averages})
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    with_buffers = {layout.official_name(name): tensor for name, tensor in plain.state.items()}
    geometry = read_geometry(with_buffers, metadata)
    return Weights(official, str(path), metadata, dropped, layout.name, geometry, plain.changes)


def _read(path: Path, which: Which) -> _Content:
    if (folder := training_state_at(path)) is not None:
        state, sections = read_section(folder, _SECTIONS[which], which)
        num_averages = sections.count("ema") if which == "raw" else 0
        return _Content(state, of_training_state(folder), num_averages)
    file = _locate(path)
    content = (_read_safetensors if file.suffix == ".safetensors" else _read_torch)(file, which)
    if file.name in _HUGGINGFACE_FILES:
        content = content._replace(metadata=sizes_beside(file) | content.metadata)
    return content


def _check_values(tensor: Tensor, where: str) -> None:
    if not has_values(tensor) or tensor.dtype not in _DTYPES:
        raise UserError(
            f"{where} is {tensor.dtype}, {tensor.layout}, on {tensor.device}; a weight must be a dense tensor "
            f"with a value of its own for each element, of {', '.join(map(str, _DTYPES))}"
        )
    if not tensor.numel():
        raise UserError(f"{where} has the shape {tuple(tensor.shape)} and no values; take another checkpoint")
    if not tensor.float().isfinite().all():  # as models hold it
        raise UserError(f"{where} holds values that are not finite in float32; take an earlier checkpoint")


def _locate(path: Path) -> Path:
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; name an existing {_KINDS} file")
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: the ending {path.suffix!r} is not known; it must be {_KINDS}")
    if not path.stat().st_size:
        raise UserError(f"{path}: is empty, 0 bytes; copy or download it again (delete it first)")
    return path


def _in_folder(folder: Path) -> Path:
    found = next((folder / name for name in _HUGGINGFACE_FILES if (folder / name).is_file()), None)
    if found is not None:
        return found
    for name in _HUGGINGFACE_FILES:
        if (folder / f"{name}.index.json").is_file():
            raise UserError(
                f"{folder}: its weights are spread over several files, which {name}.index.json lists; save them as "
                "one, by transformers' save_pretrained with a larger max_shard_size"
            )
    raise UserError(
        f"{folder}: is a folder without {MANIFEST} or {' or '.join(_HUGGINGFACE_FILES)}; name a file of weights, a "
        "run's step folder or one of transformers' save_pretrained"
    )


def _read_safetensors(file: Path, which: Which) -> _Content:
    try:
        with safe_open(file, framework="pt", device="cpu") as content:
            metadata = content.metadata() or {}
            state = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{file}: {describe_damage(file, error)}; copy or download it again (delete it first)"
        ) from error
    if not state:
        raise UserError(f"{file}: holds no tensors; expected a file of weights")
    if which == "ema" and metadata.get("weights") != "ema":
        raise UserError(f"{file}: holds no averaged weights (ema); ask for raw ones")
    return _Content(state, metadata, 0)


def _read_torch(file: Path, which: Which) -> _Content:
    content = load_as_data(file)
    if not isinstance(content, Mapping):
        raise UserError(
            f"{file}: holds a {type(content).__name__}, not a checkpoint; expected a dict of tensors"
        )
    state, averages = _unwrapped(content, which), _unwrapped(content, "ema") or {}
    num_averages = len(averages) if which == "raw" else 0
    if state is not None:
        metadata = _without_tensors(content, file)
    elif which == "raw":
        state, metadata = content, {}
    else:
        raise UserError(
            f"{file}: holds no ema weights; it holds: {', '.join(map(str, content)) or 'nothing'}"
        )

    strays = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if strays or not state:
        raise UserError(
            f"{file}: is not a checkpoint of weights; expected tensors under 'model' or 'state_dict', "
            f"or alone. Found: {', '.join((strays or list(map(str, content)))[:10]) or 'nothing'}"
        )
    nameless = [key for key in state if not isinstance(key, str)]
    if nameless:
        raise UserError(
            f"{file}: a tensor is called {nameless[0]!r}, which is no string; expected names such as norm.weight"
        )
    return _Content(dict(state), metadata, num_averages)


def _unwrapped(content: Mapping[str, Any], which: Which) -> Mapping[str, Any] | None:
    """Return the weights under the first of the known keys."""
    return next((content[key] for key in _WRAPPERS[which] if isinstance(content.get(key), Mapping)), None)


def _without_tensors(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    seen: set[int] = set()
    try:
        return {key: value for key, value in content.items() if not _holds_tensors(value, seen)}
    except RecursionError as error:
        raise UserError(
            f"{file}: what it holds beside the weights contains itself; save its weights alone"
        ) from error


def _holds_tensors(value: Any, seen: set[int]) -> bool:
    """Whether there is a tensor in ``value``; ``seen`` holds what was looked through already, without one.

    Ten lists of ten references to the next are a small file and 10^10 ways through it.
    """
    if not isinstance(value, Mapping | list | tuple):
        return isinstance(value, Tensor)
    if id(value) in seen:
        return False
    inner = value.values() if isinstance(value, Mapping) else value
    if any(_holds_tensors(item, seen) for item in inner):
        return True
    seen.add(id(value))
    return False
