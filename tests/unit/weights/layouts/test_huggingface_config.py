"""The description that transformers reads, and what it cannot describe."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from swin_train.errors import UserError
from swin_train.weights.geometry import Geometry, read_geometry
from swin_train.weights.layouts import ModelSpec, infer_spec
from swin_train.weights.layouts.huggingface_config import huggingface_config, sizes_beside

SPEC = ModelSpec(
    family="swinv2",
    embed_dim=96,
    depths=(2, 2, 18, 2),
    num_heads=(3, 6, 12, 24),
    patch_size=4,
    in_chans=3,
    num_classes=1000,
    ape=False,
    patch_norm=True,
    windows=(16, 16, 16, 8),
    pretrained_windows=(12, 12, 12, 6),
    img_size=(256, 256),
)


def state(
    *, hidden: tuple[int, ...] = (384, 768, 1536, 3072), bias: str = "attn.q_bias"
) -> dict[str, Tensor]:
    """The tensors that the description is read off; on the meta device they take no memory."""
    with torch.device("meta"):
        tensors = {f"layers.{i}.blocks.0.mlp.fc1.bias": torch.empty(size) for i, size in enumerate(hidden)}
        return tensors | {f"layers.0.blocks.0.{bias}": torch.empty(96), "norm.weight": torch.empty(768)}


def test_a_swin_v2_is_described_whole() -> None:
    assert huggingface_config(state(), SPEC) == {
        "model_type": "swinv2",
        "architectures": ["Swinv2ForImageClassification"],
        "image_size": 256,
        "patch_size": 4,
        "num_channels": 3,
        "embed_dim": 96,
        "depths": [2, 2, 18, 2],
        "num_heads": [3, 6, 12, 24],
        "window_size": 16,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "use_absolute_embeddings": False,
        "torch_dtype": "float32",
        "pretrained_window_sizes": [12, 12, 12, 6],
        "num_labels": 1000,
    }


def test_a_swin_v1_has_no_windows_of_pretraining() -> None:
    spec = replace(
        SPEC, family="swin", windows=(7,) * 4, pretrained_windows=None, img_size=(224, 448), ape=True
    )

    config = huggingface_config(state(bias="attn.qkv.bias"), spec)

    assert config["architectures"] == ["SwinForImageClassification"]
    assert (config["image_size"], config["window_size"]) == ([224, 448], 7)
    assert (config["qkv_bias"], config["use_absolute_embeddings"]) == (True, True)
    assert "pretrained_window_sizes" not in config


def test_a_model_without_head_or_bias() -> None:
    config = huggingface_config(state(bias="attn.qkv.weight"), replace(SPEC, num_classes=0), ["cat"])

    assert config["architectures"] == ["Swinv2Model"]
    assert config["qkv_bias"] is False
    assert not config.keys() & {"num_labels", "id2label"}


def test_half_precision_is_named() -> None:
    halves = {name: tensor.half() for name, tensor in state().items()}

    assert huggingface_config(halves, SPEC)["torch_dtype"] == "float16"


def test_classes_are_named_both_ways() -> None:
    config = huggingface_config(state(), replace(SPEC, num_classes=2), ["cat", "dog"])

    assert config["id2label"] == {"0": "cat", "1": "dog"}
    assert config["label2id"] == {"cat": 0, "dog": 1}
    assert "num_labels" not in config


@pytest.mark.parametrize(
    ("hidden", "ratio"), [((192, 384, 768, 1536), 2.0), ((260, 521, 1042, 2085), 2085 / 768)]
)
def test_a_ratio_that_rounds_down_to_the_hidden_channels_is_found(hidden: tuple, ratio: float) -> None:
    assert huggingface_config(state(hidden=hidden), SPEC)["mlp_ratio"] == ratio


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"img_size": None},
            "config.json needs the size of its images, which the file does not tell; give --cfg",
        ),
        ({"windows": None}, "config.json needs its windows, which the file does not tell; give --cfg"),
        (
            {"pretrained_windows": None},
            "config.json needs the windows that the position bias was learned in (PRETRAINED_WINDOW_SIZES), which "
            "the file does not tell; give --cfg",
        ),
    ],
)
def test_what_is_not_known_is_an_error(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        huggingface_config(state(), replace(SPEC, **changes))


def test_mlps_without_a_common_ratio_are_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"have \[384, 768, 1536, 768\] hidden channels for \[96, 192, 384, 768\]"
    ):
        huggingface_config(state(hidden=(384, 768, 1536, 768)), SPEC)


def test_names_for_other_classes_are_an_error() -> None:
    with pytest.raises(ValueError, match="the file names 2 classes, and its head has 1000; take"):
        huggingface_config(state(), SPEC, ["cat", "dog"])


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"model_type": "swin"}, {"img_size": 224, "window_size": 7}),
        (
            {"model_type": "swinv2"},
            {
                "img_size": 224,
                "window_size": 7,
                "windows": [7, 7, 7, 7],
                "pretrained_windows": [0, 0, 0, 0],
            },
        ),
        (
            {
                "model_type": "swinv2",
                "image_size": 256,
                "window_size": 16,
                "pretrained_window_sizes": [12, 12, 12, 6],
            },
            {
                "img_size": 256,
                "window_size": 16,
                "windows": [16, 16, 16, 8],
                "pretrained_windows": [12, 12, 12, 6],
            },
        ),
        ({"model_type": "resnet", "image_size": 64}, {}),
        ({"architecture": "swin_tiny_patch4_window7_224"}, {}),  # timm's
        ({"model_type": "swinv2", "image_size": "large"}, {}),
        ({"model_type": "swinv2", "patch_size": 0}, {}),
        ({"model_type": ["swinv2"]}, {}),
        ([], {}),
    ],
)
def test_sizes_are_read_from_a_configuration(tmp_path: Path, config: object, told: dict) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))

    found = sizes_beside(tmp_path / "model.safetensors")

    assert {name: json.loads(value) for name, value in found.items()} == told


@pytest.mark.parametrize(
    ("key", "value", "usual"), [("hidden_act", "relu", "gelu"), ("layer_norm_eps", 0.1, 1e-05)]
)
def test_a_configuration_of_another_computation_is_refused(
    tmp_path: Path, key: str, value: object, usual: object
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "swin", key: value}))

    with pytest.raises(UserError) as error:
        sizes_beside(tmp_path / "model.safetensors")

    assert str(error.value) == (
        f"{file}: {key} is {value!r}, and a Swin here has {usual!r} alone; take other weights"
    )
    file.write_text(json.dumps({"model_type": "vit", key: value}))
    assert sizes_beside(tmp_path / "model.safetensors") == {}


def test_what_this_project_writes_is_read_back(whole_state: Callable, tmp_path: Path) -> None:
    state = whole_state("swinv2")
    geometry = Geometry((4, 4), (6, 3), (16, 18))
    (tmp_path / "config.json").write_text(json.dumps(huggingface_config(state, infer_spec(state, geometry))))

    found = read_geometry(state, sizes_beside(tmp_path / "model.safetensors"))

    assert found == replace(geometry, window_size=4)


@pytest.mark.parametrize("text", [None, "MODEL:\n  TYPE: swin\n", "[" * 100000])
def test_no_configuration_of_transformers_tells_nothing(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)

    assert sizes_beside(tmp_path / "model.safetensors") == {}
