"""A comparison of models for people: a table, and a chart."""

from pathlib import Path

from swin_train.benchmark.charts import bar_chart
from swin_train.benchmark.model.compare import Comparison
from swin_train.benchmark.model.peers import OURS
from swin_train.benchmark.text import aligned, shown

_WHAT = {"train-step": "training step", "inference": "forward pass"}


def as_text(result: Comparison) -> str:
    """The table, and what it is about."""
    rows = [("", "images/s", "TFLOP/s", "MFU", "memory MB", "first step s", "correct to")]
    for name, measured in result.measured.items():
        memory = "-" if measured.peak_bytes is None else f"{measured.peak_bytes / 2**20:.0f}"
        rows.append(
            (
                name,
                shown(result.images_per_s(name), 1),
                f"{result.tflops(name):.3g}",
                f"{result.mfu(name):.0%}",
                memory,
                f"{measured.first_s:.1f}",
                f"{measured.verdict.loss:.0e}",
            )
        )
    lines = [
        _title(result),
        "",
        *aligned(rows),
        f"MFU is the share of {result.ceilings.peak}",
        *_ratios(result),
    ]
    if result.ours_alone:
        settings = ", ".join(f"{key} {value}" for key, value in result.ours_alone.items())
        lines.append(f"of {OURS} alone: {settings}")
    lines += [f"not measured: {name}: {reason}" for name, reason in result.left_out.items()]
    return "\n".join(lines)


def _ratios(result: Comparison) -> list[str]:
    pairs = [
        (f"{name} / {other}", shown(ratio, 3))
        for name in result.measured
        for other, ratio in result.ratios(name).items()
    ]
    return ["", *aligned([("times as fast, by round", ""), *pairs])] if pairs else []


def _title(result: Comparison) -> str:
    height, width = result.img_size
    threads = f", {result.threads} threads" if result.device == "cpu" else ""
    return (
        f"{_WHAT[result.kind]} of {result.config}, {height} x {width} pixels, batch {result.effort.batch_size}, "
        f"{result.dtype} on {result.device}{threads}, {result.effort.rounds} rounds"
    )


def draw(result: Comparison, path: Path) -> None:
    """Draw images per second of every variant as bars.

    Raises:
        UserError: what draws is not installed.
    """
    bars = {name: result.images_per_s(name) for name in result.measured}
    fastest = max(
        (name for name in bars if name.startswith(OURS)), key=lambda n: bars[n].median, default=None
    )
    bar_chart(path, _title(result), "images/s", bars, highlight=fastest)
