"""Augmentation in Triton against the tensors: interpreted on the CPU, compiled for a GPU, and run on one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from swin_train.kernels import augment
from swin_train.kernels.augment import (
    Erasures,
    MixPlan,
    Normalisation,
    OpCode,
    finish_tensors,
    operate_tensors,
)

REPO = Path(__file__).resolve().parents[3]
SIZES = {"RGB": (3, 16, 20), "L": (1, 20, 27)}  # one block; two blocks, the last of which has a rest
BATCH = 14
MODES = ["const", "rand", "pixel"]

# The noise alone: a few units in the last place of a logarithm, a sine and a cosine.
NOISE = {"rtol": 1e-5, "atol": 1e-5}

# Triton decides when it is imported whether it interprets, so this takes a process of its own.
INTERPRET = """
import sys, torch
from swin_train.kernels import augment
from swin_train.kernels.augment import finish_triton, operate_triton

plans = [augment.Operations, augment.Normalisation, augment.Erasures, augment.MixPlan, frozenset]
torch.serialization.add_safe_globals(plans)
functions = {
    "operate": operate_triton.operate,
    "finish": finish_triton.finish,
    "mix_images": finish_triton.mix_images,
}
calls = torch.load(sys.argv[1])
torch.save({name: [functions[name](*each) for each in calls[name]] for name in calls}, sys.argv[1])
"""


def random_images(channels, height, width, batch=BATCH):
    """Noise; in every third row a picture of few values, in every fourth one a flat picture."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (batch, channels, height, width), dtype=np.uint8)
    images[::3] = images[::3] // 64 * 60 + 20
    images[::4] = images[::4, :, :1, :1]
    return torch.from_numpy(images)


def random_finish(channels, height, width, mode, batch=BATCH):
    """How a batch is finished: two erasures an image, of which some are empty; averages and boxes."""
    rng = np.random.default_rng(2)
    normalisation = Normalisation(torch.full((channels,), 0.45), torch.linspace(0.21, 0.23, channels))

    def boxes(*shape):
        x, y = rng.integers(0, width + 1, (2, *shape)), rng.integers(0, height + 1, (2, *shape))
        return np.sort(x, axis=0), np.sort(y, axis=0)

    (left, right), (top, bottom) = boxes(2, batch)
    right = np.where(rng.random((2, batch)) < 0.3, left, right)
    erased = torch.from_numpy(np.stack([left, top, right, bottom], -1)).int()
    erasures = Erasures(erased, torch.from_numpy(rng.integers(0, 2**53, (2, batch))), mode)
    (left, right), (top, bottom) = boxes(batch)
    right = np.where(rng.random(batch) < 0.5, left, right)
    mix = MixPlan(
        torch.arange(batch - 1, -1, -1),
        torch.from_numpy(rng.random(batch)),
        torch.from_numpy(np.stack([top, bottom, left, right], -1)).int(),
    )
    return normalisation, erasures, mix


def operate_calls(random_operations):
    """Every operation; and maps of every kind by both filters."""
    for layers, (channels, height, width) in zip((2, 1), SIZES.values(), strict=True):
        images = random_images(channels, height, width)
        yield images, random_operations(BATCH, layers, height, width, channels=channels)
        yield images[:10], random_operations(10, 1, height, width, channels=channels, code=OpCode.AFFINE)
        yield images, random_operations(BATCH, 0, height, width, channels=channels)


def finish_calls(dtype, batch=4):
    """Every kind of noise; no noise; nothing to do."""
    for size in SIZES.values():
        images = random_images(*size, batch=batch)
        for mode in MODES:
            normalisation, erasures, mix = random_finish(*size, mode, batch=batch)
            yield images, normalisation, erasures, mix, torch.float32
        yield images, normalisation, None, mix, dtype
        yield images, normalisation, None, None, dtype


def mix_calls():
    """Images that are finished already."""
    for size in SIZES.values():
        normalisation, erasures, mix = random_finish(*size, "pixel", batch=4)
        images = random_images(*size, batch=4)
        yield finish_tensors.finish(images, normalisation, erasures, None, torch.float32), mix


def assert_finished(found, images, normalisation, erasures, mix, dtype):
    """As the tensors make it."""
    expected = finish_tensors.finish(images, normalisation, erasures, mix, dtype)
    has_noise = erasures is not None and erasures.mode != "const"
    torch.testing.assert_close(found, expected, **NOISE if has_noise else {"rtol": 0, "atol": 0})


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory, random_operations):
    """All calls, and what came of them with every launch interpreted: [(arguments, result), ...] by function."""
    # float16: the interpreter cuts bfloat16 off where a GPU rounds
    calls = {
        "operate": list(operate_calls(random_operations)),
        "finish": list(finish_calls(torch.float16)),
        "mix_images": list(mix_calls()),
    }
    file = tmp_path_factory.mktemp("interpreted") / "calls.pt"
    torch.save(calls, file)
    done = subprocess.run(
        [sys.executable, "-c", INTERPRET, str(file)],
        cwd=REPO,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = torch.load(file)
    return {name: list(zip(calls[name], results[name], strict=True)) for name in calls}


def test_operations_have_the_bits_of_the_tensors(interpreted):
    for (images, operations), found in interpreted["operate"]:
        expected = operate_tensors.operate(images, operations)
        for row in range(len(images)):
            assert torch.equal(found[row], expected[row]), operations.codes[:, row]


def test_the_finish_has_the_bits_of_the_tensors_except_for_noise(interpreted):
    for arguments, found in interpreted["finish"]:
        assert_finished(found, *arguments)


def test_mixing_has_the_bits_of_the_tensors(interpreted):
    for arguments, found in interpreted["mix_images"]:
        assert torch.equal(found, finish_tensors.mix_images(*arguments))


def test_every_launch_compiles_for_a_gpu(compiled_for, random_operations):
    """The compiler refuses what the interpreter takes; and it could fuse a product into a sum."""
    compiled = compiled_for(80)
    from swin_train.kernels.augment import finish_triton, operate_triton

    operate_triton.operate(random_images(3, 16, 20), random_operations(BATCH, 1, 16, 20))
    normalisation, erasures, mix = random_finish(3, 16, 20, "pixel")
    images = random_images(3, 16, 20)
    finish_triton.finish(images, normalisation, erasures, mix, torch.bfloat16)
    finish_triton.finish(images, normalisation, None, mix, torch.float32)
    finish_triton.mix_images(images.float(), mix)

    assert set(compiled) == {"_count", "_make_tables", "_operate", "_box_blur", "_finish", "_mix"}
    del compiled["_finish"][0]  # the library's sine and cosine are made of fused operations
    assert not [name for name, sources in compiled.items() if any("fma.rn.f" in ptx for ptx in sources)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnAGpu:
    """Batches as in training, against the tensors on the CPU."""

    SIZE = 3, 224, 224

    @pytest.fixture(autouse=True)
    def no_waiting(self):
        """A call that makes the host wait is an error, once the kernels are compiled."""
        yield
        torch.cuda.set_sync_debug_mode("default")

    def test_operations_have_the_bits_of_the_tensors(self, random_operations):
        for batch, plan in ((256, {}), (64, {"code": OpCode.AFFINE})):
            images, operations = (
                random_images(*self.SIZE, batch),
                random_operations(batch, 2, 224, 224, **plan),
            )
            on_gpu = images.pin_memory().cuda(), operations.pin_memory().to("cuda")
            augment.operate(*on_gpu)
            torch.cuda.set_sync_debug_mode("error")

            found = augment.operate(*on_gpu)

            torch.cuda.set_sync_debug_mode("default")
            assert torch.equal(found.cpu(), operate_tensors.operate(images, operations))

    @pytest.mark.parametrize("mode", MODES)
    def test_the_finish_has_the_bits_of_the_tensors_except_for_noise(self, mode):
        images, (normalisation, erasures, mix) = (
            random_images(*self.SIZE, 256),
            random_finish(*self.SIZE, mode, 256),
        )
        on_gpu = images.cuda(), normalisation.to("cuda")
        plans = {"erasures": erasures.to("cuda"), "mix": mix.to("cuda")}
        augment.finish(*on_gpu, **plans)
        torch.cuda.set_sync_debug_mode("error")

        found = augment.finish(*on_gpu, **plans)

        torch.cuda.set_sync_debug_mode("default")
        assert_finished(found.cpu(), images, normalisation, erasures, mix, torch.float32)

    def test_small_batches_and_other_types_have_the_bits_of_the_tensors(self, random_operations):
        for images, operations in operate_calls(random_operations):
            found = augment.operate(images.cuda(), operations.to("cuda"))
            assert torch.equal(found.cpu(), operate_tensors.operate(images, operations))
        for images, normalisation, erasures, mix, dtype in finish_calls(torch.bfloat16):
            plans = {"erasures": erasures and erasures.to("cuda"), "mix": mix and mix.to("cuda")}
            found = augment.finish(images.cuda(), normalisation.to("cuda"), **plans, dtype=dtype)
            assert_finished(found.cpu(), images, normalisation, erasures, mix, dtype)
        for images, mix in mix_calls():
            found = augment.mix_images(images.cuda(), mix.to("cuda"))
            torch.testing.assert_close(found.cpu(), finish_tensors.mix_images(images, mix), rtol=0, atol=0)
