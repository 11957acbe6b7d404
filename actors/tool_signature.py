"""Reads from a function's signature and docstring what a model has to know of it, and refuses what could not work.

Everything is checked when the tool is defined: one that a model could not call never reaches a model.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import inspect
import json
import re
import sys
import typing
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import CodeType
from typing import Annotated, Any

from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema, PydanticJsonSchemaWarning

from regrow.actors.handlers import is_context
from regrow.actors.step import Step
from regrow.actors.tool_errors import InvalidTool
from regrow.actors.tool_text import described
from regrow.runtime.immutable import shown

MAX_ARGUMENTS = 64
"""Of one tool. Nobody fills in a form of more."""
MAX_DESCRIPTION_CHARS = 4_096
"""A model reads the description of each tool at each of its turns."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""What all providers take for the name of a tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a tool takes and gives. `context` and `step` name the parameters that no model fills in."""

    name: str
    description: str
    schema: Mapping[str, Any]
    hash: str
    names: tuple[str, ...]
    arguments: TypeAdapter[Any]
    result: TypeAdapter[Any]
    context: str | None
    step: str | None
    is_async: bool


def read_signature(
    function: Callable[..., Any], name: str | None, *, namespace: Mapping[str, Any], is_apart: bool
) -> Signature:
    """What `@tool` above this function means. `is_apart` is true of one that runs in another process.

    Raises InvalidTool with the mend in its text.
    """
    if not inspect.isfunction(function):
        raise InvalidTool(f"@tool stands above a plain `def` or `async def`, not above {function!r}")
    name = name if name is not None else function.__name__
    check_name(name)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidTool(f"{name} yields, and what a tool gives is one result; return a list of the parts")
    description, of_arguments = described(function.__doc__ or "")
    if not description:
        raise InvalidTool(
            f"{name} has no docstring; say in one what it does, for a model decides by that when to use it"
        )
    check_length(name, description)
    hints = _hints(name, function, namespace)
    taken = _taken(name, function, hints)
    unknown = [each for each in of_arguments if each not in inspect.signature(function).parameters]
    if unknown:
        raise InvalidTool(
            f"{name}: its docstring describes {unknown[0]!r}, and it has no such parameter; it takes "
            f"{', '.join(taken.fields) or 'nothing'}"
        )
    if is_apart:
        _check_apart(name, function, taken.context)
    arguments, schema = _arguments(name, taken.fields, of_arguments)
    return Signature(
        name=name,
        description=description,
        schema=schema,
        hash=hash_of(name, description, schema, _source(function)),
        names=tuple(taken.fields),
        arguments=arguments,
        result=_result(name, hints),
        context=taken.context,
        step=taken.step,
        is_async=inspect.iscoroutinefunction(function),
    )


def check_name(name: str) -> None:
    """Raises InvalidTool for what a provider does not take for the name of a tool."""
    if _NAME.fullmatch(name) is None:
        raise InvalidTool(
            f'{name!r} is no name for a tool; give one of 1 to 64 letters, digits, _ and -, as in name="search"'
        )


def check_length(name: str, description: str) -> None:
    """Raises InvalidTool for a description that is too long to be read at each turn of a model."""
    if len(description) > MAX_DESCRIPTION_CHARS:
        raise InvalidTool(
            f"the docstring of {name} has {len(description):,} signs beside its arguments, and a model reads it at "
            f"each turn; keep it under {MAX_DESCRIPTION_CHARS:,}"
        )


@dataclass(frozen=True, slots=True)
class _Taken:
    fields: dict[str, tuple[Any, Any]]
    context: str | None
    step: str | None


def _hints(name: str, function: Callable[..., Any], namespace: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, localns=dict(namespace), include_extras=True)
    except (NameError, TypeError) as error:
        raise InvalidTool(
            f"{name}: its annotations name something that is no type, or not known yet ({error}); define it above"
        ) from error


def _taken(name: str, function: Callable[..., Any], hints: Mapping[str, Any]) -> _Taken:
    fields: dict[str, tuple[Any, Any]] = {}
    context: str | None = None
    step: str | None = None
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise InvalidTool(
                f"{name}: a model fills in named arguments, so *{parameter.name} can not be one; name each"
            )
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY or parameter.name.startswith("_"):
            raise InvalidTool(
                f"{name}: {parameter.name!r} is filled in by its name; give it one without a leading underscore, and "
                "take the / out of the parameters"
            )
        if parameter.name not in hints:
            if parameter.name in ("self", "cls"):
                raise InvalidTool(f"{name}: a tool is a plain function, and no method; write it outside of a class")
            raise InvalidTool(
                f"{name}: annotate {parameter.name!r}, such as {parameter.name}: str, so that a model knows"
            )
        hint = hints[parameter.name]
        if is_context(hint):
            context = parameter.name
        elif hint is Step:
            step = parameter.name
        else:
            fields[parameter.name] = (hint, parameter.default)
    if len(fields) > MAX_ARGUMENTS:
        raise InvalidTool(
            f"{name} takes {len(fields)} arguments, and at most {MAX_ARGUMENTS} can be given; take a model"
        )
    return _Taken(fields, context, step)


def _arguments(
    name: str, fields: Mapping[str, tuple[Any, Any]], of_arguments: Mapping[str, str]
) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    """Reads arguments, and their JSON schema. A dataclass, since a model's own methods would forbid some names."""
    members: list[Any] = []
    for field, (hint, default) in fields.items():
        told = of_arguments.get(field)
        annotation = hint if told is None else Annotated[hint, Field(description=told)]
        adapter: TypeAdapter[Any] = adapter_of(f"{name}: {field!r} is {shown(hint)}", annotation)
        if default is inspect.Parameter.empty:
            members.append((field, annotation))
            continue
        try:
            adapter.validate_python(default, strict=True)
        except ValidationError as error:
            raise InvalidTool(
                f"{name}: {field!r} is {shown(hint)}, and its default {default!r} is none "
                f"({error.errors()[0]['msg']}); change one of them"
            ) from error
        members.append((field, annotation, dataclasses.field(default_factory=partial(copy.deepcopy, default))))
    made: Any = dataclasses.make_dataclass(name, members, kw_only=True, frozen=True)
    made.__pydantic_config__ = ConfigDict(extra="forbid")
    arguments = adapter_of(name, made)
    schema = schema_of(name, arguments)
    for field, (_, default) in fields.items():
        if default is not inspect.Parameter.empty:
            schema["properties"][field]["default"] = _json_default(name, field, fields[field])
    return arguments, schema


def _json_default(name: str, field: str, typed: tuple[Any, Any]) -> object:
    hint, default = typed
    try:
        return TypeAdapter(hint).dump_python(default, mode="json", warnings="error")
    except ValueError as error:  # what pydantic raises for a value that JSON has no form for
        raise InvalidTool(f"{name}: the default of {field!r}, {default!r}, has no JSON form ({error})") from error


class _Plain(GenerateJsonSchema):
    """Without a title for each field, which says its name once more and is paid for at each turn of a model."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema_of(name: str, arguments: TypeAdapter[Any]) -> dict[str, Any]:
    """The JSON schema of arguments, as a model is told it. Raises InvalidTool where they have none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PydanticJsonSchemaWarning)
            schema = arguments.json_schema(schema_generator=_Plain)
    except (PydanticUserError, PydanticJsonSchemaWarning) as error:
        raise InvalidTool(
            f"{name}: its arguments have no JSON schema, so no model could give them ({_first_line(error)}); use types "
            "such as str, int, list[str], Literal, or a pydantic model"
        ) from error
    schema.pop("title", None)
    schema.setdefault("properties", {})
    return schema


def _result(name: str, hints: Mapping[str, Any]) -> TypeAdapter[Any]:
    if "return" not in hints:
        raise InvalidTool(f"{name}: annotate what it returns, such as -> str, so that what it gives can be checked")
    returned = hints["return"]
    return adapter_of(f"{name} returns {shown(returned)}", returned)


def adapter_of(where: str, annotation: Any) -> TypeAdapter[Any]:
    """Reads, checks and writes what is annotated so. Raises InvalidTool where it can not."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        adapter.rebuild()  # a forward reference that leads nowhere is told here, and not at the first call
    except PydanticUserError as error:
        raise InvalidTool(
            f"{where}, which can not be read from JSON or checked ({_first_line(error)}); use str, int, list[str], "
            "Literal, a dataclass or a pydantic model"
        ) from error
    return adapter


def _check_apart(name: str, function: Callable[..., Any], context: str | None) -> None:
    if context is not None:
        raise InvalidTool(
            f"{name}: {context!r} gets the context of a turn, which does not reach into another process; give what it "
            'needs as arguments, or take isolation="process" away'
        )
    if function.__qualname__ != function.__name__:
        raise InvalidTool(
            f"{name} stands inside of {function.__qualname__.rpartition('.')[0]}, where another process can not find "
            'it; with isolation="process" write it at the top of its file'
        )
    if function.__module__ == "__main__" and getattr(sys.modules["__main__"], "__file__", None) is None:
        raise InvalidTool(
            f"{name} was typed into a notebook or prompt, and another process can not import that; put it into a file"
        )


def hash_of(name: str, description: str, schema: Mapping[str, Any], source: str) -> str:
    """What stands for all of them together."""
    whole = json.dumps([name, description, schema, source], sort_keys=True)
    return hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _source(function: Callable[..., Any]) -> str:
    try:
        return inspect.getsource(function)
    except OSError:  # typed into a prompt, or installed without sources
        return repr(_code(function.__code__))


def _code(code: CodeType) -> list[object]:
    constants = [_code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return [code.co_code.hex(), code.co_names, constants]


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
