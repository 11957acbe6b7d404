"""How the messages of one class are written and read: as columns, one for each field.

`form_of` looks at a class once: whether its values can ever fail to travel, and which Enum classes,
dataclasses and models its fields are declared with. A `Reader` builds messages of one class from
columns with given names; they are the sender's, so that a class may gain a field with a default.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from regrow.runtime.errors import InvalidMessage
from regrow.runtime.immutable import PLAIN, wire_name
from regrow.runtime.message import Message, registered
from regrow.runtime.ref import ActorRef
from regrow.runtime.reply_slot import ReplySlot
from regrow.runtime.wire_values import MAX_KNOWN_CLASSES, SCALARS, Parts, Undecodable, raw, settled

MAX_DEPTH = 100
"""How deep values may hold values: enough for any document, and far from where Python or msgpack give up."""
MAX_REASON_CHARS = 300

LEAVES: Final = (
    *PLAIN,
    complex,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
    pathlib.PurePath,
    ActorRef,
    ReplySlot,
)
"""Classes whose every value travels; a datetime is a date."""


def check(message: object) -> None:
    """Raises InvalidMessage, naming the field, when a message or reply can not travel.

    For most classes that is known from their fields, and costs one look into a cache.
    """
    cls: type[Any] = type(message)
    if cls in SCALARS or (isinstance(message, Message) and form_of(cls).sure):
        return
    fault = _fault(message, cls.__name__, None, 0)
    if fault is not None:
        raise InvalidMessage(fault)


class Form:
    """How one message class travels."""

    __slots__ = ("fields", "name", "parts", "plain", "problem", "sure")

    def __init__(self, message_class: type[Message]) -> None:
        wire = message_class.wire()
        self.name = wire.name
        self.fields = wire.fields
        self.plain = wire.plain
        self.problem = _problem(message_class)
        annotations = [field.annotation for field in message_class.model_fields.values()]
        self.sure = self.problem is None and all(map(_is_sure, annotations))
        self.parts: Parts = {
            wire_name(cls): cls if issubclass(cls, enum.Enum) else functools.partial(_adapter(cls), **_BY_NAME)
            for annotation in annotations
            for cls in _part_classes(annotation, set())
        }

    def columns(self, messages: Sequence[Any]) -> list[list[object]]:
        """The values of these messages, one list for each field. Raises KeyError for a message that lacks one."""
        values = [message.__dict__ for message in messages]
        if self.sure:
            return [[fields[name] for fields in values] for name in self.fields]
        # What was not checked could hold a dict that looks like a tagged value and would be read as one.
        return [[raw(fields[name]) for fields in values] for name in self.fields]


class Reader:
    """Builds messages of one class from values of these fields."""

    __slots__ = ("_fields", "_form", "_names", "_one", "_several", "message_class")

    def __init__(self, message_class: type[Message], fields: tuple[str, ...]) -> None:
        self.message_class = message_class
        self._form = form_of(message_class)
        self._fields = fields
        self._names = _BY_NAME if any(field.alias for field in message_class.model_fields.values()) else {}
        self._one = _adapter(message_class)
        self._several = _adapter(list[message_class])  # type: ignore[valid-type]

    def read(self, columns: tuple[tuple[Any, ...], ...], rows: int, *, settle: bool) -> list[object]:
        """The messages of so many rows; an Undecodable for each that its class does not accept.

        `settle`: the columns may hold a Part. Raises ValueError if the columns do not fit rows and fields.
        """
        if len(columns) != len(self._fields) or not {rows}.issuperset(map(len, columns)):
            raise ValueError(f"columns of {self._form.name} do not fit {rows} rows of {len(self._fields)} fields")
        made = self._attempt(self._read_all, columns, rows, settle and not self._form.plain)
        if type(made) is list:
            return made
        values = zip(*columns, strict=True) if columns else [()] * rows
        return [self.read_one(row) for row in values]

    def read_one(self, values: tuple[Any, ...]) -> object:
        """One message, or Undecodable."""
        return self._attempt(self._read_row, values)

    def _read_all(self, columns: tuple[tuple[Any, ...], ...], rows: int, settle: bool) -> object:
        if settle:
            parts = self._form.parts
            columns = tuple([tuple([settled(value, parts) for value in column]) for column in columns])
        return self._several(_mappings(self._fields, columns, rows), **self._names)

    def _read_row(self, values: tuple[Any, ...]) -> object:
        form = self._form
        if not form.plain:
            values = tuple([settled(value, form.parts) for value in values])
        return self._one(dict(zip(self._fields, values, strict=True)), **self._names)

    def _attempt(self, read: Callable[..., object], *arguments: Any) -> object:
        try:
            return read(*arguments)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        # Validators are the user's code and may raise anything; what came from elsewhere must not end the link.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        return Undecodable(self._form.name, reason[:MAX_REASON_CHARS])


_forms: dict[type[Message], Form] = {}


def form_of(message_class: type[Message]) -> Form:
    """The form of a class; made at its first message, since forward references may resolve late."""
    form = _forms.get(message_class)
    if form is None:
        if len(_forms) >= MAX_KNOWN_CLASSES:
            _forms.clear()
        form = _forms[message_class] = Form(message_class)
    return form


_BY_NAME: Final = {"by_name": True, "by_alias": False}
"""Fields travel under their own names, whatever aliases they have for JSON."""


def _adapter(annotation: Any) -> Callable[..., Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    return adapter.validator.validate_python


def _mappings(fields: tuple[str, ...], columns: tuple[tuple[Any, ...], ...], rows: int) -> list[dict[str, Any]]:
    """Columns as one dict for each row. Dicts by display cost a third of what dict(zip(…)) costs."""
    if len(fields) == 2:
        a, b = fields
        return [{a: x, b: y} for x, y in zip(*columns, strict=True)]
    if len(fields) == 1:
        (a,) = fields
        return [{a: x} for x in columns[0]]
    if not fields:
        return [{} for _ in range(rows)]
    a, b, c, *others = fields
    made = [{a: x, b: y, c: z} for x, y, z in zip(*columns[:3], strict=True)]
    for field, column in zip(others, columns[3:], strict=True):
        for mapping, value in zip(made, column, strict=True):
            mapping[field] = value
    return made


# ---- what a class's fields say -------------------------------------------------------------------


def _problem(message_class: type[Message]) -> str | None:
    name = message_class.__name__
    if registered(wire_name(message_class)) is not message_class:
        if message_class.__pydantic_generic_metadata__["args"]:
            return f"{name} has no name of its own on the wire; derive a class from it and send that"
        return f"another class was defined as {wire_name(message_class)} later; give one of them another name"
    if message_class.model_config.get("extra") == "allow":
        return f"{name} allows extra fields, and only declared ones travel; declare them"
    return None


def _inner(annotation: object) -> tuple[object, ...] | None:
    """What a type is made of: the parts of a union, tuple, frozenset or Annotated; None for a class or Literal."""
    if isinstance(annotation, typing.NewType):
        return (annotation.__supertype__,)
    origin = get_origin(annotation)
    if origin is Annotated:
        return get_args(annotation)[:1]
    if origin in (Union, types.UnionType, tuple, frozenset):
        return tuple(part for part in get_args(annotation) if part is not Ellipsis)
    return None


def _is_sure(annotation: object) -> bool:
    """True when every value that a field of this type accepts can travel."""
    inner = _inner(annotation)
    if inner is not None:
        return all(map(_is_sure, inner))
    if get_origin(annotation) is Literal:
        return all(type(value) in SCALARS or _is_sure(type(value)) for value in get_args(annotation))
    if annotation is None:
        return True
    if get_origin(annotation) is ReplySlot:
        return True
    if not isinstance(annotation, type):
        return False
    if issubclass(annotation, enum.Enum):
        return all(type(member.value) in SCALARS for member in annotation) and len(annotation) > 0
    return issubclass(annotation, LEAVES)


def _part_classes(annotation: object, seen: set[object]) -> Iterator[type]:
    """The Enum classes, dataclasses and models in a type, and in their own fields; not those of other Messages."""
    inner = _inner(annotation)
    if inner is None and get_origin(annotation) is Literal:
        inner = tuple(type(value) for value in get_args(annotation))
    if inner is not None:
        for part in inner:
            yield from _part_classes(part, seen)
        return
    cls = get_origin(annotation) or annotation
    if not isinstance(cls, type) or cls in seen or issubclass(cls, Message):
        return
    seen.add(cls)
    if issubclass(cls, enum.Enum):
        yield cls
    elif issubclass(cls, BaseModel):
        yield cls
        for field in cls.model_fields.values():
            yield from _part_classes(field.annotation, seen)
    elif dataclasses.is_dataclass(cls):
        yield cls
        for hint in typing.get_type_hints(cls, include_extras=True).values():
            yield from _part_classes(hint, seen)


# ---- what a value says ---------------------------------------------------------------------------


def _fault(value: Any, path: str, parts: Parts | None, depth: int) -> str | None:
    """Why a value can not travel, with the path to what is in its way. `parts` None: a raw reply, not in a Message."""
    cls: type[Any] = type(value)
    if cls in SCALARS or isinstance(value, ActorRef | ReplySlot):
        return None
    if depth > MAX_DEPTH:
        return f"{path} is nested deeper than {MAX_DEPTH} levels; send a reference to where it is kept"
    if isinstance(value, Message):
        form = form_of(cls)
        if form.sure or form.problem is not None:
            return form.problem and f"{path}: {form.problem}"
        return _first_fault(_fields_of(value, path, form.fields), form.parts, depth)
    if isinstance(value, tuple | frozenset):
        return _first_fault(_items_of(value, path), parts, depth)
    if isinstance(value, enum.Enum):
        return _unknown_part(cls, path, parts) or _fault(value.value, f"{path}.value", None, depth + 1)
    if dataclasses.is_dataclass(value) or isinstance(value, BaseModel):
        names = (
            cls.model_fields if isinstance(value, BaseModel) else [field.name for field in dataclasses.fields(value)]
        )
        return _unknown_part(cls, path, parts) or _first_fault(_fields_of(value, path, names), parts, depth)
    if isinstance(value, LEAVES):
        return None
    if isinstance(value, list | set | dict):
        if parts is not None:
            return f"{path} is a {cls.__name__}, which can be changed after it was sent; use a tuple or frozenset"
        items = [part for pair in value.items() for part in pair] if isinstance(value, dict) else value
        return _first_fault(_items_of(items, path), parts, depth)
    return f"{path} is a {cls.__qualname__}, which has no form on the wire; send values, or a Message made of them"


def _first_fault(held: Iterator[tuple[str, object]], parts: Parts | None, depth: int) -> str | None:
    faults = (_fault(value, path, parts, depth + 1) for path, value in held)
    return next((fault for fault in faults if fault is not None), None)


def _fields_of(value: object, path: str, names: Any) -> Iterator[tuple[str, object]]:
    return ((f"{path}.{name}", getattr(value, name, None)) for name in names)


def _items_of(items: Any, path: str) -> Iterator[tuple[str, object]]:
    return ((f"{path}[{index}]", item) for index, item in enumerate(items))


def _unknown_part(cls: type, path: str, parts: Parts | None) -> str | None:
    if parts is None or wire_name(cls) in parts:
        return None
    return (
        f"{path} is a {cls.__qualname__}, which the receiver can not know from the declared fields; "
        f"name {cls.__name__} in the field's type, or make it a Message"
    )
