"""What the pickles in a file of ``torch.save`` look up, listed from their instructions, none of which is run."""

import pickletools
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

Instruction = tuple[pickletools.OpcodeInfo, Any, int | None]  # with its argument, and where it stands

_ZIP = b"PK\3\4"
_OLDER_PICKLES = 5  # that stand before the tensors of an older file
STRINGS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
PUTS = ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT")
GETS = ("GET", "BINGET", "LONG_BINGET")


def pickle_names(file: Path) -> tuple[int, list[str]]:
    """List the classes and functions that unpickling a zip archive or an older file would look up.

    For messages alone: a file can be made whose names no list of instructions shows.

    Returns:
        The highest protocol of the pickles, and each name once, as "posix.system"; of a damaged file perhaps none.
    """
    protocol, names = 0, dict[str, None]()
    with suppress(Exception):  # what is no pickle raises nearly anything
        for instructions in pickles(file):
            protocol = max(protocol, *map(_protocol, instructions))
            names.update(dict.fromkeys(_names(instructions)))
    return protocol, list(names)


def is_archive(file: Path) -> bool:
    """Whether torch reads a file as a zip archive, not as one of its older files."""
    with file.open("rb") as content:
        return content.read(len(_ZIP)) == _ZIP


def pickles(file: Path) -> Iterator[list[Instruction]]:
    """Every pickle that a reader could take for the file's own; one that cannot be listed is an error."""
    if is_archive(file):
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.lower().endswith("data.pkl"):
                    yield list(pickletools.genops(archive.read(name)))
        return
    with file.open("rb") as content:
        for _ in range(_OLDER_PICKLES):
            yield list(pickletools.genops(content))


def _protocol(instruction: Instruction) -> int:
    opcode, argument, _ = instruction
    return int(argument) if opcode.name == "PROTO" else opcode.proto


def _names(instructions: list[Instruction]) -> Iterator[str]:
    """From protocol 4 on a name is two strings on the stack, each perhaps one that was put aside before."""
    aside: dict[int, str | None] = {}
    strings: list[str] = []
    top: str | None = None  # of the stack, where that is a string
    for opcode, argument, _ in instructions:
        if opcode.name in PUTS:
            aside[len(aside) if argument is None else argument] = top
            continue
        if opcode.name in ("GLOBAL", "INST"):
            yield argument.replace("__builtin__ ", "builtins ").replace(" ", ".")  # Python 2's name
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])
        top = argument if opcode.name in STRINGS else aside.get(argument) if opcode.name in GETS else None
        strings += [top] if top is not None else []
