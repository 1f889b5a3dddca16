"""Build a configuration: defaults < BASE < YAML < --opts < flags, with all problems in one error."""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from swin_train.config.checks import check, idle_keys
from swin_train.config.node import Option
from swin_train.config.paths import find_config
from swin_train.config.schema.root import Config, did_you_mean, nearest
from swin_train.config.strict_yaml import plain_value, read_file, read_text
from swin_train.config.values import shown
from swin_train.errors import UserError
from swin_train.redact import redacted

logger = logging.getLogger(__name__)

_MAX_CHAIN = 20  # files, each naming the next as its BASE
_MAX_FILES = 100  # of all chains: twenty files that name the next one twice are a million
_MAX_PROBLEMS = 50  # nobody reads more, and a file of wrong keys alone may hold ten thousand

_BETWEEN = re.compile(r"[\s,x]+")  # what people type between numbers: 256 320, 256,320, 256x320
_NUMBERS = re.compile(r"[-+.\deE\s,x]+")


class ConfigError(UserError):
    """All that is wrong with a configuration; ``problems`` holds one line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n  - ".join([f"{count} in the configuration:", *problems]))


class Assignment(NamedTuple):
    """One key on its way into the configuration."""

    key: str
    value: Any  # a YAML node from a file, text from a command line, or a Python object
    origin: str


def load_config(
    path: str | Path | None,
    overrides: Sequence[Any] = (),
    flags: Iterable[tuple[str, Any, str]] = (),
    *,
    overrides_origin: str = "--opts",
) -> Config:
    """Read, check and freeze a configuration.

    Args:
        path: a YAML file, or the name of a configuration that comes with this project, such as
            "swin_tiny_patch4_window7_224"; None is the defaults.
        overrides: KEY, VALUE, KEY, VALUE as after --opts; text is read as YAML.
        flags: (key, value, the flag as typed), applied last.
        overrides_origin: what messages call ``overrides``.

    Raises:
        ConfigError: a file cannot be read, a key is unknown, a value is wrong, or keys contradict each other.
    """
    loader = _Loader()
    if path is not None:
        loader.read(path, "--cfg")
    for assignment in [*loader.pair(overrides, overrides_origin), *(Assignment(*flag) for flag in flags)]:
        loader.assign_typed(assignment)
    cfg = Config(loader.values, loader.origins)
    problems = list(loader.problems)
    if not loader.is_torn:
        problems += [_located(cfg, key, text) for key, text in check(cfg, loader.doubtful)]
    if problems:
        raise ConfigError(problems)
    for key, text in idle_keys(cfg):
        logger.warning("%s: %s %s", cfg.origins[key], key, text)
    return cfg


class _Loader:
    """Collects values with their origins, and the problems met on the way.

    ``doubtful`` holds the keys that a problem was about; ``is_torn`` says that nobody knows which keys are
    missing, for example because a file cannot be read.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.problems: list[str] = []
        self.doubtful: set[str] = set()
        self.is_torn = False
        self._num_files = 0
        self._typed: dict[str, Assignment] = {}
        self._options = dict(Config.walk())
        self._sections = dict(Config.walk_sections())

    def read(self, path: str | Path, origin: str, chain: tuple[Path, ...] = ()) -> None:
        """Assign what the BASE files of a file say, then what the file itself says."""
        try:
            file = _tidy(find_config(path, chain[-1].parent if chain else None))
        except FileNotFoundError as error:
            self._tear(f"{origin}: {error}")
            return
        if file.suffix == ".py":
            self._tear(f"{origin}: {file} is Python code, and none is run; write its values as YAML")
            return
        if file in chain:
            self._tear(f"{origin}: BASE files form a circle: {' -> '.join(map(str, (*chain, file)))}")
            return
        if len(chain) == _MAX_CHAIN:
            self._tear(f"{origin}: BASE files form a chain of more than {_MAX_CHAIN} files")
            return
        self._num_files += 1
        if self._num_files > _MAX_FILES:
            raise ConfigError([*self.problems, f"{origin}: BASE leads to more than {_MAX_FILES} files"])
        known = len(self.problems)
        tree = read_file(file, self.problems)
        self.is_torn |= len(self.problems) > known
        if isinstance(tree, yaml.MappingNode):
            assignments = list(self._flatten(tree, "", file, {}))
            for parent, line in self._bases(assignments):
                self.read(parent, line, (*chain, file))
            for assignment in assignments:
                if assignment.key != "BASE":
                    self.assign(assignment)
        elif tree is not None:
            self._tear(f"{file}: must hold KEY: VALUE lines; got {shown(plain_value(tree))}")

    def pair(self, overrides: Sequence[Any], origin: str) -> Iterator[Assignment]:
        """Cut KEY, VALUE, KEY, VALUE into assignments."""
        if len(overrides) % 2:
            last = shown(overrides[-1])
            self._tear(f"{origin}: {last} has no value; write KEY VALUE pairs, set apart by spaces")
        for key, value in zip(overrides[::2], overrides[1::2], strict=False):
            yield Assignment(str(key), value, origin)

    def assign_typed(self, new: Assignment) -> None:
        """Take over a value from the command line; the later one holds if it gives two, with a warning."""
        before = self.values.get(new.key)
        self.assign(new)
        old = self._typed.setdefault(new.key, new)
        if old is not new and self.values.get(new.key) != before:
            logger.warning(
                "%s is given twice: %s says %s, %s says %s; the latter holds",
                *(new.key, old.origin, redacted(str(old.value)), new.origin, redacted(str(new.value))),
            )
        self._typed[new.key] = new

    def assign(self, assignment: Assignment) -> None:
        """Take over one value, or note what is wrong with it."""
        key, value, origin = assignment
        if key in self._sections:
            if not (
                isinstance(value, yaml.Node) and plain_value(value) is None
            ):  # "TRAIN:" is an empty section
                self._doubt(key, f"{origin}: {key} is a section; set one of its keys")
        elif key not in self._options:
            self._doubt(nearest(key), f"{origin}: unknown key {key}.{did_you_mean(key)}")
        elif key == "BASE":
            self._tear(f"{origin}: BASE can only be given in a YAML file")
        else:
            try:
                self.values[key] = _interpret(value, self._options[key])
                self.origins.pop(key, None)  # what is set last comes last
                self.origins[key] = origin
            except ValueError as error:
                self._doubt(key, f"{origin}: {key} {error}")

    def _doubt(self, key: str, problem: str) -> None:
        """Note a problem that leaves open what a key, or the keys of a section, were to be."""
        self._note(problem)
        self.doubtful |= {known for known in self._options if known == key or known.startswith(f"{key}.")}

    def _tear(self, problem: str) -> None:
        """Note a problem that leaves open which keys were to be set."""
        self._note(problem)
        self.is_torn = True

    def _note(self, problem: str) -> None:
        self.problems.append(problem)
        if len(self.problems) >= _MAX_PROBLEMS:
            raise ConfigError([*self.problems, "and perhaps more: reading ended here"])

    def _bases(self, assignments: Iterable[Assignment]) -> Iterator[tuple[str, str]]:
        for key, value, origin in assignments:
            if key == "BASE":
                try:
                    yield from ((name, origin) for name in _interpret(value, self._options[key]) if name)
                except ValueError as error:
                    self._tear(f"{origin}: {key} {error}")

    def _flatten(
        self, tree: yaml.MappingNode, prefix: str, file: Path, seen: dict[str, int]
    ) -> Iterator[Assignment]:
        for key_node, node in tree.value:
            line = key_node.start_mark.line + 1
            name = plain_value(key_node)
            key = f"{prefix}{name}"
            if not isinstance(name, str) or "." in name:
                self._doubt(
                    nearest(key), f"{file}:{line}: {shown(name)} is no key; write one name, and nest sections"
                )
            elif key in seen:
                self._doubt(key, f"{file}:{line}: {key} is given twice, first on line {seen[key]}")
            elif key in self._sections and isinstance(node, yaml.MappingNode):
                yield from self._flatten(node, f"{key}.", file, seen)
            else:
                yield Assignment(key, node, f"{file}:{line}")
            seen.setdefault(key, line)


def _interpret(raw: Any, option: Option) -> Any:
    """Give what a value from any origin means for a key. Raises ValueError ("must be ...; got ...")."""
    if isinstance(raw, str) and not option.is_text:
        raw = _parse(raw)
    if isinstance(raw, yaml.Node):
        value = plain_value(raw)
        as_typed = isinstance(raw, yaml.ScalarNode) and option.reads_as_typed(value)
        raw = raw.value if as_typed else value
    try:
        return option.coerce(raw)
    except ValueError as error:
        raise ValueError(f"{error}{_hint(raw, option)}") from None


def _hint(value: Any, option: Option) -> str:
    """Give "; write [256, 320]" for numbers that were typed without brackets."""
    if not isinstance(value, str) or not _NUMBERS.fullmatch(value):
        return ""
    text = f"[{', '.join(_BETWEEN.split(value.strip()))}]"
    node = _parse(text)
    try:
        option.coerce(plain_value(node) if isinstance(node, yaml.Node) else node)
    except ValueError:
        return ""
    return f"; write {text}"


def _parse(text: str) -> yaml.Node | str | None:
    """Give YAML typed on a command line as a tree, or the text itself where it is none."""
    if text.startswith("(") and text.endswith(")"):  # YACS takes Python's tuples there
        text = f"[{text[1:-1]}]"
    problems: list[str] = []
    node = read_text(text, "", problems)
    return text if problems else node


def _tidy(file: Path) -> Path:
    """Give the path without "..", relative to the working folder if it lies below it."""
    full, here = file.resolve(), Path.cwd()
    return full.relative_to(here) if full.is_relative_to(here) else full


def _located(cfg: Config, key: str, text: str) -> str:
    """Complete a finding of the checks: where the key was set, and what it is."""
    value: Any = cfg
    for part in key.split("."):
        value = value[part]
    origin = f"{cfg.origins[key]}: " if key in cfg.origins else ""
    return f"{origin}{key} is {shown(value)}; {text}"
