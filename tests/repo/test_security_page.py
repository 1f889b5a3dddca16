"""The tests that SECURITY.md names exist."""

import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "SECURITY.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)

    assert len(named) > 20
    for path, name in named:
        assert (REPO / path).is_file(), path
        assert f"def {name}" in (REPO / path).read_text(encoding="utf-8")


def test_every_promise_names_its_tests() -> None:
    rows = PAGE.partition("## What is promised")[2].partition("## What is not promised")[0].splitlines()
    promises = [row for row in rows if row.startswith("| ")][2:]

    assert len(promises) >= 10
    assert all("`tests/" in row.rpartition(" | ")[2] for row in promises)
