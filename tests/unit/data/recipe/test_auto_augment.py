import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from timm.data import auto_augment as timm_augment

from swin_train.data.pipelines import exact
from swin_train.data.recipe.auto_augment import POLICIES, AutoAugment, Step, parse_auto_augment
from swin_train.data.recipe.view import FILTERS
from swin_train.errors import UserError

_FILL = (124, 116, 104)
_BICUBIC = FILTERS["bicubic"]
_RARE = 1e-4  # a right law fails a test on a fixed generator once in 10^4 seeds


def timms_policy(name: str, **hparams: object) -> list[list[timm_augment.AugmentOp]]:
    return timm_augment.auto_augment_policy(
        name, {"img_mean": _FILL, "interpolation": Image.Resampling.BICUBIC, **hparams}
    )


def plain_name(name: str) -> str:
    return name.removesuffix("Original").removesuffix("Increasing")


class ConstantRng(random.Random):
    def __init__(self, value: float) -> None:
        super().__init__(0)
        self.value = value

    def random(self) -> float:
        return self.value


@pytest.mark.parametrize("name", POLICIES)
def test_the_policies_are_timms(name: str) -> None:
    theirs = [
        tuple(Step(plain_name(op.name), op.prob, op.magnitude) for op in steps)
        for steps in timms_policy(name)
    ]

    assert list(POLICIES[name]) == theirs


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("negative", [False, True])
def test_pixels_equal_timms_for_the_same_magnitude_and_sign(
    name: str, negative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    augment = parse_auto_augment(name, _BICUBIC)
    monkeypatch.setattr(timm_augment.random, "random", lambda: 0.9 if negative else 0.1)

    for steps in timms_policy(name):
        for theirs in steps:
            step = Step(plain_name(theirs.name), theirs.prob, theirs.magnitude)
            op = augment.draw_op(step, ConstantRng(0.1 if negative else 0.9))
            theirs.prob = 1.0
            if step.name == "Posterize" and op.argument == 0:
                assert not np.array(exact.apply(image, op, _FILL)).any()  # timm crashes there with Pillow 13
                continue
            assert exact.apply(image, op, _FILL).tobytes() == theirs(image).tobytes(), step


def test_sub_policies_are_drawn_equally_often_and_steps_with_their_probability() -> None:
    augment, rng = parse_auto_augment("v0", _BICUBIC), random.Random(0)

    drawn = Counter(op.name for _ in range(20_000) for op in augment.draw(rng))

    expected: Counter[str] = Counter()
    for step in (step for steps in POLICIES["v0"] for step in steps):
        expected[step.name] += step.probability * 20_000 / len(POLICIES["v0"])
    for name, count in expected.items():
        assert abs(drawn[name] - count) < 4 * count**0.5, name
    assert drawn.keys() == expected.keys()


def test_the_magnitude_varies_by_its_deviation_and_is_cut_off() -> None:
    augment, rng = parse_auto_augment("original-mstd1.5", _BICUBIC), random.Random(0)
    step, law = Step("Rotate", 1.0, 8), stats.norm(24.0, 4.5)

    angles = np.array([abs(augment.draw_op(step, rng).argument or 0.0) for _ in range(4000)])

    below = angles[angles < 30]
    assert angles.max() == 30
    assert stats.kstest(below, lambda x: law.cdf(x) / law.cdf(30)).pvalue > _RARE
    assert abs((angles == 30).mean() - (1 - law.cdf(30))) < 0.02  # 4 deviations


def test_signs_and_filters_are_drawn_equally_often() -> None:
    augment, rng = AutoAugment("v0", 0.0, FILTERS["random"]), random.Random(0)

    ops = [augment.draw_op(Step("ShearX", 1.0, 9), rng) for _ in range(4000)]

    counts = Counter((op.argument, op.resample) for op in ops)
    assert {argument for argument, _ in counts} == {0.27, -0.27}
    assert stats.chisquare(list(counts.values())).pvalue > _RARE
    assert len(counts) == 4


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("v1", "v1"),
        ("v0-m9", "m9"),
        ("v0-mstd", "mstd"),
        ("v0-mstd1-mstd1", "mstd1"),
        ("original-", ""),
    ],
)
def test_other_policies_are_refused(text: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_auto_augment(text, _BICUBIC)

    assert f"AUG.AUTO_AUGMENT is {text!r}: {part!r} is not supported" in str(caught.value)
    for known in ("none", "rand", "original", "originalr", "v0", "v0r", "ta_wide", "3a"):
        assert known in str(caught.value)
