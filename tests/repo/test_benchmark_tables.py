"""The tables of benchmarks in README.md and docs/ are what their result files say."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]
SCRIPT = REPO / "scripts/benchmark_tables.py"
FILE = "some-gpu/2026-01-02-train-step.json"
BLOCK = f"<!-- benchmark: {FILE} train-step -->\n<!-- end -->"


def spread(median: float, low: float, high: float) -> dict[str, float]:
    return {"median": median, "low": low, "high": high}


RESULT = {
    "kind": "train-step",
    "machine": {"time": "2026-01-02T03:04:05+0000", "cores": 2, "processor": "Some CPU"},
    "config": "swin_tiny_patch4_window7_224",
    "device": "Some GPU",
    "dtype": "bfloat16",
    "batch_size": 128,
    "variants": {
        "swin_train": {
            "images_per_s": spread(1234.4, 1200.0, 1300.0),
            "ratio": {"timm": spread(1.5, 1.4, 1.6), "torchvision": spread(2.0, 1.9, 2.1)},
            "peak_memory_mb": 10240.4,
            "compile_s": None,
        },
        "swin_train compiled": {
            "images_per_s": spread(2000.0, 1900.0, 2100.0),
            "ratio": {"timm compiled": spread(1.25, 1.2, 1.3)},
            "peak_memory_mb": None,
            "compile_s": 12.34,
        },
        "timm": {
            "images_per_s": spread(8.229, 8.0, 9.0),
            "ratio": {},
            "peak_memory_mb": 1.0,
            "compile_s": None,
        },
    },
    "left_out": {"reference": "it has no\nsuch model"},
}
# Written down by hand from RESULT.
TABLE = """\
Training step (forward, backward, clipping, AdamW): swin_tiny_patch4_window7_224, Some GPU, bfloat16, batch 128, \
2026-01-02 ([measured]({link})); ratios are to that library's in the same mode, eager or compiled; [least, most] of \
the rounds.

|  | images/s | x timm | x torchvision | peak memory, MB | compile, s |
| --- | --: | --: | --: | --: | --: |
| swin_train | 1,234 [1,200, 1,300] | 1.50 [1.40, 1.60] | 2.00 [1.90, 2.10] | 10,240 | - |
| swin_train compiled | 2,000 [1,900, 2,100] | 1.25 [1.20, 1.30] | - | - | 12.3 |
| timm | 8.23 [8.00, 9.00] | - | - | 1 | - |

Not measured: reference (it has no such model).
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_tables", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout whose README and one page have a block each, still empty, and its result file."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(f"# Title\n\n{BLOCK}\n\nText.\n")
    (tmp_path / "docs/a.md").write_text(f"Text.\n{BLOCK}\n")
    write(tmp_path, RESULT)
    return tmp_path


def write(root: Path, result: dict[str, Any]) -> None:
    path = root / "benchmarks/results" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))


def test_the_tables_of_the_documents_are_what_their_files_say(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    status = script.main(["--check"])

    assert status == 0, "".join(capsys.readouterr())


def test_a_block_becomes_the_table_of_its_file_and_what_is_around_it_stays(
    script: ModuleType, root: Path
) -> None:
    assert script.main(["--root", str(root)]) == 0

    begin, end = BLOCK.split("\n")
    readme, page = ((root / name).read_text() for name in ("README.md", "docs/a.md"))
    table = TABLE.format(link=f"benchmarks/results/{FILE}")
    assert readme == f"# Title\n\n{begin}\n{table}{end}\n\nText.\n"
    assert page == f"Text.\n{begin}\n{table.replace('(benchmarks', '(../benchmarks')}{end}\n"
    assert script.main(["--root", str(root), "--check"]) == 0
    assert script.main(["--root", str(root)]) == 0
    assert (root / "README.md").read_text() == readme


def test_a_changed_figure_is_found_and_nothing_is_written(
    script: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.main(["--root", str(root)])
    page = root / "docs/a.md"
    page.write_text(page.read_text().replace("1,234 [", "1,235 ["))
    before = page.read_text()
    capsys.readouterr()

    assert script.main(["--root", str(root), "--check"]) == 1

    said = capsys.readouterr().out
    assert f"docs/a.md: {FILE} train-step differs" in said
    assert "README.md" not in said
    assert page.read_text() == before


def test_another_result_changes_every_table_of_it(script: ModuleType, root: Path) -> None:
    script.main(["--root", str(root)])
    write(root, RESULT | {"batch_size": 64})

    assert script.main(["--root", str(root), "--check"]) == 1
    assert script.main(["--root", str(root)]) == 0

    assert all("batch 64," in (root / name).read_text() for name in ("README.md", "docs/a.md"))


def test_on_a_cpu_the_line_names_the_processor(script: ModuleType) -> None:
    assert ", 2 CPU cores (Some CPU), bfloat16," in script.table(RESULT | {"device": "cpu"}, "f.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- benchmark: a/b.json inference -->\n<!-- end -->", "there is no file benchmarks/results/a/b.json"),
        (BLOCK.replace(" train-step -->", " inference -->"), f"{FILE} is of the kind train-step"),
        (BLOCK.replace(" train-step -->", " loader -->"), "there is no kind loader; there are train-step, inference"),
        (BLOCK.replace(" train-step -->", " -->"), "a block must read"),
        (BLOCK.replace("<!-- end -->", ""), "a block must read"),
        (f"{BLOCK.replace('<!-- end -->', '')}\n{BLOCK}", "a block must read"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("options", [[], ["--check"]])
def test_a_block_that_cannot_be_written_is_an_error_and_no_page_is_touched(
    script: ModuleType,
    root: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    text: str,
    message: str,
) -> None:
    readme = (root / "README.md").read_text()
    (root / "docs/a.md").write_text(text)

    assert script.main(["--root", str(root), *options]) == 1

    said = capsys.readouterr()
    assert said.out == ""
    assert "docs/a.md" in said.err
    assert message in said.err
    assert (root / "README.md").read_text() == readme
    assert (root / "docs/a.md").read_text() == text


def test_a_result_file_that_is_damaged_is_an_error_that_says_what_is_wrong(
    script: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(root, {key: value for key, value in RESULT.items() if key != "batch_size"})
    assert script.main(["--root", str(root)]) == 1
    assert f"{FILE} has no 'batch_size'" in capsys.readouterr().err

    (root / "benchmarks/results" / FILE).write_text("{")
    assert script.main(["--root", str(root)]) == 1
    assert f"{FILE} is no JSON" in capsys.readouterr().err
