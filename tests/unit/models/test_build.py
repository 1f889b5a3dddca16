import pytest
import torch

from swin_train.config import load_config
from swin_train.errors import UserError
from swin_train.models.build import build_model
from swin_train.models.describe import architecture, flops, num_parameters
from swin_train.models.freeze import freeze
from swin_train.models.swin import SwinTransformer

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

    assert architecture(model) == {
        "img_size": [16, 16],
        "patch_size": 2,
        "in_chans": 3,
        "num_classes": 7,
        "embed_dim": 8,
        "depths": [2, 2],
        "num_heads": [2, 4],
        "windows": [4, 4],
    }
    assert model.absolute_pos_embed is not None
    assert model.layers[1].blocks[1].drop_path2.probability == pytest.approx(0.2)


def test_the_number_of_classes_may_come_from_the_data() -> None:
    assert build_model(load_config(None, SMALL), num_classes=3).num_classes == 3


def test_a_type_that_is_not_built_yet_is_refused() -> None:
    cfg = load_config(None, ["MODEL.TYPE", "swin_mlp"])

    with pytest.raises(UserError, match=r"MODEL.TYPE is 'swin_mlp', .* it builds swin"):
        build_model(cfg)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("stages 3", "TRAIN.FREEZE: 'stages 3': cannot freeze 3 stages; the model has 2"),
        ("stages x", 'expected none, "stages N" or all_but_head'),
        ("head", 'expected none, "stages N" or all_but_head'),
    ],
)
def test_a_freezing_rule_that_does_not_fit_is_refused(rule: str, message: str) -> None:
    model = build_model(load_config(None, SMALL))

    with pytest.raises(UserError, match=message):
        freeze(model, rule)


def test_freezing_what_is_not_a_swin_is_refused() -> None:
    with pytest.raises(UserError, match="'all_but_head' is not known for Linear"):
        freeze(torch.nn.Linear(1, 1), "all_but_head")


@pytest.mark.parametrize(
    ("rule", "num_trainable"), [("none", 63), ("stages 1", 30), ("stages 2", 4), ("all_but_head", 2)]
)
def test_freezing_rules(rule: str, num_trainable: int) -> None:
    model = build_model(load_config(None, SMALL))

    freeze(model, rule)

    assert sum(p.requires_grad for p in model.parameters()) == num_trainable
    assert (num_parameters(model, trainable_only=True) < num_parameters(model)) == (rule != "none")


TINY, SMALL_, BASE, LARGE = (
    {"embed_dim": dim, "depths": (2, 2, depth, 2), "num_heads": (heads, 2 * heads, 4 * heads, 8 * heads)}
    for dim, depth, heads in ((96, 6, 3), (96, 18, 3), (128, 18, 4), (192, 18, 6))
)
CLASSES_22K = {"num_classes": 21841}
AT_384 = {"img_size": 384, "window_size": 12}


@pytest.mark.parametrize(
    ("sizes", "parameters", "giga_flops"),
    [
        (TINY, 28_288_354, 4.494),
        (SMALL_, 49_606_258, 8.747),
        (BASE, 87_768_224, 15.438),
        (TINY | {"num_heads": (4, 8, 16, 32), "img_size": 256, "window_size": 8}, 28_306_432, 5.926),
        (TINY | CLASSES_22K, 44_320_000, 4.510),
        (SMALL_ | CLASSES_22K, 65_630_000, 8.763),
        (BASE | CLASSES_22K, 109_130_000, 15.460),
        (LARGE | CLASSES_22K, 228_570_000, 34.519),
        (LARGE, 196_532_476, 34.487),
        (BASE | AT_384, 87_903_584, 47.105),
        (LARGE | AT_384, 196_735_516, 103.952),
    ],
)
def test_parameters_and_flops_are_the_reference_s(sizes: dict, parameters: int, giga_flops: float) -> None:
    with torch.device("meta"):
        model = SwinTransformer(**sizes)

    # Known to the last one, or to 0.01 million.
    assert num_parameters(model) == pytest.approx(parameters, abs=0 if parameters % 10_000 else 5_000)
    assert flops(model) / 1e9 == pytest.approx(giga_flops, abs=1e-3)  # printed with three decimals
