"""The Triton kernels of window attention against the contract: interpreted on the CPU, compiled, and run on a GPU."""

import itertools
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.version import Version
from torch import Tensor

from swin_train.kernels.relative_position import gather_bias, relative_position_index
from swin_train.kernels.window_attention import attention_mask, fused_window_attention, window_attention
from swin_train.kernels.window_attention.arguments import Arguments

TRITON = Version(metadata.version("triton"))
IS_OLD = TRITON < Version("3.8")
can_interpret = pytest.mark.skipif(
    IS_OLD and Version(np.__version__) >= Version("2.4"),
    reason="the interpreter of older Tritons takes no loop bounds from numpy 2.4",
)

REPO = Path(__file__).resolve().parents[3]

# Triton decides when it is imported whether it interprets, so this takes a process of its own.
INTERPRET = """
import sys, torch
from swin_train.kernels.window_attention import triton_launch
from swin_train.kernels.window_attention.arguments import Arguments

# Results start as NaN, so that one which is not written shows.
torch.use_deterministic_algorithms(True)
# The tiles of 16 bits: larger, so quicker, and of unequal sides.
triton_launch.LAUNCHES_FLOAT32 |= triton_launch.LAUNCHES
results = []
for given, out_gradient in torch.load(sys.argv[1]):
    given = Arguments(**given)
    out, log_sums = triton_launch.forward(given)
    results.append((out, *triton_launch.backward(given, out, log_sums, out_gradient)))
torch.save(results, sys.argv[1])
"""


# Relative to the largest element, as one may be what is left of large terms of both signs. float32: hundreds of
# terms in another order; 16 bits: a few roundings to 11 and to 8 bits. Larger logits have larger roundings.
TOLERANCES = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
SCALES = 20  # times the tolerance: the one number that is left of all tokens' terms of both signs


@dataclass(frozen=True)
class Case:
    """One call; every tensor takes part unless it is left out."""

    window: int
    size: tuple[int, int]
    shift: int
    cosine: bool
    padding: str = "reference"
    batch: int = 1
    num_heads: int = 2
    head_dim: int = 16
    table_window: int = 0
    has_scales: bool = True
    steepness: float = 1.0
    has_pad_token: bool = True
    dtype: torch.dtype = torch.float32

    def arguments(self) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(hash((self.window, self.size, self.shift)))
        channels, heads = self.num_heads * self.head_dim, self.num_heads

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        side = self.table_window or self.window
        return {
            "qkv": draw(self.batch, *self.size, 3 * channels).to(self.dtype),
            "table": draw((2 * side - 1) ** 2, heads),
            "scales": draw(heads).exp() * self.steepness * (4 if self.cosine else 0.25)
            if self.has_scales
            else None,
            "pad_token": draw(3 * channels) if self.has_pad_token else None,
            "num_heads": heads,
            "window": self.window,
            "shift": self.shift,
            "scale": 0.25,
            "cosine": self.cosine,
            "padding": self.padding,
        }

    def out_gradient(self) -> Tensor:
        shape = self.batch, *self.size, self.num_heads * self.head_dim
        return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(self.dtype)


def small_windows(window: int) -> list[Case]:
    """Windows that a program holds: every shift, padding and version; rectangles; all head sizes; a larger table."""
    shift, padded, whole = window // 2, (window + 3, 2 * window + 2), (window, 2 * window)
    cases = [
        Case(window, padded, s, cosine, padding)
        for s, cosine, padding in itertools.product(
            (0, shift), (False, True), ("reference", "timm", "masked")
        )
    ]
    cases += [
        Case(window, whole, s, cosine, batch=5) for s, cosine in itertools.product((0, shift), (False, True))
    ]
    cases += [
        Case(window, whole, shift, False, head_dim=32, has_scales=False, has_pad_token=False),
        Case(window, padded, shift, True, head_dim=64, num_heads=1),
        Case(window, padded, shift, True, table_window=window + 3, has_pad_token=False),
        Case(
            window - 2, (window - 2, window - 2), 0, False, table_window=window
        ),  # a map that bounds its window
        Case(window, padded, shift, True, "timm", dtype=torch.float16),
    ]
    return cases


# Logits beyond 100, as Swin v2 has them: pairs that the shift parts attend to each other after all.
CASES = {
    3: [
        *(Case(3, (5, 7), 1, cosine, padding) for cosine in (False, True) for padding in ("timm", "masked")),
        Case(3, (6, 9), 1, True, steepness=20.0),
    ],
    7: small_windows(7),
    8: small_windows(8),
    12: [
        Case(12, (14, 20), 6, True, "reference"),
        Case(12, (14, 20), 6, False, "timm", num_heads=1),
        Case(12, (14, 12), 6, True, "masked", num_heads=1),
        Case(12, (12, 24), 0, False, has_scales=False),
        Case(12, (12, 24), 6, True, head_dim=32, num_heads=1, dtype=torch.float16),
        Case(9, (9, 18), 4, True, steepness=20.0, num_heads=1),
        Case(9, (9, 9), 0, False, table_window=12, head_dim=64, num_heads=1),
    ],
    16: [
        Case(16, (20, 16), 8, True, "reference", num_heads=1),
        Case(16, (18, 16), 8, False, "masked", num_heads=1),
        Case(16, (16, 32), 8, False, head_dim=32, num_heads=1, has_scales=False),
    ],
    24: [Case(24, (24, 30), 12, True, "timm", num_heads=1)],
}


def expected(case: Case) -> dict[str, Tensor]:
    """Output and gradients by the reference in float64."""
    given = case.arguments()
    names = [name for name in ("qkv", "table", "scales", "pad_token") if given[name] is not None]
    leaves = {name: given[name].double().requires_grad_() for name in names}
    scale = leaves["scales"].view(-1, 1, 1) if case.has_scales else given["scale"]
    index = relative_position_index(case.window, case.table_window or None)
    out = window_attention(
        leaves["qkv"],
        gather_bias(leaves["table"], index),
        num_heads=case.num_heads,
        window=case.window,
        shift=case.shift,
        scale=scale,
        cosine=case.cosine,
        padding=case.padding,
        pad_token=leaves.get("pad_token"),
        mask=attention_mask(*case.size, case.window, case.shift, case.padding),
    )
    gradients = torch.autograd.grad(
        out, list(leaves.values()), case.out_gradient().double(), materialize_grads=True
    )
    return {"out": out.detach(), **dict(zip(names, gradients, strict=True))}


def assert_as_expected(case: Case, found: dict[str, Tensor]) -> None:
    for name, value in expected(case).items():
        tolerance = TOLERANCES[case.dtype] * case.steepness * (SCALES if name == "scales" else 1)
        error = (found[name].double() - value).abs().max()
        assert error <= tolerance * value.abs().max(), (case, name, float(error / value.abs().max()))


def interpreted(cases: list[Case], folder: Path) -> list[dict[str, Tensor]]:
    file = folder / "calls.pt"
    torch.save([(case.arguments(), case.out_gradient()) for case in cases], file)
    done = subprocess.run(
        [sys.executable, "-c", INTERPRET, str(file)],
        cwd=REPO,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [
        dict(zip(("out", "qkv", "table", "scales", "pad_token"), each, strict=True))
        for each in torch.load(file)
    ]


@can_interpret
@pytest.mark.parametrize("window", CASES)
def test_outputs_and_gradients_are_the_reference_s(window: int, tmp_path: Path) -> None:
    results = interpreted(CASES[window], tmp_path)

    for case, found in zip(CASES[window], results, strict=True):
        assert_as_expected(case, found)
        assert found["out"].dtype == found["qkv"].dtype == case.dtype
        if case.padding == "masked":
            assert not found["pad_token"].any()


@can_interpret
def test_the_same_call_gives_the_same_bits(tmp_path: Path) -> None:
    for case in (Case(7, (10, 9), 3, True), Case(9, (9, 9), 0, True)):
        first, again = interpreted([case, case], tmp_path)

        assert all(torch.equal(first[name], again[name]) for name in first)


class TestCompiled:
    """What the compiler makes of the kernels, without a GPU."""

    @pytest.fixture
    def run_on_nothing(self) -> Any:
        from swin_train.kernels.window_attention import triton_launch

        def run(window: int, head_dim: int, cosine: bool, dtype: torch.dtype) -> None:
            case = Case(window, (4 * window, 4 * window), window // 2, cosine, head_dim=head_dim, num_heads=1)
            case = replace(case, has_scales=cosine, dtype=dtype)
            given = Arguments(**case.arguments())
            out, log_sums = triton_launch.forward(given)
            triton_launch.backward(given, out, log_sums, case.out_gradient())

        return run

    @pytest.mark.parametrize("head_dim", [16, 32, 64])
    @pytest.mark.parametrize("window", [8, 16])
    def test_every_kernel_compiles_for_the_oldest_gpu(
        self, window: int, head_dim: int, compiled_for: Any, run_on_nothing: Any
    ) -> None:
        compiled = compiled_for(80)

        run_on_nothing(window, head_dim, True, torch.bfloat16)

        assert all("mma.sync" in ptx for sources in compiled.values() for ptx in sources)

    @pytest.mark.parametrize(
        ("window", "cosine"), [(7, False), (8, True), (12, False), (16, True), (24, True)]
    )
    def test_on_hopper_products_take_tensor_cores_and_no_register_is_spilled(
        self, window: int, cosine: bool, compiled_for: Any, run_on_nothing: Any, tmp_path: Path
    ) -> None:
        compiled = compiled_for(90)

        run_on_nothing(window, 32, cosine, torch.bfloat16)

        assert set(compiled) == (
            {"forward", "backward"}
            if window <= 8
            else {"forward", "query_gradients", "key_gradients", "bias_gradients"}
        )
        for name, (ptx,) in compiled.items():
            assert "wgmma.mma_async" in ptx, name
            assert spilled_bytes(ptx, tmp_path) <= (64 if IS_OLD else 0), name


def spilled_bytes(ptx: str, folder: Path) -> int:
    """As the assembler that comes with Triton tells, for sm_90a."""
    triton = pytest.importorskip("triton")
    assembler = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
    source = folder / "kernel.ptx"
    source.write_text(ptx, encoding="utf-8")
    done = subprocess.run(
        [str(assembler), "-v", "--gpu-name=sm_90a", str(source), "-o", os.devnull],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return sum(int(number) for number in re.findall(r"(\d+) bytes spill", done.stderr))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnAGpu:
    """Batches as in training, in every dtype, against the reference in float64 on the CPU."""

    def on_gpu(self, case: Case) -> dict[str, Tensor]:
        given = case.arguments()
        names = [name for name in ("qkv", "table", "scales", "pad_token") if given[name] is not None]
        leaves = {name: given[name].cuda().requires_grad_() for name in names}
        out = fused_window_attention(
            leaves["qkv"],
            leaves["table"],
            num_heads=case.num_heads,
            window=case.window,
            shift=case.shift,
            scale=leaves["scales"].view(-1, 1, 1) if case.has_scales else given["scale"],
            cosine=case.cosine,
            padding=case.padding,
            pad_token=leaves.get("pad_token"),
        )
        found = torch.autograd.grad(
            out, list(leaves.values()), case.out_gradient().cuda(), materialize_grads=True
        )
        return {"out": out.detach().cpu(), **{name: g.cpu() for name, g in zip(names, found, strict=True)}}

    @pytest.mark.parametrize("dtype", TOLERANCES)
    @pytest.mark.parametrize("window", CASES)
    def test_outputs_and_gradients_are_the_reference_s(self, window: int, dtype: torch.dtype) -> None:
        for case in CASES[window]:
            case = replace(case, dtype=dtype, batch=3)
            assert_as_expected(case, self.on_gpu(case))

    @pytest.mark.parametrize("window", CASES)
    def test_the_same_call_gives_the_same_bits(self, window: int) -> None:
        case = replace(CASES[window][0], dtype=torch.bfloat16, batch=64)
        first, again = self.on_gpu(case), self.on_gpu(case)

        assert all(torch.equal(first[name], again[name]) for name in first)

    def test_results_that_start_as_nan_are_all_written(self) -> None:
        torch.use_deterministic_algorithms(True)
        try:
            for window in CASES:
                for case in CASES[window]:
                    assert all(value.isfinite().all() for value in self.on_gpu(case).values())
        finally:
            torch.use_deterministic_algorithms(False)

    def test_the_host_does_not_wait(self) -> None:
        self.on_gpu(CASES[7][0])  # compiles
        given = {
            name: value.cuda() if isinstance(value, Tensor) else value
            for name, value in CASES[7][0].arguments().items()
        }
        gradient = CASES[7][0].out_gradient().cuda()
        torch.cuda.set_sync_debug_mode("error")
        try:
            from swin_train.kernels.window_attention import triton_launch

            out, log_sums = triton_launch.forward(Arguments(**given))
            triton_launch.backward(Arguments(**given), out, log_sums, gradient)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def test_more_than_65535_windows_and_more_than_2_to_the_31_elements(self) -> None:
        qkv = torch.randn(1024, 56, 56, 3 * 256, device="cuda", dtype=torch.bfloat16)
        how = {"num_heads": 8, "window": 7, "shift": 3, "scale": 0.2}
        table = torch.randn(169, 8, device="cuda")

        out = fused_window_attention(qkv, table, **how)

        assert qkv.numel() > 2**31
        assert torch.equal(out[-2:], fused_window_attention(qkv[-2:], table, **how))
