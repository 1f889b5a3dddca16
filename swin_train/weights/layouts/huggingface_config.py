"""The config.json that transformers' ``from_pretrained`` reads beside weights in the Hugging Face layout."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from swin_train.weights.layouts.complete import has_qkv_bias
from swin_train.weights.layouts.facts import Facts

_CLASSES = {"swin": "Swin", "swinv2": "Swinv2"}


def huggingface_config(
    state: Mapping[str, Tensor], facts: Facts, class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Describe a Swin that the layout can express; what is left out keeps transformers' default, the papers'.

    Call it after the layout's ``from_official``: what that refuses, as parts that are missing, windows that differ
    or a family that transformers lacks, is not looked at again.

    Args:
        state: the weights under their published names, which ``from_official`` took.
        facts: of the same model.
        class_names: one for each output of the head.

    Raises:
        ValueError: "what is wrong; what would be right", where a size is not known, transformers has no word for
            the model, or the names are not those of its classes.
    """
    if facts.img_size is None or facts.windows is None:
        unknown = "the size of its images" if facts.img_size is None else "its windows"
        raise ValueError(f"config.json needs {unknown}, which the file does not tell; give --cfg")
    height, width = facts.img_size
    config: dict[str, Any] = {
        "model_type": facts.family,
        "architectures": [
            _CLASSES[facts.family] + ("ForImageClassification" if facts.num_classes else "Model")
        ],
        "image_size": height if height == width else [height, width],
        "patch_size": facts.patch_size,
        "num_channels": facts.in_chans,
        "embed_dim": facts.embed_dim,
        "depths": list(facts.depths),
        "num_heads": list(facts.num_heads),
        "window_size": max(facts.windows),
        "mlp_ratio": _mlp_ratio(state, facts),
        "qkv_bias": has_qkv_bias(state),
        "use_absolute_embeddings": facts.ape,
        "torch_dtype": str(state["norm.weight"].dtype).removeprefix("torch."),
    }
    if facts.family == "swinv2":
        if facts.pretrained_windows is None:
            raise ValueError(
                "config.json needs the windows that the position bias was learned in (PRETRAINED_WINDOW_SIZES), "
                "which the file does not tell; give --cfg"
            )
        config["pretrained_window_sizes"] = list(facts.pretrained_windows)
    return config | _labels(facts.num_classes, class_names)


def _mlp_ratio(state: Mapping[str, Tensor], facts: Facts) -> float:
    """Hidden channels by channels; transformers multiplies and rounds down, as the official code does."""
    hidden = [len(state[f"layers.{stage}.blocks.0.mlp.fc1.bias"]) for stage in range(len(facts.depths))]
    dims = [facts.embed_dim * 2**stage for stage in range(len(facts.depths))]
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
