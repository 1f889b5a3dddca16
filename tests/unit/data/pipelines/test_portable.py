import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

from swin_train.config import load_config
from swin_train.data.decode import as_image, as_pixels
from swin_train.data.pipelines import exact
from swin_train.data.pipelines.exact import ExactEval, ExactTrain, Normalize
from swin_train.data.pipelines.pipeline import Place
from swin_train.data.pipelines.portable import PortableEval, PortableTrain
from swin_train.data.recipe.build import build_eval_recipe, build_recipe
from swin_train.kernels.augment import Normalisation

_FILL = (124, 116, 104)
_PICTURES = [load_sample_image(name).copy() for name in ("china.jpg", "flower.jpg")]


def psnr(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> float:
    error = np.mean((ours.astype(float) - theirs.astype(float)) ** 2)
    return 200.0 if error == 0 else 10 * np.log10(255**2 / error)


@pytest.mark.parametrize("overrides", [(), ("DATA.IMG_SIZE", (96, 160)), ("DATA.INTERPOLATION", "bilinear")])
def test_crops_are_those_of_exact_but_for_the_last_bit(overrides: tuple[object, ...]) -> None:
    recipe = build_recipe(load_config(None, overrides))
    portable = PortableTrain(recipe, _FILL, "pixel", None)
    values = []
    for image in range(20):
        pixels = _PICTURES[image % 2]

        shown = portable.show(pixels, Place(0, 0, image))

        assert shown.view is not None
        theirs = as_pixels(exact.crop(as_image(pixels), shown.view.crop, recipe.size))
        values.append(psnr(shown.pixels.permute(1, 2, 0).numpy(), theirs))

    assert np.median(values) >= 70
    assert min(values) >= 48


# the noise of erasing is computed by another library's logarithm and cosine
@pytest.mark.parametrize(("erasing", "tolerance"), [(0.0, 0.0), (1.0, 1e-5)])
@pytest.mark.parametrize("size", [32, 40])
def test_everything_behind_the_crop_is_bit_for_bit_that_of_exact(
    size: int, erasing: float, tolerance: float
) -> None:
    overrides = ("DATA.IMG_SIZE", size, "AUG.REPROB", erasing, "AUG.CROP", "shift")
    recipe = build_recipe(load_config(None, overrides))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    normalisation = Normalisation(torch.tensor(mean), torch.tensor(std))
    pixels = np.ascontiguousarray(_PICTURES[0][:size, :size])  # of the size of the input: nothing is resized
    places = [Place(0, 0, image) for image in range(64)]
    portable = PortableTrain(recipe, _FILL, "pixel", normalisation)
    reference = ExactTrain(recipe, Normalize(mean, std), _FILL)

    ours, plan = portable.collate([portable.show(pixels, place) for place in places])

    assert plan is None
    theirs, _ = reference.collate([reference.show(pixels, place) for place in places])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def test_what_is_left_to_the_device_is_told_by_a_plan() -> None:
    recipe = build_recipe(load_config(None, ("DATA.IMG_SIZE", 40)))
    portable = PortableTrain(recipe, _FILL, "pixel", None)

    images, plan = portable.collate([portable.show(_PICTURES[0], Place(0, 0, image)) for image in range(8)])

    assert images.dtype == torch.uint8
    assert images.shape == (8, 3, 40, 40)
    assert plan is not None
    assert plan.operations is not None
    assert plan.operations.codes.shape[1] == 8


@pytest.mark.parametrize("overrides", [(), ("TEST.CROP", False), ("DATA.IMG_SIZE", (96, 160))])
def test_evaluation_shows_what_exact_shows(overrides: tuple[object, ...]) -> None:
    cfg = load_config(None, overrides)
    portable = PortableEval(build_eval_recipe(cfg), None)
    reference = ExactEval(build_eval_recipe(cfg), Normalize((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)))
    for pixels in _PICTURES:
        ours = portable.show(pixels, Place(0, 0, 0)).pixels

        theirs = reference.show(pixels, Place(0, 0, 0)).pixels.round().to(torch.uint8)

        assert psnr(ours.numpy(), theirs.numpy()) >= 55


def test_one_channel() -> None:
    cfg = load_config(
        None, ("DATA.IMG_SIZE", 40, "DATA.MEAN", (0.5,), "DATA.STD", (0.5,), "MODEL.SWIN.IN_CHANS", 1)
    )
    normalisation = Normalisation(torch.tensor([0.5]), torch.tensor([0.5]))
    portable = PortableTrain(build_recipe(cfg), (128,), "pixel", normalisation)
    grey = as_pixels(Image.fromarray(_PICTURES[0]).convert("L"))

    images, _ = portable.collate([portable.show(grey, Place(0, 0, image)) for image in range(16)])

    assert images.shape == (16, 1, 40, 40)
    assert torch.isfinite(images).all()
