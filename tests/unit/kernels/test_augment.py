"""Augmentation in tensors against Pillow, timm and the laws of the data path."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from timm.data import auto_augment as timm_augment
from torchvision.transforms import functional as torchvision_functional

from swin_train.data import draws
from swin_train.kernels.augment import Erasures, MixPlan, Normalisation, OpCode, finish, mix_images, operate

FILL = (124, 116, 104)
NORMALISATION = Normalisation(torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225]))
FILTERS = {True: Image.Resampling.BICUBIC, False: Image.Resampling.BILINEAR}
ENHANCERS = [(code, factor) for code in (7, 8, 9, 10) for factor in (0.0, 0.1, 0.37, 1.0, 1.234, 1.9)]
CASES = [
    *[(OpCode.IDENTITY, 0), (OpCode.AUTO_CONTRAST, 0), (OpCode.EQUALIZE, 0), (OpCode.INVERT, 0)],
    *[(OpCode.POSTERIZE, bits) for bits in (-1, 0, 1, 3, 4, 8)],
    *[(OpCode.SOLARIZE, threshold) for threshold in (0, 1, 26, 128, 255, 256)],
    *[(OpCode.SOLARIZE_ADD, addend) for addend in (0, 1, 99, 110)],
    *[(OpCode(code), factor) for code, factor in ENHANCERS],
    (OpCode.GREY, 0),
    *[(OpCode.BLUR, radius) for radius in (0, 0.1, 0.5, 1.0, 1.37, 2.0, 5.5, 30.0)],
]
MAPS = {
    "rotate": lambda image, **how: timm_augment.rotate(image, -26.5, **how),
    "rotate_back": lambda image, **how: timm_augment.rotate(image, 7.25, **how),
    "shear_x": lambda image, **how: timm_augment.shear_x(image, 0.27, **how),
    "shear_y": lambda image, **how: timm_augment.shear_y(image, -0.3, **how),
    "translate_x": lambda image, **how: timm_augment.translate_x_rel(image, -0.41, **how),
    "translate_y": lambda image, **how: timm_augment.translate_y_rel(image, 0.333, **how),
    "out_of_sight": lambda image, **how: timm_augment.translate_x_abs(image, 1e12, **how),
    "still": lambda image, **how: timm_augment.shear_x(image, 0.0, **how),
}


def by_pillow(image: Image.Image, code: OpCode, value: float) -> Image.Image:
    """What the operation is on a picture."""
    match code:
        case OpCode.IDENTITY:
            return image
        case OpCode.POSTERIZE if value <= 0:
            return Image.new(image.mode, image.size)
        case OpCode.AUTO_CONTRAST | OpCode.EQUALIZE | OpCode.INVERT:
            return getattr(timm_augment, code.name.lower())(image)
        case OpCode.POSTERIZE | OpCode.SOLARIZE | OpCode.SOLARIZE_ADD:
            return getattr(timm_augment, code.name.lower())(image, int(value))
        case OpCode.GREY:
            return image.convert("L").convert(image.mode)
        case OpCode.BLUR:
            return image.filter(ImageFilter.GaussianBlur(value))
        case _:
            return getattr(timm_augment, code.name.lower())(image, value)


def to_tensor(image: Image.Image) -> torch.Tensor:
    """[1, C, height, width] uint8."""
    pixels = torch.from_numpy(np.array(image))
    return pixels.view(image.height, image.width, -1).permute(2, 0, 1)[None].contiguous()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(("code", "value"), CASES)
def test_an_operation_gives_pillows_bits(pictures, make_operations, code, value, mode):
    for name, picture in pictures.items():
        picture = picture.convert(mode)
        expected = to_tensor(by_pillow(picture, code, value))

        found = operate(to_tensor(picture), make_operations([[code]], [[value]], fill=FILL[: len(mode)]))

        assert torch.equal(found, expected), name


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("bicubic", [True, False])
@pytest.mark.parametrize("name", MAPS)
def test_a_map_gives_pillows_bits(pictures, make_operations, monkeypatch, name, bicubic, mode):
    fill = FILL[: len(mode)]
    for picture in pictures.values():
        picture = picture.convert(mode)
        matrices = []
        real = Image.Image.transform

        def watched(image, size, method, data, *rest, real=real, matrices=matrices, **named):
            matrices.append(tuple(data))
            return real(image, size, method, data, *rest, **named)

        monkeypatch.setattr(Image.Image, "transform", watched)
        how = {"resample": FILTERS[bicubic], "fillcolor": fill if len(fill) > 1 else fill[0]}
        expected = MAPS[name](picture, **how)
        monkeypatch.undo()

        plan = make_operations([[OpCode.AFFINE]], matrices=[[matrices[0]]], bicubic=[[bicubic]], fill=fill)

        assert torch.equal(operate(to_tensor(picture), plan), to_tensor(expected))


def test_a_mirror_image_comes_first_and_the_layers_follow_in_their_order(pictures, make_operations):
    picture = pictures["flower"]
    codes = [[OpCode.AFFINE], [OpCode.SHARPNESS], [OpCode.EQUALIZE]]
    matrix = (1.0, 0.0, 9.5, 0.0, 1.0, 0.0)
    plan = make_operations(
        codes, [[0], [1.8], [0]], matrices=[[matrix]] * 3, bicubic=[[True]] * 3, flips=[True]
    )

    found = operate(to_tensor(picture), plan)

    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    moved = mirrored.transform(
        picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=FILL
    )
    expected = timm_augment.equalize(timm_augment.sharpness(moved, 1.8))
    assert torch.equal(found, to_tensor(expected))


def test_without_a_layer_images_are_mirrored_alone(make_operations):
    images = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2)

    found = operate(images, make_operations(np.zeros((0, 2)), flips=[False, True]))

    assert torch.equal(found, torch.stack([images[0], images[1].flip(-1)]))


def test_an_image_is_what_it_is_alone(random_operations):
    images = torch.randint(
        0, 256, (28, 3, 12, 17), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    before, plan = images.clone(), random_operations(28, 2, 12, 17)

    together = operate(images, plan)

    for row in range(len(images)):
        one = slice(row, row + 1)
        parts = {name: getattr(plan, name)[:, one] for name in ("codes", "values", "matrices", "bicubic")}
        alone = operate(images[one], dataclasses.replace(plan, flips=plan.flips[one], **parts))
        assert torch.equal(together[one], alone)
    assert torch.equal(images, before)


def test_codes_that_occur_are_known_on_the_host(random_operations):
    plan = random_operations(14, 1, 4, 4)

    assert plan.occurring == set(OpCode)
    assert plan.to("meta").occurring == set(OpCode)  # a device without values


def test_normalisation_is_that_of_torchvision(pictures):
    for picture in pictures.values():
        expected = torchvision_functional.normalize(
            torchvision_functional.to_tensor(picture), NORMALISATION.mean, NORMALISATION.std
        )

        assert torch.equal(finish(to_tensor(picture), NORMALISATION)[0], expected)


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_an_erasure_writes_its_noise_into_its_box(mode):
    images = torch.full((2, 3, 8, 9), 77, dtype=torch.uint8)
    plain = finish(images, NORMALISATION)
    boxes = torch.tensor([[[2, 1, 7, 6], [0, 0, 0, 0]], [[4, 3, 9, 8], [3, 3, 3, 5]]], dtype=torch.int32)
    keys = torch.tensor([[2**53 - 1, 1], [12345, 2]])

    found = finish(images, NORMALISATION, erasures=Erasures(boxes, keys, mode))

    expected = plain.clone()
    for key, (left, top, right, bottom) in zip(keys[:, 0].tolist(), boxes[:, 0].tolist(), strict=True):
        patch = expected[0, :, top:bottom, left:right]
        shape = {"const": (1, 1, 1), "rand": (3, 1, 1), "pixel": tuple(patch.shape)}[mode]
        noise = torch.from_numpy(draws.normal_noise(key, math.prod(shape))).view(shape)
        patch.copy_(noise * (mode != "const"))
    # a few units in the last place of a logarithm, a sine and a cosine
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    outside = torch.ones(8, 9, dtype=torch.bool)
    outside[1:6, 2:7] = outside[3:8, 4:9] = False
    assert torch.equal(found[0, :, outside], plain[0, :, outside])
    assert torch.equal(found[1], plain[1])


def random_batch(batch=4):
    return torch.randint(
        0, 256, (batch, 3, 6, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )


MIX = MixPlan(
    partners=torch.tensor([3, 2, 1, 0]),
    weights=torch.tensor([0.3, 1.0, 0.9, 0.123456789], dtype=torch.float64),
    boxes=torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [1, 4, 2, 7], [5, 5, 0, 7]], dtype=torch.int32),
)


def test_images_are_averaged_or_show_their_partner_in_a_box():
    images = finish(random_batch(), NORMALISATION)
    before = images.clone()

    found = mix_images(images, MIX)

    assert torch.equal(found[0], images[0] * 0.3 + images[3] * (1.0 - 0.3))
    assert torch.equal(found[1], images[1])
    cut = images[2].clone()
    cut[:, 1:4, 2:7] = images[1][:, 1:4, 2:7]
    assert torch.equal(found[2], cut)
    assert torch.equal(found[3], images[3] * 0.123456789 + images[0] * (1.0 - 0.123456789))
    assert torch.equal(images, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_partner_is_mixed_as_it_is_erased_and_rounded_last(dtype):
    images = random_batch()
    boxes = torch.tensor([[[1, 1, 4, 4], [0, 0, 0, 0], [0, 0, 0, 0], [2, 0, 6, 3]]], dtype=torch.int32)
    erasures = Erasures(boxes, torch.tensor([[1, 2, 3, 4]]), "pixel")

    found = finish(images, NORMALISATION, erasures=erasures, mix=MIX, dtype=dtype)

    assert torch.equal(found, mix_images(finish(images, NORMALISATION, erasures=erasures), MIX).to(dtype))


def test_images_of_another_kind_are_refused(make_operations):
    plan = make_operations([[0, 0]])
    message = (
        r"operate: images are torch.float32 \[2, 3, 4, 4\]; expected torch.uint8 \[B, 1 or 3, height, width\]"
    )

    with pytest.raises(ValueError, match=message):
        operate(torch.zeros(2, 3, 4, 4), plan)
    with pytest.raises(ValueError, match=r"finish: images are torch.uint8 \[2, 4, 4, 4\]"):
        finish(torch.zeros(2, 4, 4, 4, dtype=torch.uint8), NORMALISATION)


def test_plans_of_another_batch_are_refused(make_operations):
    images = random_batch()

    with pytest.raises(ValueError, match="operate: the plan is of 2 images; the batch has 4"):
        operate(images, make_operations([[0, 0]]))
    with pytest.raises(ValueError, match="operate: fill has 1 values; the images have 3 channels"):
        operate(images, make_operations([[0] * 4], fill=(5,)))
    with pytest.raises(ValueError, match="finish: mean has 1 values; the images have 3 channels"):
        finish(images, Normalisation(torch.zeros(1), torch.ones(1)))
    with pytest.raises(ValueError, match="finish: the plan is of 4 images; the batch has 3"):
        finish(images[:3], NORMALISATION, mix=MIX)
    with pytest.raises(ValueError, match="mix_images: the plan is of 4 images; the batch has 3"):
        mix_images(images[:3].float(), MIX)
