"""What the machine can do: the sizes, the units, and what is counted."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from swin_train.benchmark.model import ceilings
from swin_train.benchmark.model.ceilings import as_text, measure_ceilings, measure_products
from swin_train.benchmark.rounds import Spread
from swin_train.config import load_config
from swin_train.models.outline import Outline, outline

CPU = torch.device("cpu")


def tiny(family: str = "swin", img_size: int = 12) -> Outline:
    """Two stages, of 6 x 6 and 3 x 3 tokens at 12 pixels."""
    section = f"MODEL.{family.upper()}."
    keys: dict[str, Any] = {
        "PATCH_SIZE": 2,
        "EMBED_DIM": 8,
        "DEPTHS": (1, 1),
        "NUM_HEADS": (2, 2),
        "WINDOW_SIZE": 3,
    }
    keys = {section + key: value for key, value in keys.items()} | {
        "MODEL.TYPE": family,
        "DATA.IMG_SIZE": img_size,
    }
    return outline(load_config(None, [part for item in keys.items() for part in item]), 5)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five calls that are timed take 1, 1, 2, 4 and 4 seconds."""

    def moments() -> Iterator[float]:
        now = 0.0
        while True:
            for duration in (1.0, 1.0, 2.0, 4.0, 4.0):
                yield now
                now += duration
                yield now

    ticks = moments()
    monkeypatch.setattr(ceilings, "moment", lambda device: next(ticks))


def test_the_calls_that_warm_up_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now, durations = [0.0], iter([100.0] * 5 + [1.0, 1.0, 2.0, 4.0, 4.0])
    monkeypatch.setattr(ceilings, "moment", lambda device: now[0])

    def run() -> None:
        now[0] += next(durations)

    assert ceilings._repeat(run, CPU, quick=True) == [1.0, 1.0, 2.0, 4.0, 4.0]


@pytest.mark.usefixtures("clock")
def test_ceilings_count_bytes_read_and_written_and_two_operations_a_multiply_add() -> None:
    found = measure_ceilings(CPU, torch.float32, quick=True)

    assert found.copy_bytes == 32_000_000
    assert found.copy_gb_s == pytest.approx(Spread(0.032, 0.016, 0.064))
    flops = 2 * 256**3 / 1e12
    assert found.matmul_tflops == pytest.approx(Spread(flops / 2, flops / 4, flops))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ceilings_are_measured_here(dtype: torch.dtype) -> None:
    found = measure_ceilings(CPU, dtype, quick=True)

    for speed in (found.copy_gb_s, found.matmul_tflops):
        assert 0 < speed.low <= speed.median <= speed.high
    assert (found.device, found.dtype, found.element_bytes) == ("cpu", str(dtype)[6:], dtype.itemsize)
    assert json.loads(json.dumps(found.as_dict()))["copy_gb_s"]["median"] == found.copy_gb_s.median
    assert found.peak.endswith(f"measured here with {found.dtype} matrices of 256 x 256")


@pytest.mark.usefixtures("clock")
def test_products_have_the_sizes_of_the_model() -> None:
    found = measure_products(tiny(), 64, CPU, torch.float32, quick=True)  # a batch of 2

    sizes = {(p.stage, p.layer): (p.rows, p.inner, p.columns) for p in found if p.direction == "forward"}
    assert sizes == {
        (1, "qkv"): (72, 8, 24),
        (1, "proj"): (72, 8, 8),
        (1, "fc1"): (72, 8, 32),
        (1, "fc2"): (72, 32, 8),
        (1, "merging"): (18, 32, 16),
        (2, "qkv"): (18, 16, 48),
        (2, "proj"): (18, 16, 16),
        (2, "fc1"): (18, 16, 64),
        (2, "fc2"): (18, 64, 16),
    }
    assert [p.direction for p in found] == ["forward", "dX", "dW"] * 9
    assert found[1].tflops.median == pytest.approx(2 * 72 * 8 * 24 / 2 / 1e12)  # 2 seconds


def test_a_merging_of_an_odd_map_has_the_rows_that_come_out() -> None:
    found = measure_products(tiny(img_size=10), 1, CPU, torch.float32, quick=True)  # 5 x 5 and 3 x 3 tokens

    assert [p.rows for p in found if p.layer == "merging"] == [9] * 3


def test_swin_mlp_has_no_products_of_attention() -> None:
    found = measure_products(tiny("swin_mlp"), 1, CPU, torch.float32, quick=True)

    assert {p.layer for p in found} == {"fc1", "fc2", "merging"}


def test_the_text_has_a_line_for_each_product_and_says_what_was_copied() -> None:
    found = measure_ceilings(CPU, torch.float32, quick=True)
    products = measure_products(tiny(), 1, CPU, torch.float32, quick=True)

    lines = as_text(found, products).splitlines()

    assert lines[0].startswith("cpu: a copy of 32 MB moves ")
    assert [line.split("  ")[0] for line in lines[4:]] == [
        f"stage {p.stage} {p.layer}" for p in products if p.direction == "forward"
    ]
    assert max(map(len, lines)) <= 110
