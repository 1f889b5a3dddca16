"""The config.json that transformers' ``from_pretrained`` reads beside weights in the Hugging Face layout."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from swin_train.errors import UserError
from swin_train.weights.layouts.complete import has_qkv_bias
from swin_train.weights.layouts.spec import ModelSpec

_CLASSES = {"swin": "Swin", "swinv2": "Swinv2"}
_USUAL = {"hidden_act": "gelu", "layer_norm_eps": 1e-5}


def huggingface_config(
    state: Mapping[str, Tensor], spec: ModelSpec, class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Describe a Swin that the layout can express; what is left out keeps transformers' default, the papers'.

    Call it after the layout's ``from_official``: what that refuses, as parts that are missing, windows that differ
    or a family that transformers lacks, is not looked at again.

    Args:
        state: the weights under their published names, which ``from_official`` took.
        spec: of the same model.
        class_names: one for each output of the head.

    Raises:
        ValueError: "what is wrong; what would be right", where a size is not known, transformers has no word for
            the model, or the names are not those of its classes.
    """
    if spec.img_size is None or spec.windows is None:
        unknown = "the size of its images" if spec.img_size is None else "its windows"
        raise ValueError(f"config.json needs {unknown}, which the file does not tell; give --cfg")
    height, width = spec.img_size
    config: dict[str, Any] = {
        "model_type": spec.family,
        "architectures": [
            _CLASSES[spec.family] + ("ForImageClassification" if spec.num_classes else "Model")
        ],
        "image_size": height if height == width else [height, width],
        "patch_size": spec.patch_size,
        "num_channels": spec.in_chans,
        "embed_dim": spec.embed_dim,
        "depths": list(spec.depths),
        "num_heads": list(spec.num_heads),
        "window_size": max(spec.windows),
        "mlp_ratio": _mlp_ratio(state, spec),
        "qkv_bias": has_qkv_bias(state),
        "use_absolute_embeddings": spec.ape,
        "torch_dtype": str(state["norm.weight"].dtype).removeprefix("torch."),
    }
    if spec.family == "swinv2":
        if spec.pretrained_windows is None:
            raise ValueError(
                "config.json needs the windows that the position bias was learned in (PRETRAINED_WINDOW_SIZES), "
                "which the file does not tell; give --cfg"
            )
        config["pretrained_window_sizes"] = list(spec.pretrained_windows)
    return config | _labels(spec.num_classes, class_names)


def _mlp_ratio(state: Mapping[str, Tensor], spec: ModelSpec) -> float:
    """Hidden channels by channels; transformers multiplies and rounds down, as the official code does."""
    hidden = [len(state[f"layers.{stage}.blocks.0.mlp.fc1.bias"]) for stage in range(len(spec.depths))]
    dims = [spec.embed_dim * 2**stage for stage in range(len(spec.depths))]
    ratios = [channels / dim for channels, dim in zip(hidden, dims, strict=True)]
    for ratio in ratios:
        if [int(ratio * dim) for dim in dims] == hidden:
            return ratio
    raise ValueError(
        f"the MLPs have {hidden} hidden channels for {dims}, and transformers has one ratio; choose timm"
    )


def _labels(num_classes: int, class_names: Sequence[str] | None) -> dict[str, Any]:
    if class_names is None or not num_classes:
        return {"num_labels": num_classes} if num_classes else {}
    if len(class_names) != num_classes:
        raise ValueError(
            f"the file names {len(class_names)} classes, and its head has {num_classes}; "
            "take a file whose head was not changed"
        )
    return {
        "id2label": {str(index): name for index, name in enumerate(class_names)},
        "label2id": {name: index for index, name in enumerate(class_names)},
    }


def sizes_beside(file: Path) -> dict[str, str]:
    """Say what the config.json beside a file of weights tells of sizes, as the header of a file of ours would.

    Returns:
        JSON by name; nothing where there is no config.json of a Swin. What it leaves out has transformers' default.

    Raises:
        UserError: it has an activation or a normalisation that is not built here.
    """
    try:
        config = json.loads((file.parent / "config.json").read_text(encoding="utf-8"))
        sizes = {name: json.dumps(size) for name, size in _sizes(config).items()}
    except (OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        return {}  # of another library, or of nobody
    for key, usual in _USUAL.items() if sizes else ():
        if config.get(key, usual) != usual:
            raise UserError(
                f"{file.parent / 'config.json'}: {key} is {config[key]!r}, and a Swin here has {usual!r} alone; take "
                "other weights"
            )
    return sizes


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    if config["model_type"] not in _CLASSES:
        return {}
    image, window = config.get("image_size", 224), config.get("window_size", 7)
    sizes = {"img_size": image, "window_size": window}
    if config["model_type"] == "swinv2":  # bounds windows by the rows of its maps when it is built
        num_stages = len(config.get("depths", (2, 2, 6, 2)))
        rows = (image[0] if isinstance(image, list) else image) // config.get("patch_size", 4)
        sizes["windows"] = [min(window, rows // 2**stage) for stage in range(num_stages)]
        sizes["pretrained_windows"] = config.get("pretrained_window_sizes", [0] * num_stages)
    return sizes
