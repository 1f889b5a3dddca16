"""The rules of TRAIN.FREEZE."""

import pytest

from swin_train.config.freeze import ALL_BUT_HEAD, parse_freeze


@pytest.mark.parametrize(
    ("rule", "frozen"), [("none", 0), ("stages 1", 1), ("stages 12", 12), ("all_but_head", ALL_BUT_HEAD)]
)
def test_a_rule_says_what_is_frozen(rule: str, frozen: int | str) -> None:
    assert parse_freeze(rule) == frozen


@pytest.mark.parametrize("rule", ["", "head", "stages", "stages 0", "stages x", "stages 1 2", "None"])
def test_an_unknown_rule_names_the_known_ones(rule: str) -> None:
    with pytest.raises(ValueError, match='expected none, "stages N" or all_but_head'):
        parse_freeze(rule)
