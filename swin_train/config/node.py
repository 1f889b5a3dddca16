"""Typed, documented, read-only YACS nodes.

A :class:`Section` is a ``yacs.config.CfgNode`` whose keys are declared in its class body, so that one
line gives a key its type, default, meaning and range::

    class Optimizer(Section):
        EPS: float = opt(1e-8, "Added to Adam's denominator.", gt=0)

It is complete and frozen when its constructor returns; there is no way to thaw it.
"""

import difflib
import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, Self, get_args, get_origin

from swin_train.config.values import coerce, leaves, shown, type_name

if TYPE_CHECKING:

    class CfgNode(dict[str, Any]):
        """What is used of YACS. Without its ``__getattr__``, a misspelt key is a type error."""

        def freeze(self) -> None: ...  # noqa: D102
        def clone(self) -> Self: ...  # noqa: D102

else:
    from yacs.config import CfgNode


@dataclass(frozen=True)
class Option:
    """All that is known about one key. The limits hold for every number of a list."""

    type: Any
    default: Any
    doc: str
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    any_text: bool = False  # a name or a path: a number or a path object is taken as its text

    @property
    def is_text(self) -> bool:
        """Whether every legal value is text, so that text needs no further reading."""
        is_choice = get_origin(self.type) is Literal
        return self.type is str or (is_choice and all(isinstance(c, str) for c in get_args(self.type)))

    @property
    def legal(self) -> str:
        """The legal values, in words: "a number > 0"."""
        limits = " and ".join(f"{sign} {bound:g}" for sign, bound, _ in self._limits(0))
        return f"{type_name(self.type)} {limits}".strip()

    def reads_as_typed(self, value: Any) -> bool:
        """Whether a plain YAML scalar is meant as its text although it reads as ``value``: no, 1.50."""
        is_choice = self.type is not str
        return self.is_text and (is_choice or (self.any_text and type(value) in (int, float)))

    def coerce(self, value: Any) -> Any:
        """Give ``value`` as this key's type. Raises ValueError ("must be ...; got ...")."""
        if self.any_text and isinstance(value, (int, float, os.PathLike)) and not isinstance(value, bool):
            value = str(value)
        value = coerce(value, self.type)
        for leaf in leaves(value):
            if isinstance(leaf, str) and "\0" in leaf:  # no path can
                raise ValueError(f"must not hold the character NUL; got {shown(value)}")
            if isinstance(leaf, (int, float)):
                for sign, bound, holds in self._limits(leaf):
                    if not holds:
                        raise ValueError(f"must be {sign} {bound:g}; got {shown(value)}")
        return value

    def _limits(self, number: float) -> list[tuple[str, float, bool]]:
        limits = []
        if self.gt is not None:
            limits.append((">", self.gt, number > self.gt))
        if self.ge is not None:
            limits.append((">=", self.ge, number >= self.ge))
        if self.lt is not None:
            limits.append(("<", self.lt, number < self.lt))
        if self.le is not None:
            limits.append(("<=", self.le, number <= self.le))
        return limits


def opt(default: Any, doc: str, **limits: Any) -> Any:
    """Declare one key in the body of a :class:`Section`; ``limits`` are fields of :class:`Option`."""
    return Option(None, default, doc, **limits)


class Section(CfgNode):
    """A read-only YACS node. Annotated upper-case names of a subclass are its keys and sections."""

    _options: ClassVar[dict[str, Option]] = {}
    _sections: ClassVar[dict[str, type["Section"]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._options, cls._sections = dict(cls._options), dict(cls._sections)
        for name, hint in inspect.get_annotations(cls, eval_str=True).items():
            if isinstance(declared := cls.__dict__.get(name), Option):
                cls._options[name] = replace(declared, type=hint)
                delattr(cls, name)  # attribute access must reach the node
            elif isinstance(hint, type) and issubclass(hint, Section):
                cls._sections[name] = hint
        untyped = [name for name, value in vars(cls).items() if isinstance(value, Option)]
        if untyped:
            raise TypeError(f"{cls.__name__}.{untyped[0]} needs a type: {untyped[0]}: TYPE = opt(...)")

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        values = values or {}
        if undeclared := values.keys() - dict(self.walk()).keys():
            raise ValueError(f"{type(self).__name__} has no key {min(undeclared)}")
        for name, option in self._options.items():
            dict.__setitem__(self, name, option.coerce(values.get(name, option.default)))
        for name, section in self._sections.items():
            below = {k.removeprefix(f"{name}."): v for k, v in values.items() if k.startswith(f"{name}.")}
            dict.__setitem__(self, name, section(below))
        self.freeze()

    @classmethod
    def walk(cls, prefix: str = "") -> Iterator[tuple[str, Option]]:
        """Yield ("TRAIN.BASE_LR", its option) for every key below this section."""
        for name, option in cls._options.items():
            yield prefix + name, option
        for name, section in cls._sections.items():
            yield from section.walk(f"{prefix}{name}.")

    @classmethod
    def walk_sections(cls, prefix: str = "") -> Iterator[tuple[str, type["Section"]]]:
        """Yield ("TRAIN.OPTIMIZER", its class) for every section below this one."""
        for name, section in cls._sections.items():
            yield prefix + name, section
            yield from section.walk_sections(f"{prefix}{name}.")

    def flat(self) -> dict[str, Any]:
        """Give the value of every key: {"TRAIN.BASE_LR": 0.0005, ...}."""
        values = {name: self[name] for name in self._options}
        for section in self._sections:
            values |= {f"{section}.{key}": value for key, value in self[section].flat().items()}
        return values

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # immutable all the way down

    __copy__ = CfgNode.clone

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.flat(),)

    if not TYPE_CHECKING:  # hidden, so that type checkers flag undeclared keys and forbidden calls

        def __getattr__(self, name: str) -> Any:
            if name in self:
                return self[name]
            near = difflib.get_close_matches(name.upper(), self, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise AttributeError(f"{type(self).__name__} has no key {name}.{hint}")

        def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
            raise AttributeError(
                "the configuration is read-only; give load_config(..., overrides=[KEY, VALUE]) other values"
            )

        __setitem__ = __delitem__ = __setattr__ = __delattr__ = __ior__ = _refuse
        update = pop = popitem = setdefault = clear = defrost = _refuse
        merge_from_file = merge_from_list = merge_from_other_cfg = load_cfg = _refuse  # YACS's runs .py files
