"""Sections are typed, documented YACS nodes that nothing can change."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from yacs.config import CfgNode

from swin_train.config import Config, load_config
from swin_train.config.node import Option, Section, opt


class Inner(Section):
    RATE: float = opt(0.5, "A rate.", gt=0, le=1)
    LIST: tuple[float, ...] = opt((1.0,), "A list.", ge=0)


class Outer(Section):
    NAME: str = opt("n", "A name.", any_text=True)
    INNER: Inner


def test_a_section_is_a_complete_yacs_node() -> None:
    section = Outer({"INNER.RATE": 1})

    assert isinstance(section, CfgNode)
    assert section.INNER.RATE == 1.0
    assert section.flat() == {"NAME": "n", "INNER.RATE": 1.0, "INNER.LIST": (1.0,)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"INNER.RATE": 0}, "must be > 0; got 0.0"),
        ({"INNER.RATE": 1.5}, "must be <= 1; got 1.5"),
        ({"INNER.LIST": [1, -1]}, r"must be >= 0; got \[1.0, -1.0\]"),
    ],
)
def test_a_value_out_of_range_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Outer(values)


@pytest.mark.parametrize("key", ["NAMES", "INNER.RATES", "NAME.RATE", "INNER"])
def test_an_undeclared_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"(Outer|Inner) has no key"):
        Outer({key: 1})


def test_upper_limit_can_be_exclusive() -> None:
    with pytest.raises(ValueError, match=r"must be < 1; got 1.0"):
        Option(float, 0.0, "", lt=1).coerce(1)


def test_names_and_paths_take_numbers_and_path_objects_as_text() -> None:
    assert Outer({"NAME": 7}).NAME == "7"
    assert Outer({"NAME": Path("a") / "b"}).NAME == "a/b"


@pytest.mark.parametrize("hint", [str, tuple[str, ...]])
def test_text_holds_no_nul_character(hint: Any) -> None:
    value = "a\0b" if hint is str else ["a\0b"]

    with pytest.raises(ValueError, match=r"must not hold the character NUL; got .*a.x00b"):
        Option(hint, None, "").coerce(value)


def test_an_option_without_a_type_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match=r"Bad.KEY needs a type"):
        type("Bad", (Section,), {"KEY": opt(1, "doc")})


def test_legal_values_are_said_in_words() -> None:
    assert dict(Outer.walk())["INNER.RATE"].legal == "a number > 0 and <= 1"


def test_a_misspelt_attribute_names_the_near_one() -> None:
    with pytest.raises(AttributeError, match=r"Train has no key EPOCH. Did you mean EPOCHS"):
        _ = Config().TRAIN.EPOCH  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "change",
    [
        lambda c: setattr(c, "TAG", "x"),
        lambda c: setattr(c.TRAIN, "EPOCHS", 1),
        lambda c: delattr(c, "TAG"),
        lambda c: c.TRAIN.__setitem__("EPOCHS", 1),
        lambda c: c.__delitem__("TAG"),
        lambda c: c.update(TAG="x"),
        lambda c: c.__ior__({"TAG": "x"}),
        lambda c: c.pop("TAG"),
        lambda c: c.popitem(),
        lambda c: c.clear(),
        lambda c: c.setdefault("NEW", 1),
        lambda c: c.defrost(),
        lambda c: c.merge_from_list(["TAG", "x"]),
        lambda c: c.merge_from_other_cfg(CfgNode({"TAG": "x"})),
    ],
)
def test_nothing_changes_a_configuration(change: Callable[[Any], Any]) -> None:
    cfg = Config()

    with pytest.raises(AttributeError, match="read-only; give load_config"):
        change(cfg)

    assert cfg == Config()


@pytest.mark.parametrize(
    "read",
    [
        lambda file: Config().merge_from_file(str(file)),
        lambda file: Config.load_cfg(file.open()),
        lambda file: Config().TRAIN.load_cfg(file.open()),
    ],
)
def test_yacs_own_readers_which_run_python_files_are_shut(
    tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    trace, file = tmp_path / "PWNED", tmp_path / "cfg.py"
    file.write_text(f"open({str(trace)!r}, 'w')\ncfg = {{}}\n")

    with pytest.raises(AttributeError, match="read-only; give load_config"):
        read(file)
    assert not trace.exists()

    CfgNode.load_cfg(file.open())  # that the test tests something
    assert trace.exists()


def test_every_leaf_is_immutable() -> None:
    for value in Config().flat().values():
        hash(value)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda c: c.clone()])
def test_copies_are_equal_and_keep_their_origins(duplicate: Callable[[Config], Config]) -> None:
    cfg = load_config(None, ["TAG", "x"])

    twin = duplicate(cfg)

    assert twin == cfg
    assert twin.origins == {"TAG": "--opts"}


def test_a_configuration_reaches_another_process() -> None:
    cfg = load_config(None, ["TAG", "x"])
    rebuild, arguments = cfg.__reduce__()

    twin = rebuild(*arguments)

    assert twin == cfg
    assert twin.origins == cfg.origins
