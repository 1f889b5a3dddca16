"""Check that a value is of the type that a key was declared with."""

import math
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

_NAMES = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "booleans"),
    str: ("text", "texts"),
    types.NoneType: ("null", "nulls"),
}


def coerce(value: Any, hint: Any) -> Any:
    """Give ``value`` as the type ``hint``, lists as tuples.

    The one conversion of scalars is from int to float. A bool is never a number, and text never either.

    Raises:
        ValueError: "must be ...; got ...", without the name of the key.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _coerce_union(value, hint)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in args):
            return value
    elif origin is tuple:
        return _coerce_tuple(value, hint)
    elif hint is float and type(value) in (int, float):
        if _is_finite(value):
            return float(value)
    elif type(value) is hint:
        return value
    raise _mismatch(value, hint)


def leaves(value: Any) -> Iterator[Any]:
    """Yield the scalars of a tuple of any depth, or the scalar itself."""
    if isinstance(value, tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def type_name(hint: Any, plural: bool = False) -> str:
    """Say a type in words: ``tuple[int, ...] | None`` is "a list of integers or null"."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(arm, plural) for arm in args)
    if origin is Literal:
        choices = ", ".join(str(choice) or "''" for choice in args)
        return f"one of {choices}" if len(args) > 1 else choices
    if origin is tuple:
        count = "" if args[-1] is Ellipsis else f"{len(args)} "
        return f"{'lists' if plural else 'a list'} of {count}{type_name(args[0], plural=True)}"
    return _NAMES[hint][plural]


def shown(value: Any) -> str:
    """Give ``value`` as an error message quotes it, shortened if it is long."""
    if isinstance(value, tuple):
        value = _listed(value)
    text = f"the text {value!r}" if isinstance(value, str) else repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _coerce_union(value: Any, hint: Any) -> Any:
    for arm in get_args(hint):
        try:
            return coerce(value, arm)
        except ValueError:
            continue
    raise _mismatch(value, hint)


def _coerce_tuple(value: Any, hint: Any) -> tuple[Any, ...]:
    args = get_args(hint)
    if not isinstance(value, (list, tuple)):
        raise _mismatch(value, hint)
    kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
    if len(kinds) != len(value):
        raise _mismatch(value, hint)
    try:
        return tuple(coerce(item, kind) for item, kind in zip(value, kinds, strict=True))
    except ValueError:
        raise _mismatch(value, hint) from None


def _is_finite(number: int | float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an int beyond the range of float
        return False


def _mismatch(value: Any, hint: Any) -> ValueError:
    return ValueError(f"must be {type_name(hint)}; got {shown(value)}")


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
