"""What a message may hold, as msgpack and back, exact to the type.

msgpack's own types are written as they are; an array is a tuple. The others are extensions (leaves), or maps of
one entry, `{tag: [part, …]}` (values that hold values), for nothing that travels is a map by itself:

    ext 1 complex     two doubles                       {1: [actor, incarnation]}                    an ActorRef
    ext 2 datetime    2026-08-01T10:00:00+02:00, then   {2: [item, …]}                               a frozenset
                      [Europe/Berlin] if it has that    {3: [module:qualname, field, value, …]}      a Message
                      zone, then ~ if its fold is 1     {4: [module:qualname, value]}                an Enum member
    ext 3 date        2026-08-01                        {5: [module:qualname, field, value, …]}      a frozen dataclass
    ext 4 time        as a datetime                                                                  or pydantic model
    ext 5 int         beyond 64 bits, big-endian        in raw replies only:
    ext 6 timedelta   days, seconds, microseconds       {6: [item, …]}                               a list
    ext 7 Decimal     its text                          {7: [item, …]}                               a set
    ext 8 UUID        16 bytes                          {8: [key, value, …]}                         a dict
    ext 9 path        p, w, P or W (pure, Windows), then its text
                                                        {9: [actor, incarnation, reply host, ask_id, request]}
                                                                                                     a ReplySlot

The class of a Message is looked up in the registry of messages and nowhere else; that of an Enum member, dataclass
or model only among the classes with which the message around it declares its fields. Until that message is known,
such a value waits as a `Part`. What can not be read becomes an `Undecodable`, which costs one row and not its frame.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import re
import struct
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgpack
from pydantic import BaseModel

from regrow.runtime.address import ActorId, Address, HostId, Incarnation
from regrow.runtime.errors import InvalidMessage
from regrow.runtime.immutable import PLAIN, wire_name
from regrow.runtime.message import Message
from regrow.runtime.ref import ActorRef
from regrow.runtime.reply_slot import ReplySlot

COMPLEX, DATETIME, DATE, TIME, INT, TIMEDELTA, DECIMAL, UUID, PATH = range(1, 10)
REF, FROZENSET, MESSAGE, ENUM, PART, LIST, SET, DICT, SLOT = range(1, 10)

SCALARS: Final = frozenset(PLAIN)
MAX_KNOWN_CLASSES = 4_096
"""Classes whose form on the wire is remembered; beyond them all are looked at again."""

Parts: TypeAlias = Mapping[str, Callable[[Any], object]]
"""By wire name: what makes an Enum member of its value, a dataclass or model of a dict of its fields."""


@dataclasses.dataclass(frozen=True, slots=True)
class Undecodable:
    """In place of what means nothing here: of a class unknown to this host, or not what its class accepts."""

    type_name: str
    reason: str

    def error(self, actor: str) -> InvalidMessage:
        """What an asker of this actor gets, who sent or should have got it."""
        return InvalidMessage(
            f"{self.type_name} could not be read between {actor} and its asker ({self.reason}); "
            "run the same version of the code on both sides"
        )


class Unreadable(ValueError):
    """Among the values of a row is an Undecodable; its text is the reason."""


class Part:
    """A value whose class only the message around it can name."""

    __slots__ = ("content", "name")

    def __init__(self, name: str, content: object) -> None:
        self.name = name
        self.content = content


# ---- to the wire ---------------------------------------------------------------------------------


def packable(value: Any) -> object:
    """What msgpack shall write for a value it has no type for. Raises TypeError if there is nothing.

    msgpack asks for every value whose exact class is not its own, so subclasses of str and int come here too.
    """
    cls: type[Any] = type(value)
    if cls is tuple:
        return list(value)
    writer = _known_writers.get(cls)
    if writer is None:
        if len(_known_writers) >= MAX_KNOWN_CLASSES:
            _known_writers.clear()
        writer = _known_writers[cls] = _writer(cls)
    return writer(value)


def packed(value: object) -> bytes:
    """One value alone as bytes. Raises one of UNWRITABLE."""
    packer = msgpack.Packer(default=packable, strict_types=True, unicode_errors="surrogatepass")
    content: bytes = packer.pack(value)
    return content


UNWRITABLE = (TypeError, ValueError, OverflowError, LookupError, AttributeError, RecursionError)
"""What packing raises: a class or number without a form, a field that a message lacks, values nested too deep."""


def raw(value: object) -> object:
    """A value that is no Message, its lists, sets and dicts tagged, so that the asker gets what was returned."""
    cls = type(value)
    if cls in SCALARS:
        return value
    if isinstance(value, tuple):
        return [raw(item) for item in value]
    if isinstance(value, list):
        return {LIST: [raw(item) for item in value]}
    if isinstance(value, dict):
        return {DICT: [raw(item) for pair in value.items() for item in pair]}
    if isinstance(value, set):
        return {SET: _ordered(value)}
    return value


_known_writers: dict[type, Callable[[Any], object]] = {}


def _writer(cls: type) -> Callable[[Any], object]:
    if issubclass(cls, enum.Enum):
        return _enum_writer(cls)
    if issubclass(cls, Message):
        return _fields_writer(MESSAGE, cls, cls.model_fields)
    if issubclass(cls, BaseModel):
        return _fields_writer(PART, cls, cls.model_fields)
    if dataclasses.is_dataclass(cls):
        return _fields_writer(PART, cls, [field.name for field in dataclasses.fields(cls) if field.init])
    for base, writer in _WRITERS.items():
        if issubclass(cls, base):
            return writer
    raise TypeError(f"{cls.__qualname__} has no form on the wire")


def _enum_writer(cls: type[enum.Enum]) -> Callable[[Any], object]:
    name = wire_name(cls)
    return lambda member: {ENUM: [name, raw(member.value)]}


def _fields_writer(tag: int, cls: type, fields: Iterable[str]) -> Callable[[Any], object]:
    name, fields = wire_name(cls), tuple(fields)
    return lambda value: {tag: [name, *[part for field in fields for part in (field, raw(getattr(value, field)))]]}


def _moment(moment: datetime.datetime | datetime.time) -> bytes:
    key = getattr(moment.tzinfo, "key", None)
    zone = "" if key is None else f"[{key}]"
    return f"{moment.isoformat()}{zone}{'~' if moment.fold else ''}".encode()


def _path(path: pathlib.PurePath) -> bytes:
    sign = "w" if isinstance(path, pathlib.PureWindowsPath) else "p"
    return f"{sign.upper() if isinstance(path, pathlib.Path) else sign}{path}".encode("utf-8", "surrogatepass")


def _int(value: int) -> object:
    value = int(value)
    if -(2**63) <= value < 2**64:
        return value  # of a subclass of int; a plain one comes here only when msgpack has no room for it
    return _EXT((INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)))


def _ordered(items: Iterable[object]) -> list[object]:
    """The items in the same order in every process, so that equal messages have equal bytes."""
    return sorted(map(raw, items), key=packed)


def _leaf(code: int, content: Callable[[Any], bytes]) -> Callable[[Any], object]:
    return lambda value: _EXT((code, content(value)))


_EXT: Final = msgpack.ExtType._make  # without the checks of its constructor, which cost as much as all the rest
_NUMBERS: Final = struct.Struct(">dd")
_SPAN: Final = struct.Struct(">iii")

# datetime before date, from which it derives; the last four are for subclasses of what msgpack writes itself.
_WRITERS: Final[dict[type, Callable[[Any], object]]] = {
    tuple: list,
    ActorRef: lambda ref: {REF: [ref.address.actor, ref.address.incarnation]},
    ReplySlot: lambda slot: {
        SLOT: [slot.taker.address.actor, slot.taker.address.incarnation, slot.reply_host, slot.ask_id, slot.request]
    },
    datetime.datetime: _leaf(DATETIME, _moment),
    datetime.date: _leaf(DATE, lambda day: datetime.date.isoformat(day).encode()),
    datetime.time: _leaf(TIME, _moment),
    datetime.timedelta: _leaf(TIMEDELTA, lambda span: _SPAN.pack(span.days, span.seconds, span.microseconds)),
    decimal.Decimal: _leaf(DECIMAL, lambda number: str(number).encode()),
    uuid.UUID: _leaf(UUID, lambda value: value.bytes),
    frozenset: lambda items: {FROZENSET: _ordered(items)},
    complex: _leaf(COMPLEX, lambda number: _NUMBERS.pack(number.real, number.imag)),
    pathlib.PurePath: _leaf(PATH, _path),
    int: _int,
    str: str.__str__,
    float: float.__float__,
    bytes: lambda value: bytes(memoryview(value)),
}


# ---- from the wire -------------------------------------------------------------------------------


class Reading:
    """The two hooks that msgpack calls while it reads one frame, and what they met."""

    __slots__ = ("_read_message", "_ref_of", "met_parts", "met_undecodable")

    def __init__(
        self,
        ref_of: Callable[[Address], ActorRef],
        read_message: Callable[[str, tuple[str, ...], tuple[object, ...]], object],
    ) -> None:
        self._ref_of = ref_of
        self._read_message = read_message
        self.met_parts = False
        """Rows of messages that may hold a Part need `settled`."""
        self.met_undecodable = False
        """All rows need it."""

    def ext(self, code: int, content: bytes) -> object:
        """A leaf."""
        read = _LEAVES.get(code)
        if read is None:
            return self._undecodable(f"extension {code} is not known here")
        try:
            return read(content)
        except (ValueError, LookupError, ArithmeticError, struct.error) as error:
            return self._undecodable(f"extension {code} of {content[:40]!r}: {error}")

    def tagged(self, pairs: list[tuple[object, Any]]) -> object:
        """A value that holds values."""
        try:
            ((tag, content),) = pairs
            if tag == MESSAGE:
                return self._message(*content)
            if tag in (ENUM, PART):
                return self._part(tag, *content)
            if tag == REF:
                return self._ref(*content)
            if tag == SLOT:
                return self._slot(*content)
            return _CONTAINERS[tag](content)
        except (TypeError, ValueError, LookupError) as error:
            return self._undecodable(f"a map of {len(pairs)} entries is no tagged value: {error}")

    def _message(self, name: str, *content: Any) -> object:
        message = self._read_message(name, content[::2], content[1::2])
        if type(message) is Undecodable:
            self.met_undecodable = True
        return message

    def _part(self, tag: object, name: object, *content: object) -> Part:
        if type(name) is not str:
            raise TypeError("a value without the name of its class")
        self.met_parts = True
        (held,) = (_mapping(content),) if tag == PART else content
        return Part(name, held)

    def _ref(self, actor: object, incarnation: object) -> ActorRef:
        if type(actor) is not str or not (incarnation is None or type(incarnation) is int):
            raise TypeError("a ref without id")
        return self._ref_of(Address(ActorId(actor), None if incarnation is None else Incarnation(incarnation)))

    def _slot(self, actor: object, incarnation: object, host: object, ask_id: object, request: object) -> object:
        if type(host) is not str or type(ask_id) is not int or type(request) is not str:
            raise TypeError("a reply slot without an ask")
        return ReplySlot(self._ref(actor, incarnation), HostId(host), ask_id, request)

    def _undecodable(self, reason: str) -> Undecodable:
        self.met_undecodable = True
        return Undecodable("", reason)


def settled(value: Any, parts: Parts) -> Any:
    """The value with every Part in it made what it is. Raises Unreadable at the first Undecodable in it.

    A Part whose class is not among `parts` leaves its bare content, for the field's own validation to judge.
    """
    cls = type(value)
    if cls in SCALARS:
        return value
    if cls is Part:
        make = parts.get(value.name)
        content = settled(value.content, parts)
        return content if make is None else make(content)
    if cls is Undecodable:
        raise Unreadable(f"{value.type_name}: {value.reason}" if value.type_name else value.reason)
    if cls in (tuple, frozenset, list, set):
        items = [settled(item, parts) for item in value]
        try:
            return cls(items)
        except TypeError:  # a set of bare contents, which are dicts
            return items
    if cls is dict:
        return {settled(key, parts): settled(item, parts) for key, item in value.items()}
    return value


def _mapping(content: tuple[Any, ...]) -> dict[Any, Any]:
    return dict(zip(content[::2], content[1::2], strict=True))


_CONTAINERS: Final[dict[Any, Callable[[Any], object]]] = {FROZENSET: frozenset, LIST: list, SET: set, DICT: _mapping}

_ZONED: Final = re.compile(r"([0-9T:.+-]+)(?:\[([A-Za-z0-9_+/-]{1,64})\])?(~?)")
_PATHS: Final = {
    sign: flavour if sign.islower() or not issubclass(type(pathlib.Path()), flavour) else pathlib.Path
    for flavour, signs in ((pathlib.PurePosixPath, "pP"), (pathlib.PureWindowsPath, "wW"))
    for sign in signs
}
"""A concrete path of the other system is read as a pure one."""


def _datetime(content: bytes) -> datetime.datetime:
    text = content.decode("ascii")
    if not text.endswith(("]", "~")):
        return datetime.datetime.fromisoformat(text)
    iso, zone, fold = _zoned(text)
    moment = datetime.datetime.fromisoformat(iso).replace(fold=fold)
    try:
        return moment if zone is None else moment.replace(tzinfo=zoneinfo.ZoneInfo(zone))
    except zoneinfo.ZoneInfoNotFoundError:
        return moment  # this host's tables are older; the offset of that moment is there all the same


def _time(content: bytes) -> datetime.time:
    iso, zone, fold = _zoned(content.decode("ascii"))
    moment = datetime.time.fromisoformat(iso).replace(fold=fold)
    return moment if zone is None else moment.replace(tzinfo=zoneinfo.ZoneInfo(zone))


def _zoned(text: str) -> tuple[str, str | None, int]:
    match = _ZONED.fullmatch(text)
    if match is None:
        raise ValueError("no time in ISO form")
    iso, zone, fold = match.groups()
    return iso, zone, len(fold)


_LEAVES: Final[dict[int, Callable[[bytes], object]]] = {
    COMPLEX: lambda content: complex(*_NUMBERS.unpack(content)),
    DATETIME: _datetime,
    DATE: lambda content: datetime.date.fromisoformat(content.decode("ascii")),
    TIME: _time,
    INT: lambda content: int.from_bytes(content, "big", signed=True),
    TIMEDELTA: lambda content: datetime.timedelta(*_SPAN.unpack(content)),
    DECIMAL: lambda content: decimal.Decimal(content.decode("ascii")),
    UUID: lambda content: uuid.UUID(bytes=content),
    PATH: lambda content: _PATHS[content[:1].decode()](content[1:].decode("utf-8", "surrogatepass")),
}
