"""Messages: frozen, deeply immutable pydantic models, known on the wire by a name.

`Message` is checked when the class is defined, so that a value can go by reference inside a host
without anyone changing it, and by bytes between hosts without surprise. A `Request[R]` names the
type of its reply, a `StreamRequest[P, R]` also that of its parts; `ask` and `stream` return them to the type checker.
"""

from __future__ import annotations

import sys
import typing
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, PydanticSchemaGenerationError, TypeAdapter

from regrow.runtime.errors import InvalidMessage
from regrow.runtime.immutable import is_plain, mutable_part, shown, wire_name

P = TypeVar("P")
R = TypeVar("R")


class Wire:
    """How one message class travels: its name, its fields in declared order, and whether it is plain.

    `runtime.wire_forms` writes and reads with it.
    """

    __slots__ = ("fields", "message_class", "name", "plain")

    def __init__(self, message_class: type[Message]) -> None:
        if not message_class.__pydantic_complete__:
            message_class.model_rebuild()
        message_class.check_immutable()  # making one may have completed the class, and nobody looked at its fields
        self.message_class = message_class
        self.name = wire_name(message_class)
        self.fields = tuple(message_class.model_fields)
        self.plain = all(is_plain(field.annotation) for field in message_class.model_fields.values())


_OUR_MODULES = "regrow."
_registry: dict[str, type[Message]] = {}


class Message(BaseModel):
    """The root of everything that agents send: frozen, deeply immutable, strict about its fields.

    Raises InvalidMessage when a subclass has a field whose type could be changed after sending.
    """

    # The hundred classes of our own cost each process a third of its start, and it uses a few of them.
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False, defer_build=True)

    __regrow_immutable__: ClassVar[bool] = True  # each subclass is checked when it is defined

    _wire: ClassVar[Wire | None] = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        generic = cls.__pydantic_generic_metadata__
        if generic["args"] and generic["origin"] in (Request, StreamRequest):
            return  # `Request[Answer]` itself is no message, only the base of one
        for name in cls.model_fields:
            if name in _TAKEN or (name == "part" and issubclass(cls, StreamRequest)):
                raise InvalidMessage(f"{cls.__qualname__}.{name}: every message has a {name!r} of its own; rename it")
        if not generic["args"]:  # `Box[Item]` goes by a name that the Item of another module shares
            _registry[wire_name(cls)] = cls
        if cls.__module__.startswith(_OUR_MODULES):
            return  # built and checked on first use, as a test does with all
        # What is wrong with a user's class is said where it stands.
        try:
            cls.model_rebuild(raise_errors=False, _parent_namespace_depth=0)
        except PydanticSchemaGenerationError as error:
            cls.check_immutable()  # most often it is a plain class, which is told with the mend
            raise InvalidMessage(
                f"{cls.__qualname__} has a field whose values pydantic can not check: {error}"
            ) from error
        if cls.__pydantic_complete__:
            cls.check_immutable()  # else on first use, when the classes that it names are defined

    @classmethod
    def check_immutable(cls) -> None:
        """Raises InvalidMessage when a field could be changed after sending."""
        for name, field in cls.model_fields.items():
            problem = mutable_part(field.annotation)
            if problem is not None:
                raise InvalidMessage(
                    f"{cls.__qualname__}.{name} is declared {shown(field.annotation)}, and {problem} can be changed "
                    "after it was sent; use tuple[…], frozenset[…], a frozen dataclass or another Message"
                )

    @classmethod
    def wire(cls) -> Wire:
        """How this class travels; made on first use, since forward references may resolve late."""
        own = cls.__dict__.get("_wire")
        if own is None:
            own = Wire(cls)
            cls._wire = own
        return typing.cast("Wire", own)


class Request(Message, Generic[R]):
    """A message that expects a reply of type R: `class Question(Request[Answer])`."""

    asks_adopted_code: ClassVar[bool] = False
    """Whether what answers it ends at the deadline; said by the requests that `adopt` makes."""

    _reply: ClassVar[Reply | None] = None

    @classmethod
    def reply(cls) -> Reply:
        """What a reply to this request must be."""
        own: Reply | None = cls.__dict__.get("_reply")
        if own is None:
            own = cls._reply = Reply(reply_type(cls))
        return own


class StreamRequest(Request[R], Generic[P, R]):
    """A request that is answered in parts of type P and then by one reply: `class Tell(StreamRequest[Token, Answer])`.

    Its handler gives each part to `ctx.emit` and returns the reply. `ref.stream` reads the parts; `ask` gives the reply
    alone, and no part is made ready for it.
    """

    _part: ClassVar[Reply | None] = None

    @classmethod
    def part(cls) -> Reply:
        """What each part of the answer must be."""
        own: Reply | None = cls.__dict__.get("_part")
        if own is None:
            own = cls._part = Reply(_part_type(cls))
        return own


class Reply:
    """Checks that a value is a reply, or a part, of the declared type, and rebuilds one that came as bytes."""

    __slots__ = ("_adapter", "_exact", "annotation")

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._exact = annotation if isinstance(annotation, type) and annotation is not Any else None
        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)

    def accepts(self, value: object) -> bool:
        """True when `value` is of the declared type, without conversion."""
        if self._exact is not None:
            return type(value) is self._exact or isinstance(value, self._exact)
        try:
            self._adapter.validate_python(value, strict=True)
        except ValueError:
            return False
        return True

    def read(self, value: object) -> object:
        """The reply rebuilt from wire values. Raises pydantic.ValidationError."""
        if self._exact is not None and isinstance(value, self._exact):
            return value
        return self._adapter.validate_python(value)

    def __str__(self) -> str:
        return shown(self.annotation)


_TAKEN = frozenset(dir(Request))
"""What a field would hide; pydantic itself only warns of it."""


def reply_type(request: type[Request[Any]]) -> object:
    """The R of a `Request[R]` or `StreamRequest[P, R]` subclass.

    Raises InvalidMessage when it was left open, or names what is not there.
    """
    return _declared(request, (Request, StreamRequest), -1, "reply")


def _part_type(request: type[StreamRequest[Any, Any]]) -> object:
    """The P of a `StreamRequest[P, R]` subclass. Raises InvalidMessage likewise."""
    return _declared(request, (StreamRequest,), 0, "parts")


def _declared(request: type[Request[Any]], origins: tuple[type, ...], place: int, what: str) -> object:
    named_by = request
    for ancestor in request.__mro__:
        metadata = getattr(ancestor, "__pydantic_generic_metadata__", None)
        if metadata and metadata["origin"] in origins and metadata["args"]:
            named = metadata["args"][place]
            if isinstance(named, str):
                return _named(named, named_by)
            if not isinstance(named, TypeVar):
                return type(None) if named is None else named  # as typing.get_type_hints has it
        named_by = ancestor
    wanted = "StreamRequest[Part, Reply]" if issubclass(request, StreamRequest) else "Request[Reply]"
    raise InvalidMessage(f"{request.__qualname__} does not name its {what}; write class {request.__name__}({wanted})")


def _named(reply: str, request: type) -> object:
    """The type that a string means where the request was defined: `Request["Answer"]`."""
    holder = type("_", (), {"__annotations__": {"reply": reply}})
    try:
        return typing.get_type_hints(holder, vars(sys.modules[request.__module__]))["reply"]
    except (NameError, SyntaxError, AttributeError, TypeError, KeyError) as error:
        raise InvalidMessage(
            f'{request.__qualname__} is a Request["{reply}"], and {request.__module__} has no such type ({error}); '
            "define it there before the first agent that handles this request"
        ) from error


def wrong_reply(request: type[Request[Any]], value: object) -> InvalidMessage:
    """What is raised where `value` is given as a reply and the request names another type."""
    return InvalidMessage(f"the reply to {request.__name__} must be {request.reply()}, not {type(value).__name__}")


def wrong_part(request: type[StreamRequest[Any, Any]], value: object) -> InvalidMessage:
    """What is raised where `value` is emitted and the request names another type of part."""
    return InvalidMessage(f"a part of {request.__name__} must be {request.part()}, not {type(value).__name__}")


def registered(name: str) -> type[Message] | None:
    """The message class of that wire name, when its module has been imported here."""
    return _registry.get(name)


def registered_now() -> dict[str, type[Message]]:
    """All message classes that have been defined here, by their wire names; for `register_as_before`."""
    return dict(_registry)


def register_as_before(known: dict[str, type[Message]]) -> None:
    """Forgets the classes that have been defined since `registered_now`: an import of new code has failed half-way."""
    _registry.clear()
    _registry.update(known)
