"""How a picture is shown to a model in evaluation: as torchvision and timm do it."""

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torchvision import transforms

from swin_train.data.decode import as_pixels
from swin_train.data.pipelines.exact import ExactEval, Normalize
from swin_train.data.pipelines.pipeline import Place
from swin_train.data.recipe.crop import is_small
from swin_train.data.recipe.evaluation import EvalRecipe
from swin_train.data.recipe.limits import Size, TooElongated
from swin_train.data.recipe.view import FILTERS

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BICUBIC = FILTERS["bicubic"]


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def normalized(image: Image.Image) -> torch.Tensor:
    return transforms.Normalize(_MEAN, _STD)(transforms.ToTensor()(image))


def evaluated(size: Size, crop: bool, image: Image.Image) -> torch.Tensor:
    pipeline = ExactEval(EvalRecipe(size, crop, _BICUBIC[0]), Normalize(_MEAN, _STD))
    return pipeline.show(as_pixels(image), Place(0, 0, 0)).pixels


@pytest.mark.parametrize("shape", [(500, 333), (333, 500), (100, 30), (224, 224), (256, 300)])
@pytest.mark.parametrize("size", [56, 192, 224, 384])
def test_evaluation_with_crop_equals_torchvision(shape: tuple[int, int], size: int) -> None:
    image = picture(*shape)
    theirs = transforms.Compose(
        [
            transforms.Resize(int((256 / 224) * size), transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
        ]
    )

    assert torch.equal(evaluated((size, size), True, image), normalized(theirs(image)))


# photographs, slivers, one as large as the input, and one that covers 256/224 of an input already
@pytest.mark.parametrize(
    "shape", [(500, 333), (333, 500), (100, 30), (31, 97), (320, 256), (365, 292), (1, 1)]
)
@pytest.mark.parametrize("size", [(256, 320), (320, 256), (56, 200), (33, 32), (223, 224)])
def test_evaluation_of_a_rectangle_with_crop_equals_timm(shape: tuple[int, int], size: Size) -> None:
    image = picture(*shape)
    theirs = create_transform((3, *size), crop_pct=224 / 256, interpolation="bicubic", mean=_MEAN, std=_STD)

    assert torch.equal(evaluated(size, True, image), theirs(image))


@pytest.mark.parametrize(
    ("size", "crop"),
    [((64, 64), False), ((32, 32), True), ((16, 16), False), ((64, 96), False), ((16, 32), True)],
)
def test_evaluation_squashes_without_crop_and_at_a_small_size(size: Size, crop: bool) -> None:
    image = picture(50, 40)
    theirs = transforms.Resize(size, transforms.InterpolationMode.BICUBIC)

    assert torch.equal(evaluated(size, crop, image), normalized(theirs(image)))


@pytest.mark.parametrize(
    ("size", "small"),
    [((32, 32), True), ((33, 33), False), ((16, 32), True), ((33, 8), False), ((8, 33), False)],
)
def test_a_size_is_small_up_to_32_pixels_on_its_longer_side(size: Size, small: bool) -> None:
    assert is_small(size) is small


@pytest.mark.parametrize(
    ("shape", "size", "crop", "resized_to"),
    [
        ((1, 4000), (224, 224), True, "256"),  # would become 256 x 1024000
        ((4000, 1), (224, 224), True, "256"),
        ((1, 4000), (224, 280), True, "320 x 256"),
        ((1, 2_000_000), (224, 224), False, "224"),  # 224 x 224, but 224 x 2000000 on the way
        ((2_000_000, 1), (224, 224), False, "224"),
        ((2_000_000, 1), (224, 280), False, "280 x 224"),
        ((1, 2_000_000), (32, 32), True, "32"),
    ],
)
def test_a_picture_too_elongated_for_the_memory_is_refused(
    shape: tuple[int, int], size: Size, crop: bool, resized_to: str
) -> None:
    with pytest.raises(
        TooElongated,
        match=f"^is {shape[0]} x {shape[1]} pixels, too elongated to be resized to {resized_to}$",
    ):
        evaluated(size, crop, Image.new("RGB", shape))


def test_elongated_pictures_within_the_limit_are_evaluated() -> None:
    assert evaluated((224, 224), True, Image.new("RGB", (20, 12_000))).shape == (3, 224, 224)


@pytest.mark.parametrize(("size", "shape"), [((6208, 6208), (64, 64)), ((1024, 51_200), (200, 4))])
def test_a_large_input_does_not_make_an_ordinary_picture_elongated(
    size: Size, shape: tuple[int, int]
) -> None:
    view = EvalRecipe(size, True, FILTERS["bilinear"][0]).view(*shape)

    assert view.sides == (size[1] * 256 // 224, size[0] * 256 // 224)
