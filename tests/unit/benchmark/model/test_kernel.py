"""Window attention alone: what is measured, what passes the gate, and what is made of the times."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from swin_train.benchmark.model import kernel
from swin_train.benchmark.model.attention import (
    IMPLEMENTATIONS,
    Attend,
    Case,
    Shape,
    make_case,
)
from swin_train.benchmark.model.ceilings import Ceilings
from swin_train.benchmark.model.kernel import KernelResult, ShapeResult, as_text, measure_kernels
from swin_train.benchmark.rounds import Spread
from swin_train.config import Config, load_config

CPU = torch.device("cpu")
CEILINGS = Ceilings("cpu", "float32", 4, 32_000_000, Spread(10, 9, 11), 256, Spread(0.1, 0.09, 0.11))


def configure(family: str = "swin", **changes: Any) -> Config:
    """Two stages, of 8 x 8 and 4 x 4 tokens, in windows of 4 x 4."""
    section = {"PATCH_SIZE": 2, "EMBED_DIM": 32, "DEPTHS": (3, 2), "NUM_HEADS": (2, 4), "WINDOW_SIZE": 4}
    keys = {f"MODEL.{family.upper()}.{key}": value for key, value in (section | changes).items()}
    keys |= {"MODEL.TYPE": family, "DATA.IMG_SIZE": 16, "DATA.BATCH_SIZE": 6}
    return load_config(None, [part for item in keys.items() for part in item])


def measure(*names: str, cfg: Config | None = None, progress: Callable[[str], None] = str) -> KernelResult:
    cfg = configure() if cfg is None else cfg
    return measure_kernels(cfg, CEILINGS, CPU, torch.float32, names=names, quick=True, progress=progress)


def make_shape(**changes: Any) -> Shape:
    sizes = {"stage": 1, "batch_size": 3, "map": (8, 8), "channels": 32, "heads": 2, "window": 4, "shift": 2}
    return Shape(**{**sizes, "padding": "reference", "cosine": False, **changes})


def half_as_much_again(case: Case) -> Attend:
    right = IMPLEMENTATIONS["reference"](case)
    return lambda qkv, table: 1.5 * right(qkv, table)


def test_a_wrong_implementation_is_not_timed_and_is_listed_with_its_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(IMPLEMENTATIONS, "sdpa", half_as_much_again)

    found = measure("reference", "sdpa").shapes[0]

    assert list(found.seconds) == ["reference"]
    assert found.errors["sdpa"] == pytest.approx(0.5, rel=1e-3)
    assert found.left_out == {"sdpa": "its error is 5.0e-01, above 1e-04"}


def test_what_cannot_run_here_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler\nand where it was looked for")

    monkeypatch.setattr(torch, "compile", compile_)

    result = measure("reference", "triton", "compiled reference")

    found = result.shapes[0]
    assert list(found.seconds) == ["reference"]
    assert found.left_out["triton"].startswith("MODEL.ATTENTION triton cannot run: it needs an NVIDIA GPU")
    assert found.left_out["compiled reference"] == "it failed: RuntimeError: no compiler"
    assert "not timed: compiled reference: it failed: RuntimeError: no compiler" in as_text(result)


def test_the_reference_is_compiled_anew_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def compile_(function: Attend, **how: object) -> Attend:
        said.append(f"compile {how}")
        return function

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(torch.compiler, "reset", lambda: said.append("reset"))

    found = measure("compiled reference", progress=said.append)

    steps = ["reset", "compile {'fullgraph': True, 'dynamic': False}"]
    assert said == [part for result in found.shapes for part in (str(result.shape), *steps)]


def test_rounds_are_interleaved_and_the_first_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def one_round(attend: Any, case: object) -> tuple[float, float]:
        calls.append(attend)
        return len(calls), 10 * len(calls)

    monkeypatch.setattr(kernel, "_one_round", one_round)
    case = make_case(make_shape(), CPU, torch.float32)

    seconds = kernel._time({"a": "a", "b": "b"}, case, 3)  # type: ignore[dict-item]

    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert seconds == {
        "a": {"forward": [3, 6, 7], "backward": [30, 60, 70]},
        "b": {"forward": [4, 5, 8], "backward": [40, 50, 80]},
    }


def make_result() -> KernelResult:
    """Every size, by hand: sdpa takes half of the reference's time, then a quarter, then all of it."""
    shape = make_shape()
    seconds = {
        "reference": {"forward": [0.004, 0.004, 0.008], "backward": [0.01] * 3},
        "sdpa": {"forward": [0.002, 0.001, 0.008], "backward": [0.01] * 3},
    }
    measured = ShapeResult(shape, {"reference": 1e-7, "sdpa": 2e-7}, seconds, {"triton": "it is not here"})
    return KernelResult("tiny", 1e-4, CEILINGS, (measured,))


def test_ratios_are_by_round_and_shares_are_of_the_ceilings() -> None:
    result = make_result()
    shape = result.shapes[0]

    assert shape.ratio("sdpa", "forward") == (2.0, 1.0, 4.0)
    assert result.copy_share(shape, "sdpa", "forward") == pytest.approx(4 * 4 * 3 * 64 * 32 / 0.002 / 10e9)
    assert result.peak_share(shape, "sdpa", "backward") == pytest.approx(
        10 * 16 * 3 * 64 * 32 / 0.01 / 0.1e12
    )
    assert ShapeResult(shape.shape, seconds={"sdpa": shape.seconds["sdpa"]}).ratio("sdpa", "forward") is None


def test_the_text_has_a_line_for_each_time_and_says_what_shares_are_of() -> None:
    lines = as_text(make_result()).splitlines()

    assert lines[0] == "stage 1: 3 x 8 x 8 x 32, 2 heads, window 4, shift 2"
    assert (
        " ".join(lines[3].split()) == "sdpa forward 2000.0 [1000.0, 8000.0] 2.00 [1.00, 4.00] 0.5% 0.2% 2e-07"
    )
    assert lines[6:] == [
        "not timed: triton: it is not here",
        "",
        "copy: the bytes that must move, as a share of 10 GB/s, measured here by a copy",
        "peak: FLOPs, as a share of 0.1 TFLOP/s, measured here with float32 matrices of 256 x 256",
    ]


@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_all_sizes_of_a_model_are_measured_quickly(family: str) -> None:
    found = measure("reference", "sdpa", cfg=configure(family))

    kept = json.loads(json.dumps(found.as_dict()))
    assert [shape["batch_size"] for shape in kept["shapes"]] == [2, 2, 2]
    for shape in kept["shapes"]:
        assert shape["left_out"] == {}
        for name in ("reference", "sdpa"):
            for direction in ("forward", "backward"):
                timed = shape["implementations"][name][direction]
                assert len(timed["rounds"]) == 2
                assert all(seconds > 0 for seconds in timed["rounds"])
