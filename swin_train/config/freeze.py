"""What TRAIN.FREEZE says."""

import re
from typing import Literal

ALL_BUT_HEAD: Literal["all_but_head"] = "all_but_head"

_RULE = re.compile(r"none|all_but_head|stages ([1-9][0-9]{0,8})")


def parse_freeze(rule: str) -> int | Literal["all_but_head"]:
    """How many stages a rule freezes, the patch embedding with the first, or that it is all but the head.

    Raises:
        ValueError: the rule is none of those known; the message says which there are.
    """
    match = _RULE.fullmatch(rule)
    if not match:
        raise ValueError('expected none, "stages N" or all_but_head')
    return ALL_BUT_HEAD if rule == ALL_BUT_HEAD else int(match[1] or 0)
