"""The arithmetic of ``costs`` against models that are built and run on the meta device."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from swin_train.config import Config
from swin_train.models.build import MODELS, build_model
from swin_train.models.costs import model_parameters, products
from swin_train.models.describe import num_parameters
from swin_train.models.freeze import freeze
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.outline import FAMILIES, Outline, outline

SIZES = [(40, 40), (34, 50), (8, 40), (65, 33)]  # in whole windows; padded; one window high; odd maps
GREY = {"SECTION.IN_CHANS": 1, "DATA.MEAN": [0.5], "DATA.STD": [0.5]}


def build(cfg: Config) -> tuple[HierarchicalModel, Outline]:
    with torch.device("meta"):
        return build_model(cfg).eval(), outline(cfg, cfg.MODEL.NUM_CLASSES)


def test_every_family_that_is_built_can_be_described() -> None:
    assert tuple(MODELS) == FAMILIES


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_flops_and_activations_are_those_of_the_products_that_run(
    family: str, size: tuple[int, int], configure: Callable
) -> None:
    model, described = build(configure(family, size))
    images = torch.empty(1, 3, *size, device="meta")

    def elements(*args: Any, out_shape: Any = None, **kwargs: Any) -> int:
        return math.prod(out_shape)

    flops = FlopCounterMode(display=False)
    activations = FlopCounterMode(display=False, custom_mapping=dict.fromkeys(flop_registry, elements))
    with torch.no_grad(), flops, activations:
        model(images)

    found = list(products(described))
    assert sum(2 * product.multiply_adds for product in found) == flops.get_total_flops()
    assert sum(product.outputs for product in found) == activations.get_total_flops()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("family", "changes"),
    [
        *((family, {}) for family in FAMILIES),
        *((family, {"SECTION.APE": True, "SECTION.MLP_RATIO": 2.7}) for family in FAMILIES),
        *((family, {"SECTION.PATCH_NORM": False, **GREY}) for family in FAMILIES),
        ("swin", {"SECTION.QKV_BIAS": False}),
        ("swinv2", {"SECTION.QKV_BIAS": False}),
    ],
    ids=str,
)
def test_parameters_are_the_model_s(
    family: str, changes: dict[str, Any], size: tuple[int, int], configure: Callable
) -> None:
    model, described = build(configure(family, size, **changes))

    assert model_parameters(described) == num_parameters(model)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_outline_is_the_model_s(family: str, size: tuple[int, int], configure: Callable) -> None:
    model, described = build(configure(family, size))

    for stage, expected in zip(described.stages, model.layers, strict=True):
        place = expected.blocks[0].place
        assert (stage.map, stage.channels) == (expected.resolution, expected.dim)
        assert (stage.heads, stage.depth) == (place.num_heads, len(expected.blocks))
        assert (stage.window, stage.shifts) == (expected.window, [b.place.shift for b in expected.blocks])
    merged = [stage.map for stage in described.stages[1:]]
    assert [stage.merged for stage in described.stages] == [*merged, None]


@pytest.mark.parametrize(
    ("rule", "num_frozen_stages"), [("none", 0), ("stages 1", 1), ("stages 2", 2), ("all_but_head", 3)]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_frozen_is_not_counted(
    family: str, rule: str, num_frozen_stages: int, configure: Callable
) -> None:
    model, described = build(configure(family, SECTION__APE=True))

    freeze(model, rule)

    assert model_parameters(described, num_frozen_stages) == num_parameters(model, trainable_only=True)


def test_a_headless_model_has_no_product_at_its_end(configure: Callable) -> None:
    cfg = configure("swin")

    assert model_parameters(outline(cfg, 0)) == model_parameters(outline(cfg, 10)) - (48 + 1) * 10
    assert list(products(outline(cfg, 0)))[-1].outputs == 0
