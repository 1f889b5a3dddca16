"""``create_model``: a model by its name, with weights."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import swin_train
from swin_train import ConfigError, UserError, create_model
from swin_train.models.features import StageFeatures
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_mlp import SwinMlp
from swin_train.models.swin_v2 import SwinTransformerV2
from swin_train.weights.write import write_weights

TINY = "swin_tiny_patch4_window7_224"
SMALL = ["MODEL.SWIN.EMBED_DIM", 24, "MODEL.SWIN.DEPTHS", (1, 2, 1, 1)]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    model = create_model(TINY, num_classes=5, opts=SMALL)
    write_weights(tmp_path / "w.safetensors", model.state_dict(), {})
    return tmp_path / "w.safetensors"


@pytest.mark.parametrize(
    ("name", "family", "num_classes", "img_size"),
    [
        (TINY, SwinTransformer, 1000, (224, 224)),
        ("swinv2_tiny_patch4_window8_256", SwinTransformerV2, 1000, (256, 256)),
        ("swin_mlp_tiny_c24_patch4_window8_256", SwinMlp, 1000, (256, 256)),
        ("swin_tiny_patch4_window7_224_22k", SwinTransformer, 21841, (224, 224)),
    ],
)
def test_a_name_is_enough(name: str, family: type, num_classes: int, img_size: tuple[int, int]) -> None:
    with torch.device("meta"):
        model = create_model(name)

    assert type(model) is family
    assert (model.num_classes, model.img_size) == (num_classes, img_size)
    assert model.training


@pytest.mark.parametrize(
    ("img_size", "expected"), [(64, (64, 64)), ((64, 96), (64, 96)), ([64, 96], (64, 96))]
)
def test_classes_size_and_any_key_can_be_chosen(img_size: Any, expected: tuple[int, int]) -> None:
    model = create_model(TINY, num_classes=7, img_size=img_size, opts=[*SMALL, "TRAIN.USE_CHECKPOINT", True])

    assert (model.num_classes, model.img_size, model.layers[0].dim) == (7, expected, 24)
    assert model.layers[0].use_checkpoint


def test_a_configuration_of_one_s_own_is_taken_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("MODEL: {SWIN: {EMBED_DIM: 24, DEPTHS: [1, 1, 1, 1]}, NUM_CLASSES: 3}")

    model = create_model(tmp_path / "my.yaml")

    assert (model.layers[0].dim, model.num_classes) == (24, 3)


def test_weights_are_loaded_and_the_log_says_how(weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "swin_train.zoo.create"):
        model = create_model(TINY, weights, num_classes=3, img_size=64, opts=SMALL)

    source = create_model(TINY, weights, num_classes=5, opts=SMALL)
    assert torch.equal(model.layers[1].blocks[1].mlp.fc1.weight, source.layers[1].blocks[1].mlp.fc1.weight)
    assert f"{weights}: loaded " in caplog.messages[0]
    assert "head of 3 classes fresh (the file has 5)" in caplog.messages[0]


def test_features_are_those_of_the_weights_without_their_head(
    weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = create_model(TINY, weights, num_classes=5, opts=SMALL).eval()
    images = torch.randn(1, 3, 64, 96)

    with caplog.at_level(logging.INFO, "swin_train.zoo.create"):
        features = create_model(TINY, weights, features_only=True, out_indices=(1, 3), opts=SMALL).eval()

    assert isinstance(features, StageFeatures)
    maps = [found.permute(0, 2, 3, 1) for found in features(images)]
    expected = classifier.forward_maps(images)
    assert [torch.equal(a, b) for a, b in zip(maps, (expected[1], expected[3]), strict=True)] == [True] * 2
    assert "head of 5 classes dropped (the model has none)" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "swin_tinny"},
            "create_model: swin_tinny: no such file, .* Did you mean the name swin_tiny",
        ),
        (
            {"name": TINY, "pretrained": True},
            "create_model: pretrained is True; give a path or a URL, such as",
        ),
        ({"name": TINY, "pretrained": "none.pth"}, "none.pth"),
        (
            {"name": TINY, "features_only": True, "num_classes": 10},
            "create_model: num_classes is 10, but features_only leaves the head out; give one of them",
        ),
        ({"name": TINY, "out_indices": (1, 2)}, "create_model: out_indices choose among the maps"),
        ({"name": "swin_moe_small_patch4_window12_192_8expert_32gpu_22k"}, "MODEL.TYPE is 'swin_moe'"),
    ],
)
def test_a_mistake_is_a_message(arguments: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=message):
        create_model(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"opts": ["MODEL.SWIN.EMBED_DIMM", 24]}, "unknown key MODEL.SWIN.EMBED_DIMM"),
        ({"img_size": 0}, "DATA.IMG_SIZE must be"),
    ],
)
def test_a_wrong_key_or_value_is_the_configuration_s_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_model(TINY, **arguments)


def test_other_stages_than_there_are_is_an_error() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="out_indices"):
        swin_train.create_model(TINY, features_only=True, out_indices=(7,))
