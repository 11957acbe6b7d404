"""Reads what a handler takes and gives from its signature, and refuses what could not work.

Everything is checked when the class or function is defined: a wrong agent never starts.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import PydanticSchemaGenerationError, PydanticUserError

from regrow.actors.errors import InvalidAgent
from regrow.runtime.context import CellContext, Stashed
from regrow.runtime.immutable import shown
from regrow.runtime.message import Message, Request, StreamRequest, reply_type
from regrow.runtime.reply_slot import ReplySlot


@dataclass(frozen=True, slots=True)
class Handler:
    """One handler method: which messages it takes and how it wants to be called."""

    name: str
    function: Callable[..., Any]
    messages: tuple[type[Message], ...]
    takes_context: bool
    concurrent: bool
    read_only: bool
    is_async: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What `@on` says of a method."""

    concurrent: bool = False
    read_only: bool = False


def read_handler(owner: str, function: Callable[..., Any], mark: Mark, *, namespace: Mapping[str, Any]) -> Handler:
    """The handler that a method marked with `@on` is. Raises InvalidAgent with the mend in its text."""
    where = f"{owner}.{function.__name__}"
    if isinstance(function, classmethod | staticmethod):
        raise InvalidAgent(
            f"{where} is a {type(function).__name__}, and a handler is called on its agent; "
            f"take the @{type(function).__name__} away and write (self, message)"
        )
    check_returns(where, function)
    hints = hints_of(where, function, namespace)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    if not 1 <= len(parameters) <= 2 or any(p.kind not in _POSITIONAL for p in parameters):
        raise InvalidAgent(f"{where} must take (self, message) or (self, message, ctx), and nothing else")
    takes_context = len(parameters) == 2
    if takes_context and not is_context(hints.get(parameters[1].name, CellContext)):
        raise InvalidAgent(f"{where}: its second parameter {parameters[1].name!r} gets the Context; annotate it so")
    messages = _messages(where, parameters[0].name, hints)
    for message in messages:
        _check_return(where, message, hints, is_async=inspect.iscoroutinefunction(function))
    _check_mark(where, mark, messages)
    return Handler(
        name=function.__name__,
        function=function,
        messages=messages,
        takes_context=takes_context,
        concurrent=mark.concurrent,
        read_only=mark.read_only,
        is_async=inspect.iscoroutinefunction(function),
    )


def _check_mark(where: str, mark: Mark, messages: tuple[type[Message], ...]) -> None:
    if not mark.read_only:
        return
    if mark.concurrent:
        raise InvalidAgent(
            f"{where} is @on(read_only=True), so its turns run beside others anyway; take concurrent=True away"
        )
    for message in messages:
        if not issubclass(message, Request):
            raise InvalidAgent(
                f"{where} is @on(read_only=True), and {message.__name__} expects no reply, so that nothing would come "
                f"of it; derive {message.__name__} from Request, or take read_only=True away"
            )


def check_returns(where: str, function: Callable[..., Any]) -> None:
    """Raises InvalidAgent for a generator: called, it only makes an iterator, and nothing of it would run."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidAgent(
            f"{where} yields, and what a handler gives is one reply; return a tuple of the parts, tell each of them, "
            "or handle a StreamRequest and `await ctx.emit(part)`"
        )


def hints_of(where: str, function: Callable[..., Any], namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved annotations of a function; names may stand in the scope that defines it."""
    try:
        return typing.get_type_hints(function, localns=dict(namespace))
    except NameError as error:
        raise InvalidAgent(
            f"{where}: its annotations name something that is not known yet ({error}); define it above the agent"
        ) from error


def is_context(annotation: object) -> bool:
    """True for the type of a context parameter."""
    return isinstance(annotation, type) and issubclass(annotation, CellContext)


def scope_of_caller(depth: int) -> Mapping[str, Any]:
    """The local names where a class or function is being defined, for annotations that use them."""
    frame = inspect.currentframe()
    for _ in range(depth + 1):
        frame = frame.f_back if frame is not None else None
    return frame.f_locals if frame is not None else {}


def module_of_caller(depth: int) -> str:
    """The name of the module where a class or function is being defined."""
    frame = inspect.currentframe()
    for _ in range(depth + 1):
        frame = frame.f_back if frame is not None else None
    return str(frame.f_globals.get("__name__", "")) if frame is not None else ""


def _messages(where: str, parameter: str, hints: dict[str, Any]) -> tuple[type[Message], ...]:
    if parameter not in hints:
        raise InvalidAgent(
            f"{where}: annotate {parameter!r} with the message it handles, such as {parameter}: Question"
        )
    annotation = hints[parameter]
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    for part in parts:
        if not (isinstance(part, type) and issubclass(part, Message)):
            raise InvalidAgent(
                f"{where}: {parameter!r} is {shown(annotation)}; a handler takes a Message or Request class"
            )
    return parts


def _check_return(where: str, message: type[Message], hints: dict[str, Any], *, is_async: bool) -> None:
    annotated = hints.get("return", _MISSING)
    given = _besides_stashed(annotated)
    if not issubclass(message, Request):
        if given not in (_MISSING, Stashed, type(None), None):
            raise InvalidAgent(
                f"{where} returns {shown(annotated)}, but {message.__name__} is a Message and expects no reply; "
                f"derive it from Request[{shown(given)}], or return None"
            )
        return
    if issubclass(message, StreamRequest):
        _check_part(where, message, is_async=is_async)
    expected = reply_type(message)
    if given is _MISSING:
        raise InvalidAgent(f"{where}: annotate its return; {message.__name__} expects -> {shown(expected)}")
    is_right = given in (expected, Stashed) or _is_narrower(given, expected) or _defers(given, expected)
    if not is_right:
        raise InvalidAgent(
            f"{where} returns {shown(annotated)}, but {message.__name__} expects {shown(expected)}; change one of them"
        )
    try:
        message.reply()
    except PydanticSchemaGenerationError as error:  # then no reply could ever be checked, or travel
        raise InvalidAgent(
            f"{where}: {message.__name__} expects {shown(expected)}, and no reply can be of that type; "
            "make it a Message, a frozen dataclass, or a type such as str or tuple[int, ...]"
        ) from error
    except PydanticUserError:
        pass  # it names a type that is defined further down; the first reply is checked against it


def _check_part(where: str, message: type[StreamRequest[Any, Any]], *, is_async: bool) -> None:
    if not is_async:
        raise InvalidAgent(
            f"{where} is a `def`, so it runs in a thread, and {message.__name__} is answered in parts, which "
            "a thread can not emit; make it `async def`"
        )
    try:
        message.part()
    except PydanticSchemaGenerationError as error:  # then no part could ever be checked, or travel
        raise InvalidAgent(
            f"{where}: no part of {message.__name__} can be of the type that it names "
            f"({error.message.splitlines()[0]}); make it a Message, a frozen dataclass, or a type such as str"
        ) from error
    except PydanticUserError:
        pass  # it names a type that is defined further down; the first part is checked against it


def _besides_stashed(annotation: Any) -> Any:
    """The annotation without `Stashed`, which may stand beside any reply; as it is where nothing else stands there."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    rest = tuple(part for part in parts if part is not Stashed)
    return annotation if len(rest) in (0, len(parts)) else Union[rest]  # noqa: UP007 # known only here


def _is_narrower(given: object, expected: object) -> bool:
    return isinstance(given, type) and isinstance(expected, type) and issubclass(given, expected)


def _defers(given: object, expected: object) -> bool:
    """True for `ReplySlot[Reply]`, alone or beside the reply: the handler may leave the answer to another agent."""
    parts = get_args(given) if get_origin(given) in (Union, UnionType) else (given,)
    slots = [part for part in parts if part is ReplySlot or get_origin(part) is ReplySlot]
    if not slots or any(get_args(slot) not in ((), (expected,), (Any,)) for slot in slots):
        return False
    rest = tuple(part for part in parts if part not in slots)
    return not rest or Union[rest] == expected  # noqa: UP007 # of parts that are known only here


_MISSING = object()
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
