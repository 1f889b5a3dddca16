"""The linter says at once what tests/repo/test_security.py looks for: its table of banned names has an effect."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
BANNED = PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]


@pytest.mark.parametrize("name", BANNED)
def test_a_banned_name_is_an_error_in_the_package_and_none_in_its_tests(name: str) -> None:
    def errors(file: str) -> str:
        command = [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--output-format",
            "concise",
            "--stdin-filename",
            file,
            "-",
        ]
        module, _, last = name.rpartition(".")
        source = f"from {module} import {last}\n" if module else f"import {name}\n"
        return subprocess.run(
            command, input=source, cwd=REPO, capture_output=True, text=True, check=False
        ).stdout

    assert f"TID251 `{name}` is banned" in errors("swin_train/new.py")
    assert "TID251" not in errors("tests/unit/test_new.py")
