"""Window attention at one size: what must move, and which implementations pass the gate."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from swin_train.benchmark.model import attention
from swin_train.benchmark.model.attention import (
    IMPLEMENTATIONS,
    Attend,
    Case,
    Shape,
    error_of,
    make_case,
    shapes_of,
)
from swin_train.config import Config, load_config
from swin_train.errors import UserError
from swin_train.kernels.window_attention import choice

CPU = torch.device("cpu")


def configure(family: str = "swin", **changes: Any) -> Config:
    """Two stages, of 8 x 8 and 4 x 4 tokens, in windows of 4 x 4."""
    section = {"PATCH_SIZE": 2, "EMBED_DIM": 32, "DEPTHS": (3, 2), "NUM_HEADS": (2, 4), "WINDOW_SIZE": 4}
    keys = {f"MODEL.{family.upper()}.{key}": value for key, value in (section | changes).items()}
    keys |= {"MODEL.TYPE": family, "DATA.IMG_SIZE": 16, "DATA.BATCH_SIZE": 6}
    return load_config(None, [part for item in keys.items() for part in item])


def make_shape(**changes: Any) -> Shape:
    sizes = {"stage": 1, "batch_size": 3, "map": (8, 8), "channels": 32, "heads": 2, "window": 4, "shift": 2}
    return Shape(**{**sizes, "padding": "reference", "cosine": False, **changes})


def test_each_size_at_which_a_model_attends_is_one_shape() -> None:
    found = shapes_of(configure(), 6)

    sizes = [(s.stage, s.batch_size, s.map, s.channels, s.heads, s.window, s.shift, s.cosine) for s in found]
    assert sizes == [
        (1, 6, (8, 8), 32, 2, 4, 0, False),
        (1, 6, (8, 8), 32, 2, 4, 2, False),
        (2, 6, (4, 4), 64, 4, 4, 0, False),  # one window is not shifted
    ]
    assert all(shape.cosine for shape in shapes_of(configure("swinv2"), 6))


def test_swin_mlp_has_no_window_attention() -> None:
    with pytest.raises(UserError, match="swin_mlp, which has no window attention; use swin or swinv2"):
        shapes_of(load_config("swin_mlp_base_patch4_window7_224"), 1)


def test_bytes_and_flops_of_a_shape() -> None:
    shape = make_shape()
    elements = 3 * 64 * 32

    assert [shape.bytes(way, 2) for way in ("forward", "backward")] == [8 * elements, 14 * elements]
    assert [shape.flops(way) for way in ("forward", "backward")] == [4 * 16 * elements, 10 * 16 * elements]


@pytest.mark.parametrize("name", ["reference", "sdpa", "triton"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shift": 0, "batch_size": 1},
        {"map": (9, 6), "batch_size": 2},
        {"map": (9, 6), "padding": "masked", "shift": 0},
        {"cosine": True},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_right_passes(
    name: str, changes: dict[str, Any], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "triton_obstacle", lambda *_: None)  # on a CPU its steps are written out
    case = make_case(make_shape(**changes), CPU, dtype)

    error = error_of(IMPLEMENTATIONS[name](case), case)
    assert error <= attention.tolerance(dtype) / 2  # it is not on the edge


def without_the_mask(case: Case) -> Attend:
    shape = case.shape
    windows, N = shape.map[0] * shape.map[1] // shape.window**2, shape.window**2

    def no_mask(*_: object) -> Tensor:
        return torch.zeros(windows, N, N)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "attention_mask", no_mask)
        return attention._by_steps(case)


def changed(change: Callable[[Tensor], Tensor]) -> Callable[[Case], Attend]:
    """The reference with something done to its output."""

    def make(case: Case) -> Attend:
        right = attention._by_steps(case)
        return lambda qkv, table: change(right(qkv, table))

    return make


def with_other_gradients(scale_qkv: float, scale_table: float) -> Callable[[Case], Attend]:
    """The reference's output, with gradients that are multiples of its."""

    def make(case: Case) -> Attend:
        right = attention._by_steps(case)

        def scaled(x: Tensor, factor: float) -> Tensor:
            return x * factor + (x * (1 - factor)).detach()

        return lambda qkv, table: right(scaled(qkv, scale_qkv), scaled(table, scale_table))

    return make


def image(number: int, factor: float) -> Tensor:
    factors = torch.ones(3, 1, 1, 1)
    factors[number] = factor
    return factors


@pytest.mark.parametrize(
    "make",
    [
        without_the_mask,
        changed(lambda out: out * image(2, 1.001)),
        changed(lambda out: out * image(1, float("nan"))),
        changed(lambda out: out.roll(1, dims=0)),
        changed(lambda out: out + 0.001 * (out.mean(0) - out.mean(0).detach())),
        with_other_gradients(1.001, 1.0),
        with_other_gradients(1.0, 1.001),
    ],
    ids=["mask", "last image", "NaN between", "images", "gradient of another image", "qkv", "table"],
)
def test_what_is_wrong_does_not(make: Callable[[Case], Attend]) -> None:
    case = make_case(make_shape(), CPU, torch.float32)

    assert not error_of(make(case), case) <= attention.tolerance(torch.float32)
