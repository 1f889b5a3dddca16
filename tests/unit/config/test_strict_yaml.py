"""YAML is read without guesses, and every problem has its line."""

from pathlib import Path
from typing import Any

import pytest

from swin_train.config.strict_yaml import plain_value, read_file, read_text, write_text


def parse(text: str) -> tuple[Any, list[str]]:
    problems: list[str] = []
    node = read_text(text, "f.yaml", problems)
    return (plain_value(node) if node else None), problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-8", 1e-8),
        ("2e-05", 2e-5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-3", -3),
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("None", None),
        ("none", "none"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"),
        ("'5'", "5"),
        ("[1, a, [true]]", [1, "a", [True]]),
        ("{A: 1}", {"A": 1}),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, value: Any) -> None:
    parsed, problems = parse(text)

    assert parsed == value
    assert type(parsed) is type(value)
    assert not problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A: !!python/tuple [1]", "f.yaml:1: tags (tag:yaml.org,2002:python/tuple) are not allowed"),
        ("\nA: &x 1", "f.yaml:2: anchors (&x) are not allowed"),
        ("A: 1\nB: *x", "f.yaml:2: aliases (*x) are not allowed"),
        ("A: 1\n---\nB: 1", "f.yaml:2: a second document starts"),
        ("A: " + "[" * 30 + "]" * 30, "f.yaml:1: is nested more than 20 deep"),
        ("A: [" + "1," * 30_000 + "]", "f.yaml:1: holds more than 30000 values"),
        ("A: 1\nB: [1", "f.yaml:2: is not valid YAML: expected ',' or ']'"),
        ("A: 1\n  B: 2", "f.yaml:2: is not valid YAML"),
        ("A: \x01", "f.yaml: is not valid YAML: unacceptable character"),
    ],
)
def test_what_is_not_plain_yaml_is_a_problem_with_its_line(text: str, problem: str) -> None:
    parsed, problems = parse(text)

    assert parsed is None
    assert problems
    assert problems[0].startswith(problem)


def test_of_very_many_problems_the_first_are_told() -> None:
    _, problems = parse("A: [" + "*x," * 10_000 + "]")

    assert len(problems) == 20


def test_an_empty_file_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    problems: list[str] = []

    assert read_file(tmp_path / "empty.yaml", problems) is None
    assert problems == []


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfA: 1")
    problems: list[str] = []

    node = read_file(tmp_path / "bom.yaml", problems)

    assert node is not None
    assert plain_value(node) == {"A": 1}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"A: \xff", "is not UTF-8 text (byte 3)"),
        (b"#" * (1 << 18) + b"#", "is larger than 262144 bytes"),
        (None, "cannot be read: Is a directory"),
    ],
)
def test_an_unreadable_file_is_a_problem(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "x.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    problems: list[str] = []

    assert read_file(path, problems) is None
    assert problems[0].startswith(f"{path}: {problem}")


@pytest.mark.parametrize("value", ["no", "1e-8", "1.50", "~", "", "None", 1e-8, 3, True, None, "a: b", "#"])
def test_what_is_written_reads_back_equal(value: Any) -> None:
    tree = {"A": {"B": value, "C": [value]}}

    parsed, problems = parse(write_text(tree))

    assert parsed == tree
    assert not problems
