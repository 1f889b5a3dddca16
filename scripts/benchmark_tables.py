"""Write the tables of README.md and docs/*.md from the result files of benchmarks, or check that they agree.

    python scripts/benchmark_tables.py [--check] [--root FOLDER]

What stands between the two comments of a block

    <!-- benchmark: DEVICE/DATE-train-step.json train-step -->
    <!-- end -->

is the table of benchmarks/results/DEVICE/DATE-train-step.json, a file of that kind: train-step or inference.
With --check nothing is written, and the status is 1 where a block is another than its file says.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path("benchmarks/results")
KINDS = {
    "train-step": "Training step (forward, backward, clipping, AdamW)",
    "inference": "Inference (forward)",
}
BEGIN, END = "<!-- benchmark:", "<!-- end -->"
BLOCK = re.compile(rf"(?P<begin>{BEGIN} (?P<file>\S+) (?P<kind>\S+) -->\n)(?P<body>.*?){END}", re.DOTALL)
COMPILED = " compiled"  # the end of a peer's name; it is compared with what is compiled too


class Wrong(Exception):
    """A block or a file of results that cannot be used; the text says which, and why."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where a block differs")
    parser.add_argument("--root", type=Path, default=ROOT, help="of the checkout")
    options = parser.parse_args(argv)
    try:
        found = {page: renewed(options.root, page) for page in pages(options.root)}
    except Wrong as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    different = [f"{page}: {block}" for page, (_, blocks) in found.items() for block in blocks]
    for block in different:
        print(f"{block} {'differs from its file' if options.check else 'written'}")
    if options.check:
        if different:
            print("write them anew: python scripts/benchmark_tables.py")
        return int(bool(different))
    for page, (text, blocks) in found.items():
        if blocks:
            (options.root / page).write_text(text, encoding="utf-8")
    return 0


def pages(root: Path) -> list[Path]:
    """The documents that may hold blocks, relative to the root."""
    return [Path("README.md"), *sorted(page.relative_to(root) for page in (root / "docs").glob("*.md"))]


def renewed(root: Path, page: Path) -> tuple[str, list[str]]:
    """The text of a page with all its tables as their files say, and the blocks that were otherwise.

    Raises:
        Wrong: a block is not written as it must be, or its file cannot be used.
    """
    text = (root / page).read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    if len(blocks) != text.count(BEGIN) or any(BEGIN in block["body"] for block in blocks):
        raise Wrong(
            f'{page}: a block must read "{BEGIN} FILE KIND -->", its table, and "{END}" before the next'
        )
    different = []

    def replaced(block: re.Match[str]) -> str:
        name = f"{block['file']} {block['kind']}"
        try:
            body = table(load(root, block["file"], block["kind"]), link(page, block["file"]))
        except Wrong as error:
            raise Wrong(f"{page}: {name}: {error}") from error
        if body != block["body"]:
            different.append(name)
        return f"{block['begin']}{body}{END}"

    return BLOCK.sub(replaced, text), different


def link(page: Path, file: str) -> str:
    """The path of a result file as a page names it."""
    return Path(os.path.relpath(RESULTS / file, page.parent)).as_posix()


def load(root: Path, file: str, kind: str) -> dict[str, Any]:
    """The content of a result file.

    Raises:
        Wrong: there is no such kind or file, or it is of another kind.
    """
    if kind not in KINDS:
        raise Wrong(f"there is no kind {kind}; there are {', '.join(KINDS)}")
    path = RESULTS / file
    try:
        result: dict[str, Any] = json.loads((root / path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Wrong(f"there is no file {path}") from None
    except json.JSONDecodeError as error:
        raise Wrong(f"{path} is no JSON: {error}") from error
    if result.get("kind") != kind:
        raise Wrong(f"{path} is of the kind {result.get('kind')}")
    return result


def table(result: Mapping[str, Any], file: str) -> str:
    """The Markdown of a result: where it was measured, a row for each variant, and what was left out.

    Args:
        result: content of the file.
        file: its path, as the page names it.

    Raises:
        Wrong: something is missing in the file.
    """
    try:
        variants: Mapping[str, Any] = result["variants"]
        libraries = list(dict.fromkeys(library(p) for v in variants.values() for p in v["ratio"]))
        head = ["", "images/s", *(f"x {name}" for name in libraries), "peak memory, MB", "compile, s"]
        rows = [row(name, variant, libraries) for name, variant in variants.items()]
        lines = [where(result, file), ""]
        lines += [f"| {' | '.join(cells)} |" for cells in (head, ["---", *["--:"] * (len(head) - 1)], *rows)]
        if result["left_out"]:
            reasons = "; ".join(f"{name} ({' '.join(r.split())})" for name, r in result["left_out"].items())
            lines += ["", f"Not measured: {reasons}."]
    except KeyError as error:
        raise Wrong(f"{file} has no {error}") from error
    return "\n".join(lines) + "\n"


def where(result: Mapping[str, Any], file: str) -> str:
    """The line above a table."""
    machine = result["machine"]
    place = result["device"]
    if place == "cpu":
        place = f"{machine['cores']} CPU cores ({machine['processor']})"
    facts = [result["config"], place, result["dtype"], f"batch {result['batch_size']}", machine["time"][:10]]
    against = "ratios are to that library's in the same mode, eager or compiled; [least, most] of the rounds"
    return f"{KINDS[result['kind']]}: {', '.join(facts)} ([measured]({file})); {against}."


def row(name: str, variant: Mapping[str, Any], libraries: Sequence[str]) -> list[str]:
    """The cells of a variant."""
    memory, seconds = variant["peak_memory_mb"], variant["compile_s"]
    ratios = [
        "; ".join(spread(ratio, 2) for peer, ratio in variant["ratio"].items() if library(peer) == wanted)
        for wanted in libraries
    ]
    speed = variant["images_per_s"]
    return [
        name,
        spread(speed, digits(speed["median"])),
        *(ratio or "-" for ratio in ratios),
        "-" if memory is None else f"{memory:,.0f}",
        "-" if seconds is None else f"{seconds:.1f}",
    ]


def library(peer: str) -> str:
    """Where a peer comes from: a library has one column, whether its model is compiled or not."""
    return peer.removesuffix(COMPILED)


def digits(value: float) -> int:
    """Digits behind the point that leave three in all."""
    return 2 if value < 10 else 1 if value < 100 else 0


def spread(numbers: Mapping[str, float], places: int) -> str:
    """Median and extremes: "1,234 [1,200, 1,300]"."""
    median, low, high = (f"{numbers[name]:,.{places}f}" for name in ("median", "low", "high"))
    return f"{median} [{low}, {high}]"


if __name__ == "__main__":
    sys.exit(main())
