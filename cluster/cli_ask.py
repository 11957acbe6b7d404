"""What is typed behind `regrow ask AGENT` becomes a message of that agent, and its reply plain values.

Runs in the process of the app, which alone knows the classes. Which request is meant, which field a word
is for, and what is wrong with a value is said in the words of the message's own fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, to_jsonable_python

from regrow.cluster.code import agent_class
from regrow.runtime.errors import Misuse
from regrow.runtime.immutable import shown, wire_name
from regrow.runtime.message import Message, Request

M = TypeVar("M", bound=Message)

PROBLEMS_LIMIT = 3
"""How many wrong fields are told at once."""

VALUE_LIMIT_CHARS = 120
"""A wrong value is shown up to this length."""

_NAMED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def request_class(agent: str, target: object, name: str = "") -> type[Request[Any]]:
    """The request that is meant: the one of that name, or the only one. Raises Misuse with the names there are."""
    cls = agent_class(target)
    assert cls is not None, "an App has agents only"
    requests = {each.__name__: each for each in cls.handlers if issubclass(each, Request)}
    known = ", ".join(sorted(requests)) or "none"
    if not name:
        if len(requests) == 1:
            return next(iter(requests.values()))
        if not requests:
            raise Misuse(f"{agent} answers nothing: all it handles are messages that expect no reply")
        raise Misuse(f"{agent} answers several requests; name one with --type: {known}")
    for each in requests.values():
        if name in (each.__name__, wire_name(each)):
            return each
    if any(name in (each.__name__, wire_name(each)) for each in cls.handlers):
        raise Misuse(f"{name} is a message that expects no reply, so it can not be asked; {agent} answers: {known}")
    near = get_close_matches(name, requests, n=1)
    raise Misuse(f"{agent} has no request {name!r}; {f'did you mean {near[0]}?' if near else f'it answers: {known}'}")


def message_for(agent: str, message: type[M], fields: Mapping[str, Any] | None, words: Sequence[str]) -> M:
    """The message with these fields, or with these words for them. Raises Misuse that says what is wrong with which."""
    if fields is not None and words:
        raise Misuse(f"{agent}: give the fields as one JSON object or as words, not both")
    given = dict(fields) if fields is not None else _fields_of(agent, message, words)
    try:
        # As JSON, since a list is then a tuple and a text may be a time or a path.
        return message.model_validate_json(json.dumps(given))
    except ValidationError as error:
        problems = [_problem(each, message) for each in error.errors(include_url=False)]
        more = f", and {len(problems) - PROBLEMS_LIMIT} more" if len(problems) > PROBLEMS_LIMIT else ""
        told = "; ".join(problems[:PROBLEMS_LIMIT])
        raise Misuse(f"{agent} takes {signature_of(message)}: {told}{more}") from error


def signature_of(message: type[Message]) -> str:
    """A message as a call: `Question(text: str, limit: int = 5)`."""
    fields = message.model_fields.items()
    parts = (f"{name}: {shown(field.annotation)}{_default_shown(field)}" for name, field in fields)
    return f"{message.__name__}({', '.join(parts)})"


def plain_value(value: object) -> Any:
    """A reply as JSON values. What JSON can not say is told as text, and bytes as base64."""
    return to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="null", fallback=str)


def _fields_of(agent: str, message: type[Message], words: Sequence[str]) -> dict[str, Any]:
    """`name=value` for the field of that name; other words for the fields in their order."""
    given: dict[str, Any] = {}
    rest: list[str] = []
    for word in words:
        named = _NAMED.fullmatch(word)
        if named is None:
            rest.append(word)
        elif named[1] not in message.model_fields:
            # Taken for a text, a misspelt name would be silently without effect.
            raise Misuse(
                f"{agent} takes {signature_of(message)} and has no field {named[1]!r}; to give this text itself, "
                f"name its field: {next(iter(message.model_fields), 'text')}={word}"
            )
        else:
            given[named[1]] = _value(named[2], message.model_fields[named[1]])
    free = [name for name in message.model_fields if name not in given]
    if len(rest) > len(free):
        raise Misuse(
            f"{agent} takes {signature_of(message)} and got {len(words)} words; "
            "put a text with spaces in quotation marks"
        )
    for name, word in zip(free, rest, strict=False):
        given[name] = _value(word, message.model_fields[name])
    return given


def _value(word: str, field: FieldInfo) -> Any:
    """A word as its field can read it: as it is where that takes texts, else as the JSON it may be."""
    is_union = get_origin(field.annotation) in (Union, UnionType)
    if field.annotation is str or (is_union and str in get_args(field.annotation)):
        return word
    try:
        return json.loads(word)
    except ValueError:
        return word


def _problem(error: ErrorDetails, message: type[Message]) -> str:
    place = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "missing":
            return f"{place!r} is missing"
        case "extra_forbidden":
            near = get_close_matches(place, message.model_fields, n=1)
            return f"{place!r} is no field of it" + (f", did you mean {near[0]!r}?" if near else "")
        case _:
            value = repr(error["input"])
            value = value if len(value) <= VALUE_LIMIT_CHARS else value[:VALUE_LIMIT_CHARS] + "…"
            told = error["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
            return f"{place or 'it'} is {value}; {told}"


def _default_shown(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    return f" = {field.default!r}" if field.default_factory is None else " = …"
