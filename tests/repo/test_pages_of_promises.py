"""Pages that promise something name tests that exist."""

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
SECURITY = (REPO / "SECURITY.md").read_text(encoding="utf-8")
RELIABILITY = (REPO / "docs/reliability.md").read_text(encoding="utf-8")


def rows(page: str, begin: str, end: str) -> list[str]:
    """The rows of the table between two headings."""
    part = page.partition(begin)[2].partition(end)[0].splitlines()
    return [row for row in part if row.startswith("| ") and not row.startswith("| ---")][1:]


@pytest.mark.parametrize("page", [SECURITY, RELIABILITY], ids=["SECURITY.md", "docs/reliability.md"])
def test_every_test_that_is_named_exists(page: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)

    assert len(named) > 20
    for path, name in named:
        assert (REPO / path).is_file(), path
        assert f"def {name}" in (REPO / path).read_text(encoding="utf-8"), f"{path}::{name}"


def test_every_promise_names_its_tests() -> None:
    promises = rows(SECURITY, "## What is promised", "## What is not promised")

    assert len(promises) >= 10
    assert all("`tests/" in row.rpartition(" | ")[2] for row in promises)


def test_all_35_promises_are_there_with_their_tests() -> None:
    promises = rows(RELIABILITY, "## The promises", "## What is not promised")

    numbers = [int(row.split("|")[1]) for row in promises]
    assert numbers == list(range(1, 36))
    assert all("`tests/" in row.rpartition(" | ")[2] for row in promises)
