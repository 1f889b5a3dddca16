"""Say what the keys mean, what they are set to, and write them down again."""

from typing import Any

from swin_train.config.schema.root import Config, did_you_mean
from swin_train.config.strict_yaml import write_text
from swin_train.errors import UserError
from swin_train.redact import redacted_values

_ORIGIN_COLUMN = 64


def describe(key: str = "") -> str:
    """Give the meaning, type, range and default of a key, or of all keys of a section, or of all.

    Raises:
        UserError: there is no such key or section.
    """
    sections = dict(Config.walk_sections())
    options = {k: option for k, option in Config.walk() if not key or k == key or k.startswith(f"{key}.")}
    if not options:
        raise UserError(f"config help: {key} is no key and no section.{did_you_mean(key)}")
    lines: list[str] = []
    section_shown = ""
    for name, option in options.items():
        section = name.rpartition(".")[0]
        if section != section_shown and key != name:
            lines += ["", f"{section}: {sections[section].__doc__}"]
            section_shown = section
        lines += [f"  {name}: {option.legal}; default {_as_yaml(option.default)}", f"      {option.doc}"]
    return "\n".join(lines).lstrip("\n")


def show(cfg: Config) -> str:
    """Give every key as "KEY = value  # where it was set", one per line."""
    lines = []
    for key, value in cfg.flat().items():
        origin = cfg.origins.get(key)
        line = f"{key} = {_as_yaml(redacted_values(value))}"
        lines.append(f"{line:<{_ORIGIN_COLUMN}} # {origin}" if origin else line)
    return "\n".join(lines)


def dump(cfg: Config) -> str:
    """Give the keys that were set, unscaled, as YAML that loads as an equal configuration but for credentials."""
    return write_text(_nested({key: value for key, value in cfg.flat().items() if key in cfg.origins}))


def to_dict(cfg: Config) -> dict[str, Any]:
    """Give every key in plain nested dictionaries, without the credentials that URLs carry."""
    return _nested(cfg.flat())


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, name = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = redacted_values(value)
    return tree


def _as_yaml(value: Any) -> str:
    text = write_text(value)
    return text.removesuffix("\n").removesuffix("...").removesuffix("\n")
