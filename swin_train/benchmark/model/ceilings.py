"""What this machine can do, measured: a copy in its memory, and products of large matrices."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor

from swin_train.benchmark.rounds import Spread, spread
from swin_train.benchmark.text import aligned, shown
from swin_train.models.costs import Product
from swin_train.models.outline import Outline

_REPETITIONS, _QUICK_REPETITIONS = 20, 5
_COPY_BYTES = {"cuda": 4_000_000_000, "cpu": 256_000_000}  # far beyond any cache
_QUICK_COPY_BYTES = 32_000_000
_MATMUL_SIZE = {"cuda": 8192, "cpu": 1024}
_QUICK_MATMUL_SIZE = 256
_QUICK_BATCH = 2
_HOLD_CYCLES = 40_000_000  # about 20 ms
_DIRECTIONS = ("forward", "dX", "dW")

Moment = float | torch.cuda.Event
"""A point of time: on the clock, or on a GPU when it gets there."""


@dataclass(frozen=True)
class Ceilings:
    """The speeds that nothing on this machine exceeds.

    Attributes:
        device: its name.
        dtype: of the matrices, such as "bfloat16".
        element_bytes: of an element of them.
        copy_bytes: what was copied; as many are read as are written.
        copy_gb_s: 10^9 bytes per second, those read and those written together.
        matmul_size: rows and columns of the square matrices, which are random: zeros would take less power.
        matmul_tflops: 10^12 operations per second, 2 for each multiply-add.
    """

    device: str
    dtype: str
    element_bytes: int
    copy_bytes: int
    copy_gb_s: Spread
    matmul_size: int
    matmul_tflops: Spread

    @property
    def peak(self) -> str:
        """What shares of the peak are shares of."""
        matrices = f"{self.dtype} matrices of {self.matmul_size} x {self.matmul_size}"
        return f"{self.matmul_tflops.median:.4g} TFLOP/s, measured here with {matrices}"

    def as_dict(self) -> dict[str, Any]:
        """All of it for a JSON file."""
        speeds = {"copy_gb_s": self.copy_gb_s._asdict(), "matmul_tflops": self.matmul_tflops._asdict()}
        return asdict(self) | speeds


@dataclass(frozen=True)
class ProductSpeed:
    """The speed of a matrix product of the model, at the size that it has there.

    Attributes:
        stage: from 1.
        layer: "qkv", "proj", "fc1", "fc2" or "merging".
        direction: "forward", "dX" (gradient of the input) or "dW" (of the weight).
        rows, inner, columns: of the forward product, [rows, inner] x [inner, columns]; those of the gradients
            have as many multiply-adds.
        tflops: 10^12 operations per second.
    """

    stage: int
    layer: str
    direction: str
    rows: int
    inner: int
    columns: int
    tflops: Spread

    def as_dict(self) -> dict[str, Any]:
        """All of it for a JSON file."""
        return asdict(self) | {"tflops": self.tflops._asdict()}


def measure_ceilings(device: torch.device, dtype: torch.dtype, *, quick: bool) -> Ceilings:
    """Measure them.

    Args:
        device: nothing else may run there.
        dtype: of the matrices; float32 means what the process computes it as, TF32 where that is switched on.
        quick: small sizes and few repetitions, to see that it works.
    """
    num_bytes = _copy_bytes(device, quick=quick)
    size = _QUICK_MATMUL_SIZE if quick else _MATMUL_SIZE.get(device.type, _MATMUL_SIZE["cpu"])
    return Ceilings(
        device=device_name(device),
        dtype=dtype_name(dtype),
        element_bytes=dtype.itemsize,
        copy_bytes=num_bytes,
        copy_gb_s=_copy_speed(device, num_bytes, quick=quick),
        matmul_size=size,
        matmul_tflops=_product_speeds(Product(size, size, size), ("forward",), device, dtype, quick)[
            "forward"
        ],
    )


def measure_products(
    model: Outline, batch_size: int, device: torch.device, dtype: torch.dtype, *, quick: bool
) -> tuple[ProductSpeed, ...]:
    """The speed of the matrix products with weights, of each stage and in all three directions.

    Args:
        model: Swin-MLP has no "qkv" and "proj".
        batch_size: images; at most 2 if ``quick``.
        device, dtype, quick: as of ``measure_ceilings``.
    """
    batch = min(batch_size, _QUICK_BATCH) if quick else batch_size
    return tuple(
        ProductSpeed(stage, layer, direction, product.rows, product.inner, product.columns, tflops)
        for stage, layer, product in _layers(model, batch)
        for direction, tflops in _product_speeds(product, _DIRECTIONS, device, dtype, quick).items()
    )


def as_text(ceilings: Ceilings, products: Sequence[ProductSpeed] = ()) -> str:
    """Both for people."""
    lines = [
        f"{ceilings.device}: a copy of {ceilings.copy_bytes / 1e6:.0f} MB moves {shown(ceilings.copy_gb_s, 1)} GB/s, "
        "read and written",
        f"{ceilings.dtype} matrices of {ceilings.matmul_size} x {ceilings.matmul_size}: "
        f"{shown(ceilings.matmul_tflops, 2)} TFLOP/s",
    ]
    if not products:
        return "\n".join(lines)
    speeds = {(p.stage, p.layer, p.direction): p.tflops for p in products}
    rows: list[tuple[str, ...]] = [("TFLOP/s", "rows", "inner", "columns", *_DIRECTIONS)]
    for speed in products[:: len(_DIRECTIONS)]:
        sizes = (str(number) for number in (speed.rows, speed.inner, speed.columns))
        three = (shown(speeds[speed.stage, speed.layer, way], 2) for way in _DIRECTIONS)
        rows.append((f"stage {speed.stage} {speed.layer}", *sizes, *three))
    return "\n".join([*lines, "", *aligned(rows)])


def device_name(device: torch.device) -> str:
    """Of the GPU; "cpu" and others have the name of their type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def dtype_name(dtype: torch.dtype) -> str:
    """Such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def moment(device: torch.device) -> Moment:
    """When the device has done what it was given so far."""
    if device.type == "cuda":
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(device))
        return event
    if device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def hold(device: torch.device) -> None:
    """Keep a GPU busy while calls are queued, or between small kernels it would wait for the host."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        with torch.cuda.device(device):
            torch.cuda._sleep(_HOLD_CYCLES)


def seconds_between(start: Moment, end: Moment) -> float:
    """Waits for ``end``; both are of one device."""
    if isinstance(start, float):
        return cast(float, end) - start
    assert isinstance(end, torch.cuda.Event)
    end.synchronize()
    return start.elapsed_time(end) / 1000


def _repeat(run: Callable[[], object], device: torch.device, *, quick: bool) -> list[float]:
    """Seconds of each call, after as many that do not count: clocks rise, and libraries choose their kernels."""
    repetitions, moments = _QUICK_REPETITIONS if quick else _REPETITIONS, []
    for _ in range(repetitions):
        run()
    hold(device)
    for _ in range(repetitions):
        start = moment(device)
        run()
        moments.append((start, moment(device)))
    return [seconds_between(start, end) for start, end in moments]


def _copy_bytes(device: torch.device, *, quick: bool) -> int:
    wanted = _QUICK_COPY_BYTES if quick else _COPY_BYTES.get(device.type, _COPY_BYTES["cpu"])
    if device.type != "cuda":
        return wanted
    free, _ = torch.cuda.mem_get_info(device)
    return min(wanted, free // 4 // 4 * 4)  # source and target are half of what is free; whole float32


def _copy_speed(device: torch.device, num_bytes: int, *, quick: bool) -> Spread:
    source = torch.ones(
        num_bytes // 4, device=device
    )  # written: a CPU's untouched pages are all the same one
    target = torch.zeros_like(source)
    seconds = _repeat(lambda: target.copy_(source), device, quick=quick)
    return spread([2 * num_bytes / s / 1e9 for s in seconds])


def _layers(model: Outline, batch: int) -> Iterator[tuple[int, str, Product]]:
    for number, stage in enumerate(model.stages, start=1):
        rows, C, hidden = batch * stage.tokens, stage.channels, model.hidden(stage)
        if model.family != "swin_mlp":
            yield number, "qkv", Product(rows, C, 3 * C)
            yield number, "proj", Product(rows, C, C)
        yield number, "fc1", Product(rows, C, hidden)
        yield number, "fc2", Product(rows, hidden, C)
        if stage.merged is not None:
            height, width = stage.merged
            yield number, "merging", Product(batch * height * width, 4 * C, 2 * C)


def _product_speeds(
    product: Product, directions: Sequence[str], device: torch.device, dtype: torch.dtype, quick: bool
) -> dict[str, Spread]:
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=dtype)

    x, gradient = draw(product.rows, product.inner), draw(product.rows, product.columns)
    weight = draw(product.columns, product.inner)
    runs: dict[str, Callable[[], Tensor]] = {
        "forward": lambda: x @ weight.t(),
        "dX": lambda: gradient @ weight,
        "dW": lambda: gradient.t() @ x,
    }
    flops = 2 * product.multiply_adds
    return {
        direction: spread([flops / s / 1e12 for s in _repeat(runs[direction], device, quick=quick)])
        for direction in directions
    }
