"""Which types may be sent: those that nobody can change afterwards.

`mutable_part` decides at class definition, so that inside a host a message can go by reference.
A class of ours that is immutable by construction says so with `__regrow_immutable__ = True`.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import sys
import types
import typing
import uuid
from collections.abc import Iterable
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import Annotated, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel

PLAIN = (str, int, float, bool, bytes, type(None))
"""Types that msgpack writes and reads back exactly; a model of only these skips pydantic's dump."""

IMMUTABLE = (
    *PLAIN,
    complex,
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
    pathlib.PurePath,
    enum.Enum,
)


def wire_name(cls: type) -> str:
    """`module:qualname`, with the importable name where the class lives in `__main__`."""
    return f"{importable_module(cls.__module__)}:{cls.__qualname__}"


def importable_module(module: str) -> str:
    """The name under which another process can import `module`; `__main__` is known by its file or -m name."""
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return pathlib.Path(file).stem if file else module


def mutable_part(annotation: object) -> str | None:
    """The part of a type that could be changed after sending, as shown to a person; None if there is none."""
    return _mutable_part(annotation, set())


def _mutable_part(annotation: object, seen: set[type]) -> str | None:
    if annotation is None or annotation is Ellipsis or isinstance(annotation, TypeVar):
        return None
    if annotation in _OF_ANYTHING:
        return f"what a {shown(annotation)} of no named type holds"
    origin = get_origin(annotation)
    if origin is Literal:
        return None
    if origin is Annotated:
        return _mutable_part(get_args(annotation)[0], seen)
    if origin in (Union, types.UnionType, tuple, frozenset):
        return next(filter(None, (_mutable_part(part, seen) for part in get_args(annotation))), None)
    cls = origin if origin is not None else annotation
    if isinstance(cls, typing.NewType):
        return _mutable_part(cls.__supertype__, seen)
    if not isinstance(cls, type):
        return shown(annotation)
    return None if _is_immutable_class(cls, seen) else shown(annotation)


def _is_immutable_class(cls: type, seen: set[type]) -> bool:
    """`seen` are the classes that are being looked into: one that holds its own kind is as immutable as the rest."""
    if issubclass(cls, IMMUTABLE) or cls in seen or getattr(cls, "__regrow_immutable__", False):
        return True
    fields: Iterable[object]
    if issubclass(cls, BaseModel):
        is_frozen = bool(cls.model_config.get("frozen"))
        fields = (field.annotation for field in cls.model_fields.values())
    elif is_dataclass(cls):
        is_frozen = bool(cls.__dataclass_params__.frozen)  # type: ignore[attr-defined]
        hints = typing.get_type_hints(cls)
        fields = (hints[field.name] for field in dataclass_fields(cls))
    else:
        return False
    seen.add(cls)
    return is_frozen and all(_mutable_part(field, seen) is None for field in fields)


_OF_ANYTHING = (tuple, frozenset, typing.Tuple, typing.FrozenSet)  # noqa: UP006 # as others may write them


def is_plain(annotation: object) -> bool:
    """True when msgpack writes and reads back every value of this type exactly."""
    if annotation is Ellipsis:
        return True
    if isinstance(annotation, typing.NewType):
        return is_plain(annotation.__supertype__)
    origin = get_origin(annotation)
    if origin is Literal:
        return all(type(value) in PLAIN for value in get_args(annotation))
    if origin in (Union, types.UnionType, tuple):
        return all(is_plain(part) for part in get_args(annotation))
    return annotation in PLAIN or annotation is None


def shown(annotation: object) -> str:
    """A type as its author wrote it."""
    if annotation is type(None):
        return "None"
    return (
        annotation.__name__
        if isinstance(annotation, type) and not get_args(annotation)
        else str(annotation).replace("typing.", "")
    )
