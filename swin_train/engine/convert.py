"""Weights in any layout -> a file in the layout of another library."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_train.config import Config
from swin_train.engine.header import cited_facts, cited_geometry
from swin_train.engine.huggingface_folder import folder_files, huggingface_processor, note_on, write_folder
from swin_train.engine.model_spec import gather_spec
from swin_train.errors import UserError
from swin_train.weights.download import local_file
from swin_train.weights.layouts import LAYOUTS, ModelSpec
from swin_train.weights.layouts.huggingface_config import huggingface_config
from swin_train.weights.metadata import class_names, value
from swin_train.weights.read import SUFFIXES, Which, read_weights
from swin_train.weights.write import write_torch, write_weights

_ENDINGS = (".safetensors", ".pth")
_HUGGINGFACE = "huggingface"


@dataclass(frozen=True)
class Conversion:
    """What was written; ``str`` is the one line to show.

    Attributes:
        path: the file or folder.
        num_tensors: how many it holds.
        layout: its layout.
        source_layout: that of the file which was read.
        notes: what was left out and what to mind, in words.
    """

    path: Path
    num_tensors: int
    layout: str
    source_layout: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = f"{self.path}: {self.num_tensors} tensors, {self.layout} layout (from {self.source_layout})"
        return "; ".join([what, *self.notes])


def convert(
    source: str | Path,
    out: str | Path,
    to: str,
    *,
    which: Which = "raw",
    cfg: Config | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Write the weights of a file in the layout of another library; every value stays as it is.

    Args:
        source: a file of weights in any layout, a run's checkpoint folder, or a URL.
        out: a .safetensors file, whose header takes over what this project's files say of classes and images; a
            .pth file, which holds the weights alone, under "model" in the official layout; or, for huggingface,
            a folder for ``from_pretrained``.
        to: "official", "timm", "torchvision" or "huggingface".
        which: the trained weights, or their exponential moving average.
        cfg: the configuration that the weights belong to. It is needed where the file does not tell what the
            layout depends on, and must not contradict the file.
        overwrite: whether a file that is there may be replaced.

    Raises:
        UserError: the weights cannot be read, are not those of ``cfg``, or cannot be expressed in the layout;
            ``out`` exists or cannot be.
        StorageError: it could not be written.
    """
    if to not in LAYOUTS:
        raise UserError(f"--to: {to!r} is no layout of weights; choose among {', '.join(LAYOUTS)}")
    out = Path(out)
    is_folder = _check_place(out, to, overwrite)
    path = local_file(source)
    weights = read_weights(path, which)
    spec = gather_spec(weights, cfg)
    said = {name: text for name, text in weights.metadata.items() if isinstance(text, str)}
    padding = {"padding": json.dumps(weights.padding)} if weights.padding else {}
    metadata = _metadata(said | padding, which, spec, cfg)
    try:
        state = LAYOUTS[to].from_official(weights.state, spec)
        config = huggingface_config(weights.state, spec, class_names(metadata)) if is_folder else None
    except ValueError as error:
        raise UserError(f"{source}: cannot be written in the {to} layout: {error}") from None
    notes, padding_note = weights.notes, _padding_note(to, spec, metadata)
    if config is not None:
        processor = huggingface_processor(metadata)
        write_folder(out, state, metadata, config, processor)
        notes += note_on(processor)
    elif out.suffix == ".pth":
        write_torch(out, state, wrapper="model" if to == "official" else None)
        notes += _left_behind(said)
    else:
        write_weights(out, state, metadata)
    return Conversion(out, len(state), to, weights.layout, (*notes, *padding_note))


def _check_place(out: Path, to: str, overwrite: bool) -> bool:
    """Whether ``out`` is to be a folder; an error where nothing can or may be written."""
    is_folder = to == _HUGGINGFACE and (out.is_dir() or out.suffix not in SUFFIXES)
    if not is_folder and out.suffix not in _ENDINGS:
        folder = ", or for a folder in nothing of the kind" if to == _HUGGINGFACE else ""
        raise UserError(
            f"{out}: cannot tell the format; the name must end in {' or '.join(_ENDINGS)}{folder}"
        )
    if not out.parent.is_dir():
        raise UserError(f"{out}: there is no folder {out.parent} to write into; make it first")
    if out.exists() and out.is_dir() != is_folder:
        kinds = ("a file", "a folder") if is_folder else ("a folder", "a file")
        raise UserError(f"{out}: is {kinds[0]}, and {kinds[1]} is to be written; choose another name")
    there = [file for file in (folder_files(out) if is_folder else [out]) if file.exists()]
    if there and not overwrite:
        raise UserError(f"{there[0]}: exists already; choose another name, or replace it with --overwrite")
    return is_folder


def _metadata(said: Mapping[str, str], which: Which, spec: ModelSpec, cfg: Config | None) -> dict[str, str]:
    """Return what goes into the header: what the source says, and what else is known of its model."""
    known = (cited_facts(cfg) if cfg else {}) | dict(said) | cited_geometry(spec)
    return known | {"weights": said.get("weights", which), "format": "pt"}  # transformers asks for "format"


def _left_behind(said: Mapping[str, str]) -> list[str]:
    facts = sorted(said.keys() - {"weights", "format"})
    return [f"left behind {', '.join(facts)}: a .pth file holds the weights alone"] if facts else []


def _padding_note(to: str, spec: ModelSpec, metadata: Mapping[str, str]) -> list[str]:
    """Mind a model whose maps are padded in training, and otherwise where the weights go."""
    theirs, ours = LAYOUTS[to].padding, value(metadata, "padding")
    if theirs is None or ours in (None, theirs) or spec.maps is None or spec.windows is None:
        return []
    padded = [
        stage
        for stage, (sides, window) in enumerate(zip(spec.maps, spec.windows, strict=True))
        if any(side % window for side in sides)
    ]
    if not padded:
        return []
    return [
        f"mind that the maps of stage(s) {', '.join(map(str, padded))} are padded: trained with MODEL.PADDING "
        f"{ours}, {to} pads as {theirs} does, so logits at {spec.img_size} may differ"
    ]
