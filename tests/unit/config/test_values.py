"""Values are of the type that their key was declared with, or refused."""

from typing import Any, Literal

import pytest

from swin_train.config.values import coerce, leaves, shown, type_name


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, int, 3),
        (3, float, 3.0),
        ([1, [2]], tuple[int | tuple[int, ...], ...], (1, (2,))),
        ([0.9, 1], tuple[float, float], (0.9, 1.0)),
        ([[1], []], tuple[tuple[int, ...], ...], ((1,), ())),
        ([224, 192], tuple[int, int] | int, (224, 192)),
        (224, tuple[int, int] | int, 224),
        (None, float | None, None),
        (2, float | None, 2.0),
        ("no", Literal["no", "full"], "no"),
    ],
)
def test_legal_values_become_the_declared_type(value: Any, hint: Any, expected: Any) -> None:
    result = coerce(value, hint)

    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (True, int, "must be an integer; got True"),
        (True, float, "must be a number; got True"),
        (1.0, int, "must be an integer; got 1.0"),
        ("1", float, "must be a number; got the text '1'"),
        (float("nan"), float, "must be a number; got nan"),
        (float("inf"), float, "must be a number; got inf"),
        (10**400, float, "must be a number; got 1000"),
        (None, str, "must be text; got None"),
        (1, bool, "must be true or false; got 1"),
        (None, int, "must be an integer; got None"),
        ([1], tuple[float, float], r"must be a list of 2 numbers; got \[1\]"),
        ("ab", tuple[str, ...], "must be a list of texts; got the text 'ab'"),
        ([1, "x"], tuple[int, ...], r"must be a list of integers; got \[1, 'x'\]"),
        ("x", tuple[float, float] | None, "must be a list of 2 numbers or null; got the text 'x'"),
        ("b", Literal["a", "c"], "must be one of a, c; got the text 'b'"),
        (True, Literal[1, 2], "must be one of 1, 2; got True"),
        (1, Literal[0], "must be 0; got 1"),
    ],
)
def test_other_values_are_refused_by_name(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        coerce(value, hint)


def test_type_name_says_nested_lists() -> None:
    assert type_name(tuple[tuple[int, ...], ...]) == "a list of lists of integers"


def test_shown_shortens_long_values() -> None:
    assert len(shown("x" * 1000)) == 100


def test_leaves_reaches_every_depth() -> None:
    assert list(leaves(((1, (2,)), 3))) == [1, 2, 3]
