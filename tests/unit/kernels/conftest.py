"""Pictures and plans for the tests of augmentation, and Triton's compiler without a GPU."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from swin_train.kernels.augment import OpCode, Operations

FILL = (124, 116, 104)


@pytest.fixture
def compiled_for(monkeypatch, tmp_path) -> Callable[[int], dict[str, list[str]]]:
    """From now on launches of Triton's kernels are only compiled, for a compute capability; gives the PTX by name."""
    pytest.importorskip("triton")
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.runtime import jit

    def start(capability: int) -> dict[str, list[str]]:
        compiled: dict[str, list[str]] = {}

        def compile_only(kernel, *arguments, grid, warmup, **named):
            given = dict(zip(kernel.arg_names, arguments, strict=False)) | named
            constants = {param.name for param in kernel.params if param.is_constexpr}
            types, values, facts = {}, {}, {}
            for place, (name, value) in enumerate((name, given[name]) for name in kernel.arg_names):
                if name in constants or value is None:
                    types[name], values[place,] = "constexpr", value
                    continue
                types[name] = jit.mangle_type(value)
                is_aligned = isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0)
                facts[place,] = (
                    [["tt.divisibility", 16]] if is_aligned else []
                )  # as Triton's launcher finds out
            options = {name: value for name, value in named.items() if name not in kernel.arg_names}
            source = ASTSource(kernel, types, values, facts)
            made = compile(source, target=GPUTarget("cuda", capability, 32), options=options)
            compiled.setdefault(kernel.__name__, []).append(made.asm["ptx"])

        monkeypatch.setattr(jit.JITFunction, "run", compile_only)
        monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
        return compiled

    return start


@pytest.fixture(scope="session")
def pictures() -> dict[str, Image.Image]:
    """Photographs and what photographs are not, in odd sizes too."""
    from sklearn.datasets import load_sample_images

    china, flower = (Image.fromarray(image) for image in load_sample_images().images)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (31, 45, 3), dtype=np.uint8)
    arrays = {
        "noise": noise,
        "few_values": noise // 64 * 80,
        "narrow": noise // 4 + 70,
        "flat": np.full((20, 30, 3), (12, 200, 77), np.uint8),
        "one_dot": np.where(np.arange(20 * 30 * 3).reshape(20, 30, 3) == 777, 201, 200).astype(np.uint8),
        "ramp": np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (9, 256, 3)).copy(),
        **{f"{w}x{h}": noise[:h, :w] for w, h in ((1, 1), (2, 7), (5, 2), (3, 3))},
    }
    return {
        "china": china.resize((56, 56), box=(100, 50, 500, 400)),
        "flower": flower.crop((200, 100, 263, 141)),
        **{name: Image.fromarray(array) for name, array in arrays.items()},
    }


@pytest.fixture(scope="session")
def make_operations() -> Callable[..., Operations]:
    """Makes operations out of nested lists [layers][B]; what is left out is nothing."""

    def make(codes, values=None, *, matrices=None, bicubic=None, flips=None, fill=FILL) -> Operations:
        codes = torch.tensor(codes, dtype=torch.int32)

        def tensor(given, dtype, *shape):
            if given is None:
                return torch.zeros(*codes.shape, *shape, dtype=dtype)
            return torch.tensor(given, dtype=dtype)

        return Operations(
            flips=torch.zeros(codes.shape[1], dtype=torch.bool) if flips is None else torch.tensor(flips),
            codes=codes,
            values=tensor(values, torch.float64),
            matrices=tensor(matrices, torch.float64, 6),
            bicubic=tensor(bicubic, torch.bool),
            fill=fill,
        )

    return make


@pytest.fixture(scope="session")
def random_operations(make_operations) -> Callable[..., Operations]:
    """Draws operations of every code, or of one, with arguments as the recipe has them."""

    def draw(batch: int, layers: int, height: int, width: int, *, channels: int = 3, code=None) -> Operations:
        rng = np.random.default_rng(0)
        shape = layers, batch
        codes = rng.permutation(np.resize(np.arange(len(OpCode)), layers * batch)).reshape(shape)
        if code is not None:
            codes[:] = code
        factors = rng.uniform(0.1, 1.9, shape)
        values = np.select(
            [codes == OpCode.POSTERIZE, codes == OpCode.SOLARIZE, codes == OpCode.SOLARIZE_ADD],
            [rng.integers(0, 5, shape), rng.integers(0, 257, shape), rng.integers(0, 111, shape)],
            factors,
        )
        angle, shear = rng.uniform(-0.5, 0.5, shape), rng.uniform(-0.3, 0.3, shape)
        shift = rng.uniform(-0.45, 0.45, shape)
        one, zero = np.ones(shape), np.zeros(shape)
        cos, sin = np.cos(angle), np.sin(angle)
        maps = [
            (cos, sin, shift * width, -sin, cos, shift * height),
            (one, shear, zero, zero, one, zero),
            (one, zero, zero, shear, one, zero),
            (one, zero, shift * width, zero, one, zero),
            (one, zero, zero, zero, one, shift * height),
        ]
        maps = np.stack([np.stack(row, -1) for row in maps])
        kind = np.resize(np.arange(len(maps)), shape)
        matrices = np.take_along_axis(maps, kind[None, ..., None], 0)[0]
        flips, bicubic = rng.random(batch) < 0.5, np.resize(np.arange(2), shape) == 0
        fill = FILL[:channels]
        return make_operations(
            codes, values, matrices=matrices, bicubic=bicubic, flips=flips.tolist(), fill=fill
        )

    return draw
