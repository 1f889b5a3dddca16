import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.datasets import load_sample_image
from torch import Tensor
from torchvision.transforms import RandomCrop

from swin_train.config import load_config
from swin_train.data.pipelines.exact import ExactTrain, Normalize
from swin_train.data.pipelines.pipeline import Pipeline, Place
from swin_train.data.pipelines.timm_chain import TimmTrain, build_timm_train
from swin_train.data.recipe.build import build_recipe

_PICTURE = np.ascontiguousarray(load_sample_image("flower.jpg")[100:180, 200:300])


def timm(*overrides: object) -> TimmTrain:
    return build_timm_train(load_config(None, ("DATA.IMG_SIZE", 40, *overrides)))


def exact(*overrides: object) -> ExactTrain:
    cfg = load_config(None, ("DATA.IMG_SIZE", 40, *overrides))
    normalize = Normalize(cfg.DATA.MEAN, cfg.DATA.STD)
    return ExactTrain(build_recipe(cfg), normalize, (124, 116, 104), cfg.AUG.REMODE)


def statistics(pipeline: Pipeline, measure: Callable[[Tensor], Tensor]) -> NDArray[np.float64]:
    return np.array([float(measure(pipeline.show(_PICTURE, Place(0, 0, i)).pixels)) for i in range(700)])


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("brightness", lambda pixels: pixels.mean()),
        ("contrast", lambda pixels: pixels.std()),
        ("sharpness", lambda pixels: pixels.diff(dim=2).abs().median()),
        ("left against right", lambda pixels: pixels[..., :20].mean() - pixels[..., 20:].mean()),
        ("colour", lambda pixels: (pixels[0] - pixels[2]).mean()),
        ("noise", lambda pixels: pixels.diff(dim=1).abs().max()),
    ],
)
@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("AUG.AUTO_AUGMENT", "none", "AUG.REPROB", 0.6, "AUG.RECOUNT", 2),
        ("AUG.AUTO_AUGMENT", "originalr-mstd0.5"),
        ("AUG.AUTO_AUGMENT", "v0"),
        ("AUG.AUTO_AUGMENT", "3a"),
    ],
)
def test_exact_follows_the_law_of_timms_chain(
    name: str, measure: Callable[[Tensor], Tensor], changes: tuple[object, ...]
) -> None:
    ours, theirs = statistics(exact(*changes), measure), statistics(timm(*changes), measure)

    assert stats.ks_2samp(ours, theirs, method="asymp").pvalue > 1e-4  # a right law fails once in 10^4 seeds


def test_an_image_is_a_pure_function_of_its_place() -> None:
    pipeline = timm()

    first = pipeline.show(_PICTURE, Place(0, 3, 7)).pixels

    assert torch.equal(pipeline.show(_PICTURE, Place(0, 3, 7)).pixels, first)
    for other in (Place(1, 3, 7), Place(0, 4, 7), Place(0, 3, 8), Place(0, 3, 7, 1)):
        assert not torch.equal(pipeline.show(_PICTURE, other).pixels, first)


def test_the_global_generators_are_given_back_as_they_were() -> None:
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    timm().show(_PICTURE, Place(0, 0, 0))

    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("policy", ["rand-m10-n1-p1-inc1", "v0"])
def test_posterize_that_keeps_no_bits_is_black_not_an_error(policy: str) -> None:
    pipeline = timm("AUG.AUTO_AUGMENT", policy, "AUG.REPROB", 0.0)

    views = [pipeline.show(_PICTURE, Place(0, 0, image)).pixels for image in range(60)]

    black = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert any(bool((view == -black._mean / black._std).all()) for view in views)


@pytest.mark.parametrize(("changes", "is_shifted"), [((), True), (("DATA.IMG_SIZE", 64), False)])
def test_small_images_are_shifted_as_in_the_reference(changes: tuple[object, ...], is_shifted: bool) -> None:
    transform = timm("DATA.IMG_SIZE", 32, *changes).transform

    assert isinstance(transform.transforms[0], RandomCrop) is is_shifted  # type: ignore[attr-defined]


def test_a_resized_crop_may_be_asked_for_at_a_small_size() -> None:
    transform = timm("DATA.IMG_SIZE", 32, "AUG.CROP", "resized").transform

    assert not isinstance(transform.transforms[0], RandomCrop)  # type: ignore[attr-defined]
