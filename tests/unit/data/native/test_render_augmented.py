"""The finished batch is what ``kernels.augment`` makes of the rendered one."""

import numpy as np
import pytest
import torch

from swin_train.data.native.library import Crops, Pool
from swin_train.kernels.augment import Erasures, Normalisation, OpCode, Operations, finish, operate

COUNT = 16


def normalisation(channels):
    return Normalisation(
        torch.tensor([0.485, 0.456, 0.406][:channels]), torch.tensor([0.229, 0.224, 0.225][:channels])
    )


@pytest.fixture
def batch(photograph, encode, random_box):
    jpeg, rng, crops = encode(photograph(200, 150)), np.random.default_rng(1), Crops.empty(COUNT)
    for row in range(COUNT):
        left, top, right, bottom = random_box(rng, 120, 90)
        crops.limits[row] = left, top, right + 60, bottom + 50
        crops.boxes[row] = left, top, right + 60 - left, bottom + 50 - top
    return [jpeg] * COUNT, crops


def draw_operations(channels):
    generator = torch.Generator().manual_seed(0)
    codes = torch.arange(2 * COUNT, dtype=torch.int32).reshape(2, COUNT) % len(OpCode)
    values = 0.5 + torch.rand(2, COUNT, generator=generator, dtype=torch.float64)
    values[(codes >= OpCode.POSTERIZE) & (codes <= OpCode.SOLARIZE_ADD)] = 5
    matrices = torch.tensor([0.9, 0.2, -3.0, -0.2, 1.1, 2.0], dtype=torch.float64).expand(2, COUNT, 6)
    return Operations(
        flips=torch.rand(COUNT, generator=generator) < 0.5,
        codes=codes,
        values=values,
        matrices=matrices,
        bicubic=torch.rand(2, COUNT, generator=generator) < 0.5,
        fill=(124, 116, 104)[:channels],
    )


def draw_erasures(mode):
    boxes = torch.zeros(2, COUNT, 4, dtype=torch.int32)
    boxes[0, ::2] = torch.tensor([3, 5, 20, 31], dtype=torch.int32)
    boxes[1, ::4] = torch.tensor([10, 0, 40, 9], dtype=torch.int32)
    return Erasures(boxes, torch.arange(2 * COUNT).reshape(2, COUNT), mode)


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_operate_and_finish_of_the_rendered_batch(pool, batch, channels, mode):
    items, crops = batch
    plain = torch.empty(COUNT, channels, 36, 40, dtype=torch.uint8)
    finished = torch.empty(COUNT, channels, 36, 40)
    operations, erasures = draw_operations(channels), draw_erasures(mode)

    assert pool.render(pool.load(items), crops, plain) == [None] * COUNT
    problems = pool.render_augmented(
        pool.load(items), crops, operations, normalisation(channels), erasures, finished
    )

    assert problems == [None] * COUNT
    expected = finish(operate(plain, operations), normalisation(channels), erasures=erasures)
    # a few last bits of the noise's logarithm and cosine
    torch.testing.assert_close(finished, expected, rtol=0, atol=1e-5 if mode != "const" else 0)


def test_without_operations_and_erasures_it_is_normalised(pool, batch):
    items, crops = batch
    plain, finished = torch.empty(COUNT, 3, 24, 24, dtype=torch.uint8), torch.empty(COUNT, 3, 24, 24)

    pool.render(pool.load(items), crops, plain)
    pool.render_augmented(pool.load(items), crops, None, normalisation(3), None, finished)

    torch.testing.assert_close(finished, finish(plain, normalisation(3)), rtol=0, atol=0)


def test_every_level_is_normalised_to_the_last_bit(pool):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    crops, finished = Crops.empty(1), torch.empty(1, 3, 16, 16)
    crops.limits[:] = crops.boxes[:] = 0, 0, 16, 16

    pool.render_augmented(pool.load([np.dstack([levels] * 3)]), crops, None, normalisation(3), None, finished)

    plain = torch.from_numpy(levels).expand(1, 3, 16, 16).contiguous()
    torch.testing.assert_close(finished, finish(plain, normalisation(3)), rtol=0, atol=0)


def test_vector_instructions_give_the_same_bits(batch):
    items, crops = batch
    results = [torch.empty(COUNT, 3, 37, 41) for _ in range(3)]

    for simd, out in zip((False, "avx2", True), results, strict=True):
        pool = Pool(1, simd=simd)
        pool.render_augmented(
            pool.load(items), crops, draw_operations(3), normalisation(3), draw_erasures("pixel"), out
        )
        pool.close()

    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    torch.testing.assert_close(results[2], results[0], rtol=0, atol=0)


def test_plans_of_another_batch_are_a_mistake(pool, batch):
    items, crops = batch
    pictures, out = pool.load(items[1:]), torch.empty(COUNT - 1, 3, 8, 8)
    shorter = Crops(*(values[1:] for values in vars(crops).values()))

    with pytest.raises(ValueError, match="operations are for 16 images with 3 channels; out has 15 with 3"):
        pool.render_augmented(pictures, shorter, draw_operations(3), normalisation(3), None, out)
    with pytest.raises(ValueError, match="erasures are for 16 images; out has 15"):
        pool.render_augmented(pictures, shorter, None, normalisation(3), draw_erasures("const"), out)
    with pytest.raises(ValueError, match="mean has 1 values; out has 3 channels"):
        pool.render_augmented(pictures, shorter, None, normalisation(1), None, out)
