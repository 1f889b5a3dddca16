"""Charts of results, as files; drawn by matplotlib, without a screen and without its global state."""

import importlib.util
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from swin_train.benchmark.rounds import Spread
from swin_train.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")

# Colours that people with any colour vision tell apart (Okabe and Ito 2008); markers and dashes say it once more.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", "--", "-.", ":")
_HIGHLIGHT, _PLAIN, _GRID = _COLOURS[0], "#B4BBC3", "#E6E8EB"
_INK, _FAINT = "#222222", "#66707A"

_WIDTH, _BAR_HEIGHT, _LINE_HEIGHT, _FRAME_HEIGHT = 8.0, 0.36, 0.2, 1.1  # inches
_DPI = 160
_TITLE, _TEXT, _SMALL = 12, 9.5, 8.5  # points
_TITLE_COLUMNS, _NOTE_COLUMNS = 68, 110  # characters of those sizes that a line of ``_WIDTH`` holds
_LABEL_SPACE = 1.14  # of the longest bar, so that its label has room


def check_chart(path: Path) -> None:
    """Refuse what could not be drawn, before something is measured for minutes.

    Raises:
        UserError: matplotlib is not installed, the file's ending is none of ``FORMATS``, or its folder is missing.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError(
            f"{path}: charts are drawn by matplotlib, which is not installed; pip install matplotlib"
        )
    if path.suffix.lower() not in FORMATS:
        raise UserError(
            f"{path}: a chart cannot be written in this format; end its name in {', '.join(FORMATS)}"
        )
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")


def bar_chart(
    path: Path, title: str, unit: str, bars: Mapping[str, Spread], *, highlight: str | None = None
) -> None:
    """Draw a horizontal bar for each median, from the top in the order given, with a whisker over the extremes.

    Args:
        path: file to write; its ending is one of ``FORMATS``.
        title: what is shown.
        unit: of the numbers.
        bars: by name, numbers from 0.
        highlight: name of the bar that stands out; None is none.

    Raises:
        UserError: as ``check_chart``.
        ValueError: there are no bars, or none of that name.
    """
    check_chart(path)
    if not bars or (highlight is not None and highlight not in bars):
        raise ValueError(f"bar_chart: no bar {highlight!r} to draw among {list(bars)}")
    figure, axes = _canvas(_FRAME_HEIGHT + _BAR_HEIGHT * len(bars), title)
    rows, spreads = range(len(bars)), list(bars.values())
    axes.barh(
        rows,
        [bar.median for bar in spreads],
        height=0.68,
        color=[_HIGHLIGHT if name == highlight else _PLAIN for name in bars],
        xerr=[[bar.median - bar.low for bar in spreads], [bar.high - bar.median for bar in spreads]],
        error_kw={"ecolor": _INK, "elinewidth": 1.1, "capsize": 3},
    )
    for row, (name, bar) in enumerate(bars.items()):
        weight = "bold" if name == highlight else "normal"
        axes.annotate(
            number(bar.median),
            (bar.high, row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=_TEXT,
            color=_INK,
            fontweight=weight,
        )
    axes.set_yticks(rows, labels=list(bars), fontsize=_TEXT, color=_INK)
    for label, name in zip(axes.get_yticklabels(), bars, strict=True):
        label.set_fontweight("bold" if name == highlight else "normal")
    axes.invert_yaxis()
    axes.set_xlim(0, _LABEL_SPACE * max(bar.high for bar in spreads))
    axes.set_xlabel(f"{unit}; median, whiskers from least to most", fontsize=_SMALL, color=_FAINT)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.tick_params(axis="y", length=0)
    _save(figure, path)


def line_chart(
    path: Path,
    title: str,
    x_label: str,
    y_label: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    note: str = "",
    *,
    is_log: bool = False,
    x_ticks: Mapping[float, str] | None = None,
) -> None:
    """Draw lines through points (x, y), each with a marker and dashes of its own.

    Args:
        path: file to write; its ending is one of ``FORMATS``.
        title: what is shown.
        x_label, y_label: what the axes are, with their units.
        lines: by name, points in the order in which they are joined.
        note: what stands below.
        is_log: whether both axes are logarithmic; a power of x is a straight line then.
        x_ticks: marks of the x axis and what stands there; None leaves them to matplotlib.

    Raises:
        UserError: as ``check_chart``.
        ValueError: there are no points, or one that a logarithmic axis has no place for.
    """
    check_chart(path)
    from matplotlib.ticker import LogLocator

    points = [point for line in lines.values() for point in line]
    if not points or (is_log and min(map(min, points)) <= 0):
        raise ValueError(f"line_chart: nothing to draw, or numbers that are not above 0, in {dict(lines)}")
    figure, axes = _canvas(4.4 + _LINE_HEIGHT * len(lines), title)
    for index, (name, line) in enumerate(lines.items()):
        axes.plot(
            [x for x, _ in line],
            [y for _, y in line],
            label=name,
            color=_COLOURS[index % len(_COLOURS)],
            marker=_MARKERS[index % len(_MARKERS)],
            linestyle=_DASHES[index % len(_DASHES)],
            linewidth=1.8,
            markersize=5.5,
        )
    if is_log:
        axes.set_xscale("log")
        axes.set_yscale("log", subs=())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    if x_ticks is not None:
        axes.set_xticks(list(x_ticks), labels=list(x_ticks.values()))
        axes.set_xticks([], minor=True)
    axes.set_xlabel(x_label, fontsize=_TEXT, color=_INK)
    axes.set_ylabel(y_label, fontsize=_TEXT, color=_INK)
    axes.grid(color=_GRID, linewidth=0.8)
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    axes.legend(**above, fontsize=_SMALL, labelcolor=_INK, handlelength=3.2, frameon=False)
    if note:
        figure.supxlabel(textwrap.fill(note, _NOTE_COLUMNS), x=0.01, ha="left", fontsize=_SMALL, color=_FAINT)
    _save(figure, path)


def number(value: float) -> str:
    """Three digits, or all that stand before the point: 1,234 and 123 and 12.3 and 1.23."""
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _canvas(height: float, title: str) -> tuple["Figure", "Axes"]:
    """An empty chart of that many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    text = textwrap.fill(title, _TITLE_COLUMNS)
    figure.suptitle(text, x=0.01, ha="left", fontsize=_TITLE, fontweight="bold", color=_INK)
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_PLAIN)
    axes.tick_params(colors=_FAINT, labelsize=_SMALL)
    return figure, axes


def _save(figure: "Figure", path: Path) -> None:
    # Without matplotlib's version, the same numbers are the same PNG.
    metadata = {"Software": None} if path.suffix.lower() == ".png" else None
    figure.savefig(path, dpi=_DPI, metadata=metadata)
