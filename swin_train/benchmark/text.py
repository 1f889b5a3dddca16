"""Numbers and tables for people."""

from collections.abc import Sequence

from swin_train.benchmark.rounds import Spread


def shown(numbers: Spread | None, digits: int) -> str:
    """Median and extremes: "1.23 [1.20, 1.30]"."""
    if numbers is None:
        return "-"
    median, low, high = (f"{number:.{digits}f}" for number in numbers)
    return f"{median} [{low}, {high}]"


def aligned(rows: Sequence[Sequence[str]], *, is_text: bool = False) -> list[str]:
    """Lines of columns of equal width: the first to the left, the others to the right, or left where they are text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [
            cell.ljust(width) if is_text else cell.rjust(width)
            for cell, width in zip(rest, widths[1:], strict=True)
        ]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines
