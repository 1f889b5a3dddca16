"""Charts: what stands in the file that is written. Texts are read from SVG, which keeps them as comments."""

import importlib.util
import re
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from swin_train.benchmark.charts import bar_chart, check_chart, line_chart, number
from swin_train.benchmark.rounds import Spread
from swin_train.errors import UserError

BARS = {"ours": Spread(1234.0, 1200.0, 1300.0), "theirs": Spread(50.0, 40.0, 60.0)}
LINES = {
    "linear": [(10.0, 2.0), (20.0, 4.0), (100.0, 20.0)],
    "quadratic": [(10.0, 1.0), (20.0, 4.0), (100.0, 100.0)],
}
BLUE, GREY = "#0072b2", "#b4bbc3"


def texts(path: Path) -> list[str]:
    """What is written in an SVG, in the order of drawing; matplotlib draws letters as curves and notes the text."""
    return re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"))


def widths(path: Path, colour: str) -> list[float]:
    """The widths of the rectangles of a colour in an SVG."""
    shapes = re.findall(
        rf'<path d="([^"]*)"[^>]*style="fill: {colour}', path.read_text(encoding="utf-8"), re.DOTALL
    )
    numbers = [[float(x) for x in re.findall(r"[ML] ([\d.]+)", shape)] for shape in shapes]
    return [max(xs) - min(xs) for xs in numbers]


def test_bars_are_as_long_as_their_medians_and_one_is_highlighted(tmp_path: Path) -> None:
    path = tmp_path / "bars.svg"

    bar_chart(path, "Training step", "images/s", BARS, highlight="ours")

    (ours,), (theirs,) = widths(path, BLUE), widths(path, GREY)
    assert ours / theirs == pytest.approx(1234 / 50, rel=1e-4)  # coordinates have six decimals
    assert {"Training step", "ours", "theirs", "1,234", "50.0"} <= set(texts(path))
    assert any(text.startswith("images/s") for text in texts(path))


def test_whiskers_go_from_the_least_to_the_most(tmp_path: Path) -> None:
    def whiskers(bar: Spread) -> list[float]:
        """Lengths of whiskers as multiples of the bar, of which there is one."""
        path = tmp_path / "bars.svg"
        bar_chart(path, "", "", {"one": bar})
        group = re.search(r'<g id="LineCollection_1">(.*?)</g>', path.read_text(), re.DOTALL)
        assert group is not None
        lines = re.findall(r"M ([\d.]+) [\d.]+ \nL ([\d.]+)", group[1])
        (bar_width,) = widths(path, GREY)
        return [(float(end) - float(start)) / bar_width for start, end in lines]

    assert whiskers(Spread(100.0, 60.0, 110.0)) == pytest.approx([0.5], rel=1e-3)
    assert whiskers(Spread(100.0, 100.0, 100.0)) == pytest.approx([0.0], abs=1e-6)


def test_a_power_of_pixels_is_a_straight_line_on_logarithmic_axes(tmp_path: Path) -> None:
    path = tmp_path / "lines.svg"

    line_chart(path, "T", "x", "y", LINES, "the note", is_log=True, x_ticks={10: "ten", 100: "hundred"})

    drawn = re.findall(r'd="([^"]*)"[^>]*stroke-width: 1.8', path.read_text())[:2]
    points = [[tuple(map(float, xy)) for xy in re.findall(r"[ML] ([\d.]+) ([\d.]+)", line)] for line in drawn]
    slopes = [
        [(y0 - y1) / (x1 - x0) for (x0, y0), (x1, y1) in pairwise(line)]  # y grows downwards
        for line in points
    ]
    (linear, same), (quadratic, still_same) = slopes
    assert (same, still_same) == pytest.approx((linear, quadratic), rel=1e-3)
    assert quadratic / linear == pytest.approx(2.0, rel=1e-3)
    assert {"linear", "quadratic", "the note", "ten", "hundred", "x", "y"} <= set(texts(path))


def test_a_long_note_is_wrapped(tmp_path: Path) -> None:
    path = tmp_path / "lines.svg"
    note = "word " * 60

    line_chart(path, "T", "x", "y", LINES, note)

    lines = [line for text in texts(path) for line in text.splitlines() if "word" in line]
    assert max(map(len, lines)) <= 110
    assert sum(line.count("word") for line in lines) == 60


def test_a_png_has_a_fixed_width_and_is_the_same_each_time(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]

    for path in paths:
        bar_chart(path, "Title", "unit", BARS)

    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0], formats=["PNG"]) as image:
        assert image.width == 1280
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 3  # more than an empty page


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.50"), (9.99, "9.99"), (12.34, "12.3"), (123.4, "123"), (1234.5, "1,234"), (1e6, "1,000,000")],
)
def test_a_number_has_three_digits_or_all_before_the_point(value: float, text: str) -> None:
    assert number(value) == text


def test_what_cannot_be_drawn_is_a_callers_mistake(tmp_path: Path) -> None:
    path = tmp_path / "chart.png"

    with pytest.raises(ValueError, match="no bar 'other'"):
        bar_chart(path, "", "", BARS, highlight="other")
    with pytest.raises(ValueError, match="no bar"):
        bar_chart(path, "", "", {})
    with pytest.raises(ValueError, match="nothing to draw"):
        line_chart(path, "", "", "", {"a": []})
    with pytest.raises(ValueError, match="not above 0"):
        line_chart(path, "", "", "", {"a": [(1.0, 0.0)]}, is_log=True)
    assert not path.exists()


def test_a_file_that_cannot_be_a_chart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"chart\.txt: .*\.png, \.svg, \.pdf"):
        check_chart(tmp_path / "chart.txt")
    with pytest.raises(UserError, match=r"there is no folder .*missing"):
        check_chart(tmp_path / "missing/chart.png")


def test_without_matplotlib_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(UserError, match="pip install matplotlib"):
        bar_chart(tmp_path / "chart.png", "", "", BARS)
