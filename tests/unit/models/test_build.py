from typing import get_args

import pytest
import torch

from swin_train.config import Config, load_config
from swin_train.errors import UserError
from swin_train.kernels.relative_position import log_spaced_coordinates
from swin_train.kernels.window_attention import Padding
from swin_train.models.build import build_model
from swin_train.models.describe import describe, num_parameters
from swin_train.models.freeze import freeze
from swin_train.models.outline import FAMILIES
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_v2 import SwinTransformerV2

SMALL = [
    *(
        "DATA.IMG_SIZE",
        16,
        "MODEL.SWIN.PATCH_SIZE",
        2,
        "MODEL.SWIN.WINDOW_SIZE",
        4,
        "MODEL.SWIN.EMBED_DIM",
        8,
    ),
    *("MODEL.SWIN.DEPTHS", (2, 2), "MODEL.SWIN.NUM_HEADS", (2, 4), "MODEL.NUM_CLASSES", 7),
]


def test_a_configuration_becomes_its_model() -> None:
    cfg = load_config(None, [*SMALL, "MODEL.SWIN.APE", True, "MODEL.DROP_PATH_RATE", 0.2])

    model = build_model(cfg)

    assert isinstance(model, SwinTransformer)
    assert (model.img_size, model.patch_size, model.in_chans, model.num_classes) == ((16, 16), 2, 3, 7)
    assert [len(stage.blocks) for stage in model.layers] == [2, 2]
    assert [(stage.dim, stage.blocks[0].place.num_heads, stage.window) for stage in model.layers] == [
        (8, 2, 4),
        (16, 4, 4),
    ]
    assert model.absolute_pos_embed is not None
    assert model.stochastic_depth.probabilities[-1] == pytest.approx(0.2)


def test_a_version_2_gets_what_it_alone_has() -> None:
    sizes = [word.replace("SWIN.", "SWINV2.") if isinstance(word, str) else word for word in SMALL]
    own = ["MODEL.TYPE", "swinv2", "MODEL.SWINV2.PRETRAINED_WINDOW_SIZES", (6, 3)]

    model = build_model(load_config(None, [*sizes, *own, "MODEL.PADDING", "timm"]))

    assert isinstance(model, SwinTransformerV2)
    attention = model.layers[1].blocks[0].mixer
    assert model.pretrained_window_sizes == (6, 3)
    assert torch.equal(attention.relative_coords_table, log_spaced_coordinates(4, 3))
    assert attention.padding == "timm"


def test_what_is_padded_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    build_model(load_config(None, [*SMALL[2:], "DATA.IMG_SIZE", [16, 32]]))
    assert not caplog.messages

    model = build_model(load_config(None, [*SMALL[2:], "DATA.IMG_SIZE", [16, 18], "MODEL.PADDING", "masked"]))

    assert caplog.messages == [
        "maps that are no multiple of their window are padded (MODEL.PADDING masked): 8x9 to 8x12, 4x5 to 4x8"
    ]
    assert model.layers[0].blocks[0].mixer.padding == "masked"


def test_the_number_of_classes_may_come_from_the_data() -> None:
    assert build_model(load_config(None, SMALL), num_classes=3).num_classes == 3


def test_a_type_that_is_not_built_yet_is_refused() -> None:
    cfg = load_config(None, ["MODEL.TYPE", "swin_moe"])

    with pytest.raises(UserError, match=r"MODEL.TYPE is 'swin_moe', .* it builds swin, swinv2, swin_mlp"):
        build_model(cfg)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("stages 3", "TRAIN.FREEZE: 'stages 3': cannot freeze 3 stages; expected a whole number, 1..2"),
        ("stages x", 'expected none, "stages N" or all_but_head'),
        ("head", 'expected none, "stages N" or all_but_head'),
    ],
)
def test_a_freezing_rule_that_does_not_fit_is_refused(rule: str, message: str) -> None:
    model = build_model(load_config(None, SMALL))

    with pytest.raises(UserError, match=message):
        freeze(model, rule)


@pytest.mark.parametrize(
    ("rule", "num_trainable"), [("none", 63), ("stages 1", 30), ("stages 2", 4), ("all_but_head", 2)]
)
def test_freezing_rules(rule: str, num_trainable: int) -> None:
    model = build_model(load_config(None, SMALL))

    freeze(model, rule)

    assert sum(p.requires_grad for p in model.parameters()) == num_trainable
    assert (num_parameters(model, trainable_only=True) < num_parameters(model)) == (rule != "none")


@pytest.mark.parametrize(
    ("name", "opts", "expected"),
    [
        ("swin_tiny_patch4_window7_224", [], 1000),
        ("swin_tiny_patch4_window7_224", ["MODEL.NUM_CLASSES", 7], 7),
        ("swin_tiny_patch4_window7_224_22k", [], 21841),
        ("swin_tiny_patch4_window7_224_22k", ["MODEL.NUM_CLASSES", 7], 7),
    ],
)
def test_the_classes_are_the_given_ones_or_the_data_set_s(name: str, opts: list, expected: int) -> None:
    cfg = load_config(name, opts)

    assert cfg.num_classes == expected
    with torch.device("meta"):
        assert build_model(cfg).num_classes == expected
    assert describe(cfg).num_classes == expected


def test_the_configuration_offers_what_the_models_know() -> None:
    offered = {key: get_args(option.type) for key, option in Config.walk()}

    assert offered["MODEL.PADDING"] == get_args(Padding)
    assert set(offered["MODEL.TYPE"]) == {*FAMILIES, "swin_moe"}  # which is configured but not built


def test_the_defaults_of_the_configuration_are_the_model_s() -> None:
    with torch.device("meta"):
        assert str(build_model(load_config(None))) == str(SwinTransformer())
