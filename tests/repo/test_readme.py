"""The commands that README and docs/ show are commands that work."""

import json
import os
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from swin_train.cli import (
    benchmark_kernel,
    benchmark_loader,
    benchmark_model,
    benchmark_scaling,
    config,
    convert,
    describe,
    evaluate,
    fit,
    prepare_data,
    train,
    verify_data,
)

BENCHMARKS = {
    "loader": benchmark_loader.parser,
    "train-step": partial(benchmark_model.parser, "train-step"),
    "inference": partial(benchmark_model.parser, "inference"),
    "kernel": benchmark_kernel.kernel_parser,
    "roofline": benchmark_kernel.roofline_parser,
    "scaling": benchmark_scaling.parser,
}
REPO = Path(__file__).resolve().parents[2]


def lines_of_shell() -> list[list[str]]:
    """Return the words of every line in the shell blocks of README and docs/."""
    pages = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
    text = "\n".join(page.read_text() for page in pages)
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def behind(word: str) -> list[list[str]]:
    """Return what stands behind a word, in each line that has it."""
    return [words[words.index(word) + 1 :] for words in lines_of_shell() if word in words]


def commands() -> list[list[str]]:
    """Return the arguments of every main.py command, those that a launcher gives it included."""
    launched = [words[words.index("--") + 1 :] for words in behind("scripts/launch.sh")]
    return [*behind("main.py"), *launched, *behind("scripts/slurm/train.sbatch")]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_a_command_of_the_readme_is_accepted(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(REPO)
    (tmp_path / "my.yaml").touch()
    arguments = [str(tmp_path / word) if word == "my.yaml" else word for word in arguments]

    match arguments:
        case ["config", *rest]:
            assert config.run(rest) == 0
        case ["describe", *rest]:
            assert describe.run(rest) == 0
        case ["convert", *rest]:
            assert convert.parser().read(rest).to
        case ["eval", *rest]:
            assert evaluate.parser().read_config(rest).DATA.DATA_PATH
        case ["fit", *rest]:
            assert fit.parser().read_config(rest).is_training
        case ["build-native"]:
            pass  # it has no arguments; tests/unit/cli runs it
        case ["prepare-data", *rest]:
            assert prepare_data.parser().read(rest).to
        case ["verify-data", *rest]:
            assert verify_data.parser().read(rest).data_path
        case ["benchmark", what, *rest]:
            assert BENCHMARKS[what]().read_config(rest).MODEL.NAME
        case _:
            assert train.flat_parser().read_config(arguments).DATA.DATA_PATH


@pytest.mark.parametrize("words", behind("scripts/launch.sh"), ids=" ".join)
def test_a_launch_of_the_documentation_is_accepted(words):
    command = [REPO / "scripts/launch.sh", "--dry-run", *words]
    subprocess.run(command, check=True, env={**os.environ, "PYTHON": sys.executable})


def test_the_readme_has_commands():
    assert len(commands()) >= 8
    assert len(behind("scripts/launch.sh")) >= 4
    assert behind("scripts/slurm/train.sbatch")


def test_the_figures_of_the_demo_are_those_that_were_measured():
    files = sorted((REPO / "benchmarks/results").glob("*/*-demo.json"))
    summary = json.loads(files[-1].read_text())
    table = (REPO / "README.md").read_text().split("Swin on 360 held-out digits")[1]

    assert table.startswith(f" ({summary['seconds']} s)")
    for row in summary["runs"]:
        figures = (f"{row['best_top1']:.2f}", f"{row['last_top1']:.2f}", f"{row['images_per_s']:.0f}")
        cells = [row["run"], f"{row['size']} px", *figures]
        assert re.search(r"\s*│\s*".join(map(re.escape, cells)), table), cells


def test_the_scripts_that_the_readme_names_exist():
    named = set(re.findall(r"scripts/\w+\.sh", (REPO / "README.md").read_text()))

    assert {"scripts/demo.sh", "scripts/test.sh", "scripts/check.sh"} <= named
    assert all((REPO / name).is_file() for name in named)
