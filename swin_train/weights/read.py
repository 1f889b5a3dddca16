"""Files of weights -> plain state dicts, without running anything that the file brings along."""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from swin_train.errors import UserError
from swin_train.weights.damage import describe_damage
from swin_train.weights.geometry import UNKNOWN, Geometry, read_geometry
from swin_train.weights.layouts.dropped import NOTHING, Dropped
from swin_train.weights.names import plain_names
from swin_train.weights.values import has_values

Which = Literal["raw", "ema"]

STATE_FILE = "state.safetensors"  # in a run's checkpoint folder: every tensor of the training state

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")  # .bin: torch's files as Hugging Face names them
_KINDS = ".safetensors, .pth, .pt or .bin"

# Where the weights stand in a checkpoint's dict, and under which prefix in a training state.
_WRAPPERS: dict[Which, tuple[str, ...]] = {
    "raw": ("model", "state_dict"),
    "ema": ("model_ema", "ema", "state_dict_ema"),
}
_SECTIONS: dict[Which, str] = {"raw": "model.", "ema": "ema."}

# Without the scales beside them, narrower ones (8-bit floats, integers) are not the weights' values.
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# Published checkpoints hold these two as objects. As ordered dicts they are data, and nothing of theirs runs.
_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (OrderedDict, "yacs.config.CfgNode"),
    (OrderedDict, "argparse.Namespace"),
]

# How torch's weights-only reader names what it refuses.
_GLOBAL = re.compile(r"GLOBAL (\S+)")


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
    """

    state: dict[str, Tensor]
    source: str
    metadata: dict[str, Any]
    dropped: Dropped = NOTHING
    layout: str = "official"
    geometry: Geometry = UNKNOWN

    def __str__(self) -> str:
        return self.source if self.layout == "official" else f"{self.source} ({self.layout} layout)"


def read_weights(path: str | Path, which: Which = "raw") -> Weights:
    """Read a .safetensors, .pth, .pt or .bin file, or the checkpoint folder of a run.

    Args:
        path: the file or folder.
        which: the trained weights, or their exponential moving average.

    Raises:
        UserError: missing, damaged, not a checkpoint, more than data, without the weights asked for, of a
            layout that is not read, or with a weight that is not a dense floating-point tensor of finite values.
    """
    path = Path(path)
    file = _locate(path)
    if file.suffix == ".safetensors":
        state, metadata = _read_safetensors(file, which)
    else:
        state, metadata = _read_torch(file, which)
    try:
        plain = plain_names(state)
        layout = plain.layout
        for name, tensor in plain.state.items():
            if layout.reason_to_drop(name, tensor) is None:
                _check_values(tensor, f"{path}: {name}")
        official, dropped = layout.to_official(plain.state)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    with_buffers = {layout.official_name(name): tensor for name, tensor in plain.state.items()}
    geometry = read_geometry(with_buffers, metadata)
    return Weights(official, str(path), metadata, plain.dropped + dropped, layout.name, geometry)


def _check_values(tensor: Tensor, where: str) -> None:
    if not has_values(tensor) or tensor.dtype not in _DTYPES:
        raise UserError(
            f"{where} is {tensor.dtype}, {tensor.layout}, on {tensor.device}; a weight must be a dense tensor "
            f"with a value of its own for each element, of {', '.join(map(str, _DTYPES))}"
        )
    if not tensor.numel():
        raise UserError(f"{where} has the shape {tuple(tensor.shape)} and no values; take another checkpoint")
    if not tensor.isfinite().all():
        raise UserError(f"{where} holds values that are not finite; take an earlier checkpoint")


def _locate(path: Path) -> Path:
    if path.is_dir():
        if not (path / STATE_FILE).is_file():
            raise UserError(
                f"{path}: is a folder without {STATE_FILE}; name a file of weights or a run's step folder"
            )
        return path / STATE_FILE
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; name an existing {_KINDS} file")
    if path.suffix not in _SUFFIXES:
        raise UserError(f"{path}: the ending {path.suffix!r} is not known; it must be {_KINDS}")
    if not path.stat().st_size:
        raise UserError(f"{path}: is empty, 0 bytes; copy or download it again")
    return path


def _read_safetensors(file: Path, which: Which) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(file, framework="pt", device="cpu") as content:
            metadata = content.metadata() or {}
            # A training state is known by its file's name: a model may well have a part called "model".
            prefix = _SECTIONS[which] if file.name == STATE_FILE else ""
            state = {
                name.removeprefix(prefix): content.get_tensor(name)
                for name in content.keys()  # noqa: SIM118  (not a dict)
                if name.startswith(prefix)
            }
            found = sorted({name.partition(".")[0] for name in content.keys()})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: {describe_damage(file, error)}; copy or download it again") from error
    if not found:
        raise UserError(f"{file}: holds no tensors; expected a file of weights")
    if prefix and not state:
        raise UserError(f"{file}: holds no {which} weights; it holds: {', '.join(found)}")
    if not prefix and which == "ema" and metadata.get("weights") != "ema":
        raise UserError(
            f"{file}: holds one set of weights, not ema beside it; set TEST.WEIGHTS to raw to use it"
        )
    return state, metadata


def _read_torch(file: Path, which: Which) -> tuple[dict[str, Tensor], dict[str, Any]]:
    content = _load_data_only(file)
    if not isinstance(content, Mapping):
        raise UserError(
            f"{file}: holds a {type(content).__name__}, not a checkpoint; expected a dict of tensors"
        )
    wrapper = next((key for key in _WRAPPERS[which] if isinstance(content.get(key), Mapping)), None)
    if wrapper is not None:
        state = content[wrapper]
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
    return dict(state), metadata


def _load_data_only(file: Path) -> Any:
    with torch.serialization.safe_globals(_HARMLESS):
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file makes torch.load raise nearly anything
            refused = _refused_globals(file, error)
            if refused:
                raise UserError(
                    f"{file}: refused, because reading it would run code: {', '.join(refused)}. "
                    "Save its weights alone, best as .safetensors, where you trust it"
                ) from error
            raise UserError(f"{file}: {describe_damage(file, error)}; copy or download it again") from error


def _refused_globals(file: Path, error: Exception) -> list[str]:
    """What a file asks for beyond data; of the older format, which cannot be listed, the first."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except Exception:  # too old, or too damaged to tell
        return _GLOBAL.findall(str(error))[:1]


def _without_tensors(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    try:
        return {key: value for key, value in content.items() if not _holds_tensors(value)}
    except RecursionError as error:
        raise UserError(
            f"{file}: what it holds beside the weights contains itself; save its weights alone"
        ) from error


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_tensors, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_tensors, value))
    return isinstance(value, Tensor)
