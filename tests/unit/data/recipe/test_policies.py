"""Every policy of the configuration, through both kinds of operations."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from swin_train.config import load_config
from swin_train.data.pipelines import exact
from swin_train.data.plan import plan_operations
from swin_train.data.recipe.auto_augment import AutoAugment
from swin_train.data.recipe.build import build_recipe
from swin_train.data.recipe.three_augment import ThreeAugment
from swin_train.data.recipe.trivial_augment import TrivialAugment
from swin_train.data.recipe.view import View
from swin_train.kernels.augment import operate

_FILL = (124, 116, 104)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("original", AutoAugment),
        ("v0r-mstd0.5", AutoAugment),
        ("ta_wide", TrivialAugment),
        ("3a", ThreeAugment),
    ],
)
def test_batched_operations_equal_pillows(text: str, kind: type) -> None:
    policy = build_recipe(load_config(None, ["AUG.AUTO_AUGMENT", text])).policy
    assert isinstance(policy, kind)
    rng, pixels = random.Random(0), np.random.default_rng(0).integers(0, 256, (60, 14, 12, 3), dtype=np.uint8)
    views = [View(None, ops=tuple(policy.draw(rng))) for _ in pixels]  # type: ignore[arg-type]

    planned = plan_operations(views, (14, 12), _FILL)
    batched = operate(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), planned)

    for image, view, result in zip(pixels, views, batched, strict=True):
        expected = Image.fromarray(image)
        for op in view.ops:
            expected = exact.apply(expected, op, _FILL)
        assert np.array_equal(result.permute(1, 2, 0).numpy(), np.array(expected)), view.ops


def test_3_augment_keeps_the_colour_jitter_which_the_others_replace() -> None:
    three = build_recipe(load_config(None, ["AUG.AUTO_AUGMENT", "3a", "AUG.COLOR_JITTER", 0.0])).policy

    assert three == ThreeAugment(None)
