import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from timm.data.random_erasing import RandomErasing as TimmRandomErasing
from timm.data.transforms import RandomResizedCropAndInterpolation
from torchvision import transforms

from swin_train.data.decode import as_pixels
from swin_train.data.pipelines import exact
from swin_train.data.pipelines.exact import ExactTrain, Normalize
from swin_train.data.pipelines.pipeline import Place
from swin_train.data.recipe.color_jitter import ColorJitter
from swin_train.data.recipe.crop import ResizedCrop, ShiftCrop
from swin_train.data.recipe.erasing import RandomErasing
from swin_train.data.recipe.limits import Size, TooElongated
from swin_train.data.recipe.rand_augment import Policy, RandAugment
from swin_train.data.recipe.view import FILTERS, CropLaw, Recipe

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BICUBIC = FILTERS["bicubic"]
_RARE = 1e-4  # a right law fails a test on a fixed generator once in 10^4 seeds


class Scripted(random.Random):
    """A generator that returns what it was given, in order."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__(0)
        self._values = list(values)

    def random(self) -> float:
        return self._values.pop(0)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def normalized(image: Image.Image) -> torch.Tensor:
    return transforms.Normalize(_MEAN, _STD)(transforms.ToTensor()(image))


def pipeline(size: Size, channels: int = 3) -> ExactTrain:
    recipe = Recipe(
        size,
        ResizedCrop((0.08, 1.0), (3 / 4, 4 / 3), FILTERS["random"]),
        hflip=0.5,
        policy=RandAugment(Policy(9, 2, 0.5, 10, 1.0, True), FILTERS["random"]),
        erasing=RandomErasing(1.0, "pixel", 3),
    )
    return ExactTrain(recipe, Normalize(_MEAN[:channels], _STD[:channels]), (124, 116, 104)[:channels])


def show(train: ExactTrain, image: Image.Image, place: Place) -> torch.Tensor:
    return train.show(as_pixels(image), place).pixels


def cropped(law: CropLaw, size: Size, image: Image.Image, rng: random.Random) -> Image.Image:
    return exact.crop(image, law.draw(image.width, image.height, rng), size)


def test_normalize_is_bit_equal_to_torchvision() -> None:
    image = picture(5, 7)

    assert torch.equal(Normalize(_MEAN, _STD)(image), normalized(image))


def test_normalize_of_one_channel() -> None:
    image = picture(5, 7, "L")

    pixels = Normalize((0.5,), (0.25,))(image)

    assert torch.equal(pixels, transforms.Normalize((0.5,), (0.25,))(transforms.ToTensor()(image)))


@pytest.mark.parametrize("shape", [(500, 375), (40, 600), (600, 40), (64, 64)])
def test_resized_crop_follows_timms_law(shape: tuple[int, int]) -> None:
    image, scale, ratio = picture(*shape), (0.08, 1.0), (3 / 4, 4 / 3)
    crop, rng = ResizedCrop(scale, ratio, _BICUBIC), random.Random(1)
    random.seed(1)

    ours = np.array([crop.draw_box(*shape, rng) for _ in range(3000)])
    theirs = [RandomResizedCropAndInterpolation.get_params(image, scale, ratio) for _ in range(3000)]

    theirs_boxes = np.array([(j, i, j + w, i + h) for i, j, h, w in theirs])
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], theirs_boxes[:, column], method="asymp").pvalue > _RARE


@pytest.mark.parametrize("shape", [(40, 600), (600, 40), (1, 1), (1, 100), (100, 1)])
def test_a_crop_that_never_fits_is_timms_central_one(shape: tuple[int, int]) -> None:
    image, scale, ratio = picture(*shape), (2.0, 2.0), (3 / 4, 4 / 3)
    i, j, h, w = RandomResizedCropAndInterpolation.get_params(image, scale, ratio)

    box = ResizedCrop(scale, ratio, _BICUBIC).draw_box(*shape, random.Random(0))

    assert box == (j, i, j + w, i + h)


@pytest.mark.parametrize("size", [(16, 16), (12, 20), (20, 12)])
def test_resized_crop_resizes_the_crop_alone(size: Size) -> None:
    image = picture(60, 50)
    crop = ResizedCrop((0.3, 0.3), (1.0, 1.0), _BICUBIC)
    left, top, right, bottom = crop.draw_box(60, 50, random.Random(3))

    ours = cropped(crop, size, image, random.Random(3))

    theirs = transforms.functional.resized_crop(
        image, top, left, bottom - top, right - left, list(size), transforms.InterpolationMode.BICUBIC
    )
    assert ours.size == theirs.size
    assert ours.tobytes() == theirs.tobytes()


def test_a_small_picture_too_elongated_for_the_shift_crop_is_refused() -> None:
    with pytest.raises(TooElongated, match="too elongated to be resized to 32"):
        Recipe((32, 32), ShiftCrop(_BICUBIC), 0.5, None, None).draw(1, 2_000_000, random.Random(0))


def test_the_training_recipe_takes_a_part_of_an_elongated_picture() -> None:
    elongated = Image.new("RGB", (1, 2_000_000))

    assert show(pipeline((224, 224)), elongated, Place(0, 0, 0)).shape == (3, 224, 224)


def test_shift_crop_is_one_of_the_81_crops_of_the_padded_picture_each_equally_often() -> None:
    image = picture(7, 6)
    padded = np.pad(np.array(image), ((4, 4), (4, 4), (0, 0)))
    crops = {padded[y : y + 6, x : x + 7].tobytes(): (y, x) for y in range(9) for x in range(9)}
    rng = random.Random(0)

    places = [crops[cropped(ShiftCrop(_BICUBIC), (6, 7), image, rng).tobytes()] for _ in range(8100)]

    counts = np.bincount([9 * y + x for y, x in places], minlength=81)
    assert stats.chisquare(counts).pvalue > _RARE


@pytest.mark.parametrize("size", [(16, 16), (12, 24)])
def test_shift_crop_squashes_a_picture_of_another_size_first(size: Size) -> None:
    image = picture(30, 20)
    centred = Scripted([0.0, 0.5, 0.5])

    squashed = cropped(ShiftCrop(_BICUBIC), size, image, centred)

    assert (squashed.height, squashed.width) == size
    assert squashed.tobytes() == image.resize((size[1], size[0]), Image.Resampling.BICUBIC).tobytes()


def jittered(law: ColorJitter, image: Image.Image, rng: random.Random) -> Image.Image:
    for op in law.draw(rng):
        image = exact.apply(image, op, ())
    return image


def test_color_jitter_equals_torchvisions_functions_in_the_drawn_order() -> None:
    image, functional = picture(9, 9), transforms.functional
    # the last, then the last of two, then the only one; each followed by its factor
    draws = Scripted([0.9, 0.25, 0.9, 0.5, 0.0, 1.0])

    ours = jittered(ColorJitter(0.4), image, draws)

    theirs = functional.adjust_saturation(image, 0.8)
    theirs = functional.adjust_contrast(theirs, 1.0)
    theirs = functional.adjust_brightness(theirs, 1.4)
    assert ours.tobytes() == theirs.tobytes()


def test_color_jitter_never_uses_a_negative_factor() -> None:
    black = jittered(ColorJitter(3.0), picture(4, 4), Scripted([0.0, 0.0, 0.0, 0.5, 0.0, 0.5]))

    assert black.getextrema() == ((0, 0),) * 3


@pytest.mark.parametrize("count", [1, 3])
def test_random_erasing_follows_timms_law(count: int) -> None:
    ours, theirs = RandomErasing(0.7, "const", count), TimmRandomErasing(0.7, max_count=count, device="cpu")
    rng = random.Random(1)
    random.seed(2)

    def erase_ours(pixels: torch.Tensor) -> None:
        for erasure in ours.draw((24, 32), rng):
            exact.erase(pixels, erasure, "const")

    def erased(erase: object, *arguments: object) -> list[float]:
        pixels = torch.ones(1, 24, 32)
        erase(pixels, *arguments)  # type: ignore[operator]
        hole = (pixels[0] == 0).nonzero()
        if not len(hole):
            return [0, 0, 0, 0]
        return [len(hole), len(hole[:, 0].unique()), hole[:, 0].min(), hole[:, 1].min()]

    our_holes = np.array([erased(erase_ours) for _ in range(3000)])
    their_holes = np.array([erased(theirs) for _ in range(3000)])

    for column in range(4):  # area, height, top, left
        assert stats.ks_2samp(our_holes[:, column], their_holes[:, column], method="asymp").pvalue > _RARE


def test_an_erased_rectangle_never_spans_a_whole_side() -> None:
    erase, rng = RandomErasing(1.0, "const", 1), random.Random(0)

    boxes = [erase.draw_box(3, 3, 1, rng) for _ in range(500)]

    assert all(right - left < 3 and bottom - top < 3 for left, top, right, bottom in filter(None, boxes))


@pytest.mark.parametrize(("mode", "different_values"), [("const", 1), ("rand", 3), ("pixel", 3 * 25)])
def test_random_erasing_fills(mode: str, different_values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RandomErasing, "draw_box", lambda *arguments: (1, 2, 6, 7))
    pixels = torch.full((3, 8, 8), 9.0)
    [erasure] = RandomErasing(1.0, mode, 1).draw((8, 8), random.Random(0))

    exact.erase(pixels, erasure, mode)

    assert len(pixels[:, 2:7, 1:6].unique()) == different_values
    assert int((pixels == 9.0).sum()) == 3 * (64 - 25)


def test_the_same_sample_of_the_same_epoch_gives_the_same_bits() -> None:
    train, image = pipeline((24, 24)), picture(40, 30)

    first = show(train, image, Place(0, 3, 7))

    assert torch.equal(show(train, image, Place(0, 3, 7)), first)
    assert not torch.equal(show(train, image, Place(0, 4, 7)), first)
    assert not torch.equal(show(train, image, Place(0, 3, 8)), first)
    assert not torch.equal(show(train, image, Place(1, 3, 7)), first)
    assert not torch.equal(show(train, image, Place(0, 3, 7, repeat=1)), first)


def test_no_global_generator_is_used() -> None:
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    for index in range(50):
        show(pipeline((8, 8)), picture(9, 9), Place(0, 0, index))

    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_flip(flip: float) -> None:
    recipe = Recipe((6, 6), ShiftCrop(_BICUBIC), flip, None, None)
    image = picture(6, 6)
    view = recipe.draw(6, 6, Scripted([0.0, 0.5, 0.5, 0.5]))

    pixels = ExactTrain(recipe, Normalize(_MEAN, _STD), ()).render(image, view, (6, 6))

    assert torch.equal(pixels, normalized(image).flip(2) if flip else normalized(image))


@pytest.mark.parametrize(("channels", "size"), [(1, (8, 8)), (3, (8, 11))])
def test_twenty_thousand_forced_draws_never_crash(channels: int, size: Size) -> None:
    train = pipeline(size, channels)
    shapes = [(1, 1), (1, 9), (9, 1), (2, 3), (7, 5), (8, 8), (11, 13)]
    images = [picture(*shape, "RGB" if channels == 3 else "L") for shape in shapes]

    for index in range(10_000):
        pixels = show(train, images[index % len(images)], Place(0, 0, index))

        assert pixels.shape == (channels, *size)
        assert math.isfinite(float(pixels.sum()))
