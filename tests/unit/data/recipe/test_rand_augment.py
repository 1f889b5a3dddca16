import itertools
import math
import random

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from timm.data import auto_augment as timm_augment

from swin_train.data.pipelines import exact
from swin_train.data.recipe import rand_augment
from swin_train.data.recipe.rand_augment import LAWS, Policy, RandAugment, parse_policy
from swin_train.data.recipe.view import FILTERS
from swin_train.errors import UserError

_FILL = (124, 116, 104)
_BICUBIC = FILTERS["bicubic"]
_TIMMS_INCREASING = dict(
    zip(timm_augment._RAND_TRANSFORMS, timm_augment._RAND_INCREASING_TRANSFORMS, strict=True)
)


def picture(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


class ConstantRng(random.Random):
    def __init__(self, value: float) -> None:
        super().__init__(0)
        self.value = value

    def random(self) -> float:
        return self.value


def test_the_operations_are_timms() -> None:
    assert list(LAWS) == timm_augment._RAND_TRANSFORMS


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("rand-m9-mstd0.5-inc1", Policy(magnitude=9, magnitude_std=0.5, increasing=True)),
        ("rand", Policy()),
        (
            "rand-n3-p0.8-mmax12-inc0-m11",
            Policy(magnitude=11, num_layers=3, probability=0.8, magnitude_max=12),
        ),
        ("rand-m5-mstd101", Policy(magnitude=5, magnitude_std=math.inf)),
    ],
)
def test_policy_strings(text: str, policy: Policy) -> None:
    assert parse_policy(text) == policy


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("augmix-m3", "augmix-m3"),
        ("original", "original"),
        ("", ""),
        ("rand-w0", "w0"),
        ("rand-tweights", "tweights"),
        ("rand-m9.5", "m9.5"),
        ("rand-m", "m"),
        ("rand-m9-m8", "m8"),
        ("rand-p2", "rand-p2"),
        ("rand-m9-", ""),
    ],
)
def test_other_policies_are_refused_with_the_part_and_what_is_known(text: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_policy(text)

    assert f"AUG.AUTO_AUGMENT is {text!r}: {part!r} is not supported. Known: none; rand" in str(caught.value)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_equal_timms_for_the_same_magnitude_and_sign(
    name: str, increasing: bool, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = _FILL if mode == "RGB" else _FILL[:1]
    ours = RandAugment(Policy(increasing=increasing), _BICUBIC)
    timms_name = _TIMMS_INCREASING[name] if increasing else name
    hparams = {"img_mean": fill if mode == "RGB" else fill[0], "interpolation": Image.Resampling.BICUBIC}

    for magnitude, negative in itertools.product([0.0, 0.4, 3.3, 7.5, 9.9, 10.0], [False, True]):
        if name == "Posterize" and timm_augment.LEVEL_TO_ARG[timms_name](magnitude, {}) == (0,):
            continue  # timm crashes there with Pillow 13
        monkeypatch.setattr(timm_augment.random, "random", lambda negative=negative: 0.9 if negative else 0.1)
        theirs = timm_augment.AugmentOp(timms_name, 1.0, magnitude, hparams)(picture(mode))

        op = ours.draw_op(name, magnitude / 10, ConstantRng(0.1 if negative else 0.9))
        image = exact.apply(picture(mode), op, fill)

        assert image.mode == mode
        assert image.tobytes() == theirs.tobytes(), (magnitude, negative)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_posterize_that_keeps_no_bits_is_black(mode: str) -> None:
    augment = RandAugment(Policy(increasing=True), _BICUBIC)

    image = exact.apply(picture(mode), augment.draw_op("Posterize", 1.0, random.Random(0)), _FILL)

    assert image.mode == mode
    assert image.size == picture().size
    assert not np.array(image).any()


def test_operations_are_drawn_with_replacement_and_equally_often() -> None:
    augment, rng = RandAugment(Policy(probability=1.0), _BICUBIC), random.Random(0)

    drawn = [op.name for _ in range(7500) for op in augment.draw(rng)]

    counts = np.array([drawn.count(name) for name in LAWS])
    twice = sum(first == second for first, second in zip(drawn[::2], drawn[1::2], strict=True))
    assert stats.chisquare(counts).pvalue > 1e-4  # a right law fails once in 10^4 seeds
    assert 420 < twice < 580  # 7500 / 15 = 500, 3.7 standard deviations


def test_each_operation_is_applied_with_its_probability() -> None:
    augment, rng = RandAugment(parse_policy("rand-n2-p0.3"), _BICUBIC), random.Random(0)

    applied = [op for _ in range(5000) for op in augment.draw(rng)]

    assert 2817 < len(applied) < 3183  # 3000 expected, 4 standard deviations


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("rand-m9-mstd0.5", stats.norm(0.9, 0.05)),
        ("rand-m5-mstd101", stats.uniform(0, 0.5)),
        ("rand-m20-mmax30-mstd1", stats.norm(2.0, 0.1)),
    ],
)
def test_the_level_follows_its_law_up_to_the_cut(text: str, law: object) -> None:
    augment, rng = RandAugment(parse_policy(text), _BICUBIC), random.Random(0)
    cut = augment.policy.magnitude_max / 10

    levels = np.array([augment._draw_level(rng) for _ in range(4000)])

    below = levels[levels < cut]
    assert levels.max() <= cut
    assert stats.kstest(below, lambda x: law.cdf(x) / law.cdf(cut)).pvalue > 1e-4  # type: ignore[attr-defined]
    assert abs((levels == cut).mean() - (1 - law.cdf(cut))) < 0.01  # type: ignore[attr-defined]  # 4 deviations


def test_without_deviation_the_level_is_the_magnitude() -> None:
    assert RandAugment(Policy(magnitude=7), _BICUBIC)._draw_level(random.Random(0)) == 0.7


def test_signs_are_drawn_equally_often() -> None:
    rng = random.Random(0)

    negative = sum(rand_augment._signed(1.0, rng) < 0 for _ in range(10_000))

    assert 4800 < negative < 5200  # 4 standard deviations
