import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from timm.data import auto_augment as timm_augment
from timm.data import create_transform
from torchvision.transforms import ColorJitter as TorchvisionJitter

from swin_train.data.pipelines import exact
from swin_train.data.recipe.color_jitter import ColorJitter
from swin_train.data.recipe.three_augment import ThreeAugment
from swin_train.data.recipe.view import Op

_RARE = 1e-4  # a right law fails a test on a fixed generator once in 10^4 seeds


def test_pixels_equal_timms_for_the_same_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 26, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    monkeypatch.setattr(timm_augment.random, "uniform", lambda low, high: low + 0.7 * (high - low))

    theirs = [steps[0](image) for steps in timm_augment.auto_augment_policy("3a")]

    ours = [Op("Solarize", 128.0), Op("Grey"), Op("Blur", 0.1 + 0.7 * 1.9)]
    for op, expected in zip(ours, theirs, strict=True):
        assert exact.apply(image, op, ()).tobytes() == expected.tobytes(), op


def test_one_of_three_is_drawn_equally_often_and_the_blurs_radius_is_uniform() -> None:
    augment, rng = ThreeAugment(None), random.Random(0)

    drawn = [augment.draw(rng) for _ in range(6000)]

    assert {len(ops) for ops in drawn} == {1}
    counts = Counter(ops[0].name for ops in drawn)
    assert counts.keys() == {"Solarize", "Grey", "Blur"}
    assert stats.chisquare(list(counts.values())).pvalue > _RARE
    radii = [ops[0].argument for ops in drawn if ops[0].name == "Blur"]
    assert stats.kstest(radii, stats.uniform(0.1, 1.9).cdf).pvalue > _RARE
    assert {ops[0].argument for ops in drawn if ops[0].name == "Solarize"} == {128.0}


def test_colour_jitter_follows_as_in_timm() -> None:
    names = {op.name for op in ThreeAugment(ColorJitter(0.3)).draw(random.Random(0))[1:]}
    chain = create_transform(32, is_training=True, auto_augment="3a", color_jitter=0.3).transforms

    steps = [type(step) for step in chain]
    assert names == {"Brightness", "Contrast", "Color"}
    assert steps.index(TorchvisionJitter) == steps.index(timm_augment.AutoAugment) + 1
