"""Configurations that would fill the memory, or take hours to refuse, are refused before they do."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from swin_train.config import load_config

LETTERS = "abcdefghij"
BOMBS: dict[str, tuple[str, str]] = {
    "aliases": (
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in pairwise(LETTERS)),
        "anchors (&a) are not allowed",
    ),
    "as many aliases as fit": (f"A: [{'*a,' * 80_000}]", "aliases (*a) are not allowed"),
    "an anchor in itself": ("A: &a [*a]", "anchors (&a) are not allowed"),
    "a merge key": ("A: &a {B: 1}\nC: {<<: *a}", "anchors (&a) are not allowed"),
    "depth in brackets": ("A: " + "[" * 100_000, "is nested more than 20 deep"),
    "depth in braces": ("{A: " * 20_000, "is nested more than 20 deep"),
    "depth in lines": ("\n".join(" " * depth + "A:" for depth in range(500)), "is nested more than 20 deep"),
    "size": ("#" * (1 << 19), "is larger than 262144 bytes"),
    "values": (f"MODEL: {{SWIN: {{DEPTHS: [{'1,' * 100_000}]}}}}", "holds more than 30000 values"),
    "one key": ("SEED: 1\n" * 10_000, "SEED is given twice, first on line 1"),
    "unknown keys": ("".join(f"KEY{number}: 1\n" for number in range(10_000)), "unknown key KEY0"),
    "files": (f"BASE: [{'x.yaml,' * 20_000}]", "x.yaml: no such file"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_100_mb(tmp_path: Path, name: str, confined: Callable) -> None:
    text, reason = BOMBS[name]
    file = tmp_path / "bomb.yaml"
    file.write_text(text)

    message = confined(lambda: load_config(file))

    assert f"{file}:" in message
    assert reason in message
