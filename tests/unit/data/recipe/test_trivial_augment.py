import random
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import TrivialAugmentWide, _apply_op

from swin_train.data.pipelines import exact
from swin_train.data.recipe.trivial_augment import NAMES, NUM_BINS, RANGES, TrivialAugment
from swin_train.data.recipe.view import FILTERS

_FILL = (124, 116, 104)
_TORCHVISIONS = TrivialAugmentWide()._augmentation_space(NUM_BINS)
_RARE = 1e-4  # a right law fails a test on a fixed generator once in 10^4 seeds


class ConstantRng(random.Random):
    def __init__(self, value: float) -> None:
        super().__init__(0)
        self.value = value

    def random(self) -> float:
        return self.value


def test_the_operations_are_torchvisions() -> None:
    assert list(NAMES) == list(_TORCHVISIONS)
    for name, span in RANGES.items():
        magnitudes, is_signed = _TORCHVISIONS[name]
        assert (span is not None) == (magnitudes.ndim > 0)
        assert span is None or span.is_signed == is_signed


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_equal_torchvisions_for_the_same_bin_and_sign(name: str, negative: bool, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 38, 3), dtype=np.uint8)
    image, fill = Image.fromarray(pixels).convert(mode), _FILL if mode == "RGB" else _FILL[:1]
    magnitudes, is_signed = _TORCHVISIONS[name]
    augment = TrivialAugment(FILTERS["bilinear"])

    for place, magnitude in enumerate(torch.atleast_1d(magnitudes).double().tolist()):
        signed = -magnitude if is_signed and negative else magnitude
        theirs = _apply_op(image, name, signed, InterpolationMode.BILINEAR, list(fill))

        op = augment.draw_op(name, place, ConstantRng(0.1 if negative else 0.9))
        ours = exact.apply(image, op, fill)

        # its shears go through an angle
        differences = np.abs(np.array(ours).astype(int) - np.array(theirs))
        assert differences.max() <= 1, (place, signed)
        assert (differences > 0).mean() < 0.002, (place, signed)


def test_operations_magnitudes_and_signs_are_drawn_equally_often() -> None:
    augment, rng = TrivialAugment(FILTERS["bilinear"]), random.Random(0)

    drawn = [augment.draw(rng) for _ in range(28_000)]

    names = Counter(ops[0].name if ops else "Identity" for ops in drawn)
    assert {len(ops) for ops in drawn} == {0, 1}
    assert stats.chisquare([names[name] for name in NAMES]).pvalue > _RARE
    angles = Counter(ops[0].argument for ops in drawn if ops and ops[0].name == "Rotate")
    assert len(angles) == 2 * NUM_BINS - 1
    angles[0.0] = angles.pop(0.0) // 2  # of both signs
    assert stats.chisquare(list(angles.values())).pvalue > _RARE
    bits = Counter(ops[0].argument for ops in drawn if ops and ops[0].name == "Posterize")
    expected = Counter(_TORCHVISIONS["Posterize"][0].tolist())
    share = names["Posterize"] / NUM_BINS
    assert all(abs(bits[b] - count * share) < 4 * (count * share) ** 0.5 for b, count in expected.items())
