"""``create_model``: a model by its name, with weights."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

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


def test_integers_of_numpy_are_integers() -> None:
    model = create_model(TINY, num_classes=np.int64(7), img_size=np.int64(64), opts=SMALL)
    rectangle = create_model(TINY, img_size=(np.int32(64), 96), opts=SMALL)

    assert (model.num_classes, model.img_size, rectangle.img_size) == (7, (64, 64), (64, 96))


def test_a_swin_v2_may_have_any_number_of_stages() -> None:
    opts = [
        *("MODEL.SWINV2.EMBED_DIM", 8, "MODEL.SWINV2.DEPTHS", [1, 1, 1]),
        *("MODEL.SWINV2.NUM_HEADS", [1, 2, 4]),
    ]

    model = create_model("swinv2_tiny_patch4_window8_256", opts=opts)

    assert isinstance(model, SwinTransformerV2)
    assert model.pretrained_window_sizes == (0, 0, 0)


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
    assert "head of 5 classes dropped (the model has none); dropped 2 tensors that the" in caplog.messages[-1]


@pytest.mark.parametrize("saved", [None, (0, 1, 2)])
@pytest.mark.parametrize("out_indices", [(0, 1, 2), (1,)])
def test_the_weights_of_a_backbone_come_back(tmp_path: Path, saved: tuple | None, out_indices: tuple) -> None:
    torch.manual_seed(1)
    theirs = create_model(TINY, features_only=True, out_indices=saved, opts=SMALL).state_dict()
    write_weights(tmp_path / "w.safetensors", theirs, {})

    ours = create_model(
        TINY, tmp_path / "w.safetensors", features_only=True, out_indices=out_indices, opts=SMALL
    )

    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize(
    ("pretrained", "message"),
    [
        ("features", r"has 3 stages, the model 4"),
        ("classifier", r"Missing: norm.weight, norm.bias"),
    ],
)
def test_a_backbone_that_lacks_what_is_asked_for_is_refused(
    tmp_path: Path, pretrained: str, message: str
) -> None:
    stages = (0, 1, 2) if pretrained == "features" else None
    theirs = create_model(TINY, features_only=True, out_indices=stages, opts=SMALL).state_dict()
    write_weights(tmp_path / "w.safetensors", theirs, {})

    with pytest.raises(UserError, match=message):
        create_model(TINY, tmp_path / "w.safetensors", features_only=pretrained == "features", opts=SMALL)


@pytest.mark.parametrize(
    ("arguments", "unasked"),
    [
        ({"num_classes": 5}, ""),
        ({"num_classes": 3}, ""),
        ({"opts": ["MODEL.NUM_CLASSES", 3]}, ""),
        ({}, "num_classes"),
        ({"num_classes": 5, "img_size": 96}, ""),  # whose smaller maps bound the windows
        ({"num_classes": 5, "opts": ["MODEL.SWIN.WINDOW_SIZE", 4]}, ""),
        ({"num_classes": 5, "name": "small.yaml"}, "img_size"),
        ({"name": "small.yaml"}, "num_classes and img_size"),
        ({"name": "small.yaml", "features_only": True}, "img_size"),
    ],
    ids=str,
)
def test_what_the_call_did_not_ask_for_is_a_warning(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    arguments: dict[str, Any],
    unasked: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text("MODEL: {SWIN: {WINDOW_SIZE: 4}}")
    arguments = {"name": TINY, **arguments, "opts": [*SMALL, *arguments.get("opts", [])]}

    with caplog.at_level(logging.INFO, "swin_train.zoo.create"):
        create_model(pretrained=weights, **arguments)

    (record,) = caplog.records
    assert record.levelname == ("WARNING" if unasked else "INFO")
    assert record.message.startswith(f"{weights}: loaded ")
    assert record.message.partition("; if that is meant, give ")[2] == unasked


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
        (
            {"name": TINY, "pretrained": {"head.weight": 1}},
            "create_model: pretrained is a dict; give the path or URL of a file, and what is loaded already to "
            "model.load_state_dict",
        ),
        *(
            (
                {"name": TINY, "num_classes": classes},
                f"create_model: num_classes is {classes!r}; give the number of classes, 0 for no head, or None",
            )
            for classes in (-1, 2.5, True, "10")
        ),
        *(
            (
                {"name": TINY, "img_size": size},
                f"create_model: img_size is {re.escape(repr(size))}; give the side of the images in pixels, such as "
                r"224, or \(height, width\)",
            )
            for size in (2.5, "224", (224,), (224, 224, 3), (224, 2.5), True, 0, (224, -1))
        ),
        *(
            (
                {"name": TINY, "features_only": True, "out_indices": stages},
                f"create_model: out_indices is {re.escape(repr(stages))}; give numbers of stages, 0 to 3, in rising "
                r"order, such as \(0, 1, 2, 3\)",
            )
            for stages in (1, (7,), (-1,), (2, 1), (1, 1), (), "12")
        ),
        *(
            ({"name": TINY, "opts": opts}, r"create_model: opts is .*; give a list of KEY, VALUE, KEY, VALUE")
            for opts in ({"TAG": "x"}, "TAG x", None)
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


def test_wrong_keys_and_values_are_blamed_on_the_argument_that_holds_them() -> None:
    with pytest.raises(ConfigError) as error:
        create_model(TINY, opts=["MODEL.SWIN.EMBED_DIMM", 24, "SEED", -1, "TAG"])

    assert [problem.partition("; ")[0] for problem in error.value.problems] == [
        "create_model: opts: the text 'TAG' has no value",
        "create_model: opts: unknown key MODEL.SWIN.EMBED_DIMM. Did you mean MODEL.SWIN.EMBED_DIM?",
        "create_model: opts: SEED must be >= 0",
    ]
