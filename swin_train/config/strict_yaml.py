"""Read YAML strictly: one small document, no tags, no anchors, no guesses.

PyYAML follows YAML 1.1, where ``1e-8`` is text, ``010`` is 8 and ``12:30`` is 750. Here a plain scalar is
null, a boolean, a decimal integer or a decimal number, and otherwise text.
"""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

_MAX_BYTES = 1 << 18  # a weight for each of 21,841 classes takes less
_MAX_DEPTH = 20  # PyYAML composes recursively
_MAX_VALUES = 30_000  # each takes 50 us
_MAX_PROBLEMS = 20  # of one file; there may be a million

_NUMBER = r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
_SCALARS: tuple[tuple[str, str, Callable[[str], Any]], ...] = (  # tag, pattern, meaning
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|None|", lambda text: None),
    (
        "tag:yaml.org,2002:bool",
        r"(?i:true|false|yes|no|on|off)",
        lambda t: t.lower() in ("true", "yes", "on"),
    ),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]{0,17})", int),
    ("tag:yaml.org,2002:float", _NUMBER, float),
)
_MEANING = {tag: meaning for tag, _, meaning in _SCALARS}
_RESOLVERS = {None: [(tag, re.compile(rf"(?:{pattern})\Z")) for tag, pattern, _ in _SCALARS]}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _RESOLVERS


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = _RESOLVERS  # quotes exactly the text that would be read as something else

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(
        self, tag: str, sequence: Any, flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=True)


def read_file(path: Path, problems: list[str]) -> yaml.Node | None:
    """Give the document of a file as a tree that knows its lines.

    Returns None for an empty file and where a problem was added: "file:line: what is wrong".
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            problems.append(f"{path}: is larger than {_MAX_BYTES} bytes; a configuration is a small file")
            return None
        text = data.decode("utf-8-sig")
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
        return None
    except UnicodeDecodeError as error:
        problems.append(f"{path}: is not UTF-8 text (byte {error.start})")
        return None
    return read_text(text, str(path), problems)


def read_text(text: str, where: str, problems: list[str]) -> yaml.Node | None:
    """Give the document in ``text`` as a tree; ``where`` names it in the problems that are added."""
    try:
        found = [f"{where}:{line + 1}: {what}" for line, what in islice(_forbidden(text), _MAX_PROBLEMS)]
        problems += found
        return None if found else yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problems.append(f"{where}{line}: is not valid YAML: {error.problem}")
    except yaml.YAMLError as error:
        problems.append(f"{where}: is not valid YAML: {' '.join(str(error).split())}")
    return None


def plain_value(node: yaml.Node) -> Any:
    """Give a tree as lists, dictionaries, text, numbers, booleans and None."""
    if isinstance(node, yaml.SequenceNode):
        return [plain_value(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): plain_value(value) for key, value in node.value}
    return _MEANING.get(node.tag, str)(node.value)


def write_text(tree: Any) -> str:
    """Give nested dictionaries, or a value, as YAML that :func:`read_text` reads back equal."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True)


def _forbidden(text: str) -> Iterator[tuple[int, str]]:
    depth = documents = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        line = event.start_mark.line if event.start_mark else 0
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if isinstance(event, yaml.AliasEvent):
            yield line, f"aliases (*{anchor}) are not allowed; write the value out, or use BASE"
        elif anchor:
            yield line, f"anchors (&{anchor}) are not allowed; write the value out, or use BASE"
        if tag:
            yield line, f"tags ({tag}) are not allowed; write a plain value"
        if count > _MAX_VALUES:
            yield line, f"holds more than {_MAX_VALUES} values; a configuration is a small file"
            return
        if documents > 1:
            yield line, "a second document starts; a configuration is one document"
            return
        if depth > _MAX_DEPTH:
            yield line, f"is nested more than {_MAX_DEPTH} deep"
            return
