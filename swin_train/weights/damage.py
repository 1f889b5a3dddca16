"""Why a file of weights cannot be read: truncated, text, or something else."""

import json
import re
import struct
import zipfile
from pathlib import Path

_LONGEST_HEADER = 100_000_000  # bytes that safetensors allows
_START = 64  # bytes that tell text from anything else
# What torch's reader of older files raises where one ends too early.
_ENDS = (EOFError, IndexError, struct.error)
_TELLS_OF_AN_END = re.compile(
    r"unexpected EOF|pickle exhausted|not enough data|only \d+ remain|no newline found"
)


def describe_damage(file: Path, error: Exception) -> str:
    """What seems wrong with a file that could not be read, in words.

    Args:
        file: it has at least one byte.
        error: what its reader raised.
    """
    try:
        with file.open("rb") as content:
            start = content.read(_START)
        if text := text_at(start):
            return f"is text, not weights; it begins with {text!r}"
        if _is_truncated(file, start, error):
            return "is truncated, it ends before what it says it holds"
    except OSError as refusal:  # such as no permission, which is what its reader met too
        return f"cannot be read ({refusal})"
    return f"cannot be read as a checkpoint, it is damaged or of another kind ({type(error).__name__})"


def text_at(start: bytes) -> str:
    """The first characters of what begins as no file of weights does: messages of errors, pointers of Git LFS."""
    start = start[:_START]
    is_text = len(start) > 1 and all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start)
    return start.decode() if is_text else ""


def _is_truncated(file: Path, start: bytes, error: Exception) -> bool:
    if file.suffix == ".safetensors":
        return _safetensors_size(file, start) > file.stat().st_size
    if start.startswith(b"PK"):  # a zip archive, whose table of contents stands at the end
        return not zipfile.is_zipfile(file)
    return isinstance(error, _ENDS) or bool(_TELLS_OF_AN_END.search(str(error)))


def _safetensors_size(file: Path, start: bytes) -> int:
    """The length that a safetensors file's own header asks for, in bytes; 0 where it is no such header."""
    length = int.from_bytes(start[:8], "little")
    end = 8 + length
    if length > _LONGEST_HEADER:
        return 0
    if end > file.stat().st_size:
        return end
    try:
        with file.open("rb") as content:
            header = json.loads(content.read(end)[8:])
        return end + max(
            tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return 0
