"""What torch's reader takes for data and makes larger than the file that asks for it: values made by a number alone.

Told from the instructions of the pickles, none of which is run.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from swin_train.weights.pickle_names import GETS, PUTS, STRINGS, Instruction, pickles

# With a number for an argument each of them makes so many bytes; data looks none of them up.
_BY_NUMBER = re.compile(r"(builtins\.|__builtin__\.)bytearray|torch\.(\w+\.)*(\w*Tensor|TypedStorage)")


class _Top(NamedTuple):
    """What is on top of a stack: a "name" that was looked up, or a "string"."""

    kind: str
    text: str


_NOTHING = _Top("", "")  # that matters
# So bytes are written: as a string of as many characters, which latin1 makes bytes again. Others make it longer.
_ENCODE, _LATIN1 = _Top("name", "_codecs.encode"), _Top("string", "latin1")
_STRING, _GET = "|".join(STRINGS), "|".join(GETS)
_CALL = re.compile(rf"({_STRING}) ({_STRING}|{_GET}) TUPLE2? REDUCE\b")
# So values that lie in the file are written: a kind of storage within what names them.
_STORAGE = _Top("name", "torch.storage.UntypedStorage")
_STORED = re.compile(
    rf"({_STRING}|{_GET}) ({_STRING}|{_GET}) (BININT[12]?|LONG[14]?|INT) (NONE )?TUPLE BINPERSID\b"
)


def maker_by_number(file: Path) -> str | None:
    """Return the name of what a file of ``torch.save`` would call to make values that it does not hold.

    Raises:
        Exception: of nearly any kind, where the file is no whole one.
    """
    for instructions in pickles(file):
        if found := _maker(instructions):
            return found
    return None


def _maker(instructions: Sequence[Instruction]) -> str | None:
    aside: dict[object, _Top] = {}  # what was put aside, by its number
    top = _NOTHING
    for place, (opcode, argument, _) in enumerate(instructions):
        if opcode.name in PUTS:
            aside[argument] = top
            continue
        top = _pushed(opcode.name, argument, aside)
        if top.kind == "name" and not _makes_what_is_there(top, instructions[place + 1 : place + 20], aside):
            return top.text
    return None


def _pushed(opcode: str, argument: object, aside: Mapping[object, _Top]) -> _Top:
    """What is on top of the stack after an instruction, where that is known."""
    if opcode in ("GLOBAL", "INST"):
        return _Top("name", str(argument).replace(" ", "."))
    if opcode in STRINGS:
        return _Top("string", str(argument))
    return aside.get(argument, _NOTHING) if opcode in GETS else _NOTHING


def _makes_what_is_there(name: _Top, rest: Sequence[Instruction], aside: Mapping[object, _Top]) -> bool:
    """Whether a name that is on top of the stack is one that data looks up, and what follows uses it as data does."""
    steps = [step for step in rest if step[0].name not in (*PUTS, "MARK")]
    kinds = " ".join(opcode.name for opcode, _, _ in steps)
    if name == _ENCODE:
        return bool(_CALL.match(kinds)) and _pushed(steps[1][0].name, steps[1][1], aside) == _LATIN1
    if name == _STORAGE:
        return bool(_STORED.match(kinds))
    return not _BY_NUMBER.fullmatch(name.text)
