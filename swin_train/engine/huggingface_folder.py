"""A folder for transformers' ``from_pretrained``: weights, what model they are of, how to prepare its images."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from swin_train.data.recipe.crop import is_small
from swin_train.data.recipe.evaluation import size_to_cover
from swin_train.data.recipe.view import FILTERS
from swin_train.errors import StorageError
from swin_train.weights import metadata as header
from swin_train.weights.write import write_text, write_weights

_WEIGHTS_FILE, _PROCESSOR_FILE, _CONFIG_FILE = "model.safetensors", "preprocessor_config.json", "config.json"

# Of all its image processors the one that resizes and crops by sizes of their own.
_PROCESSOR = "BitImageProcessor"


def folder_files(folder: Path) -> list[Path]:
    """The files that ``write_folder`` may write."""
    return [folder / name for name in (_WEIGHTS_FILE, _PROCESSOR_FILE, _CONFIG_FILE)]


def write_folder(
    folder: Path,
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    config: Mapping[str, Any],
    processor: Mapping[str, Any] | None,
) -> None:
    """Write the folder so that it holds either no config.json or one that belongs to its weights.

    Args:
        folder: is made where it is not there; its own folder exists.
        state: the weights in the Hugging Face layout.
        metadata: for the header of their file.
        config: as ``huggingface_config`` describes the model.
        processor: as ``huggingface_processor`` describes the images; None writes no file of it.

    Raises:
        StorageError: the file system refuses.
    """
    try:
        folder.mkdir(exist_ok=True)
        for name in (_CONFIG_FILE, _PROCESSOR_FILE):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error}); see to permissions") from None
    write_weights(folder / _WEIGHTS_FILE, state, metadata)
    if processor is not None:
        _write_json(folder / _PROCESSOR_FILE, processor)
    _write_json(folder / _CONFIG_FILE, config)


def note_on(processor: Mapping[str, Any] | None) -> list[str]:
    """Say what the folder lacks without a description of the images."""
    if processor is not None:
        return []
    return [f"no {_PROCESSOR_FILE}: how images are prepared is not known, or has no equal there"]


def huggingface_processor(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """Describe the evaluation transform to transformers.

    Args:
        metadata: what travels with weights, as JSON.

    Returns:
        None where something about the images is not known, or transformers has no processor for them: it knows
        squares of three channels.
    """
    size = header.img_size(metadata)
    names = ("interpolation", "crop", "mean", "std")
    interpolation, is_cropped, mean, std = (header.value(metadata, name) for name in names)
    if size is None or size[0] != size[1] or not (_is_triple(mean) and _is_triple(std)):
        return None
    if not isinstance(interpolation, str) or interpolation not in FILTERS or not isinstance(is_cropped, bool):
        return None
    square = {"height": size[0], "width": size[1]}
    is_cropped = is_cropped and not is_small(size)
    return {
        "image_processor_type": _PROCESSOR,
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size_to_cover(size)[0]} if is_cropped else square,
        "resample": int(FILTERS[interpolation][0]),
        "do_center_crop": is_cropped,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
    }


def _is_triple(value: object) -> bool:
    """Whether a value is one number for each of three channels."""
    return isinstance(value, list) and len(value) == 3 and all(isinstance(n, int | float) for n in value)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
