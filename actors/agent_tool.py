"""An agent as a tool of another one: a call of it is an ask, on behalf of the turn that makes it.

What comes with every ask comes with this one: the caller's deadline, principal, capability and chain of calls. So the
agent that is asked has never more than its caller, and one that comes back to itself is found as a ring.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, cast

from regrow.actors.tool import (
    DEFAULT_APPROVAL_TIMEOUT_S,
    DEFAULT_CONCURRENCY,
    DEFAULT_RESULT_BYTES,
    Approval,
    Isolation,
    Tool,
    json_text,
)
from regrow.actors.tool_errors import MAX_TOLD_CHARS, NO_ANSWER, InvalidTool, ToolDenied, ToolFailed
from regrow.actors.tool_options import check_options
from regrow.actors.tool_signature import Signature, adapter_of, check_length, check_name, hash_of, schema_of
from regrow.actors.tool_text import described
from regrow.runtime.capability import only_tools
from regrow.runtime.contain import text_of
from regrow.runtime.errors import Refused
from regrow.runtime.immutable import shown, wire_name
from regrow.runtime.message import Request, reply_type
from regrow.runtime.ref import DEFAULT_ASK_TIMEOUT_S, ActorRef

if TYPE_CHECKING:
    from regrow.actors.context import Context
    from regrow.actors.handlers import Handler
    from regrow.actors.step import Step
    from regrow.actors.tool_gate import Allowed
    from regrow.runtime.address import ActorId

R = TypeVar("R")

LATER_S = 5.0
"""How much longer the ask may take than the call of the tool, so that it is the tool whose limit is told."""

_CONTEXT, _STEP = "_ctx", "_step"
"""No field of a message begins so, and these are not filled in by a model."""


class AskOptions(TypedDict, total=False):
    """How an agent is a tool; what is left out is taken from the agent and its request.

    `name` and `description` are what a model is told. `only` are the tools that may be run on behalf of such a call,
    of those that the caller may; without it all that it may. `key` names the field of the request that says which one
    of a kind of agents with keys is asked. The others are those of `@tool`.
    """

    name: str
    description: str
    only: Sequence[Tool[Any] | str]
    key: str
    timeout_s: float
    concurrency: int
    approval: Approval
    approval_timeout_s: float
    result_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAgent:
    """Whom the calls of a tool ask, and by which request."""

    target: object
    request: type[Request[Any]]
    key: str | None

    def ref(self, ctx: Context, request: Request[Any]) -> ActorRef:
        """Who is asked by this very request. Raises Misuse where the app has no such agent, or several."""
        return ctx.ref(self.target, key=None if self.key is None else getattr(request, self.key))

    def actor(self, ctx: Context, call: Allowed) -> ActorId:
        """The same of a call that the gate has let pass."""
        return self.ref(ctx, cast("Request[Any]", call.arguments)).address.actor


def as_tool(target: ActorRef | str, request: type[Request[R]], **options: Unpack[AskOptions]) -> Tool[R]:
    """The agent at an id, such as `analyst` beside the caller or `desk/analyst`, as a tool that asks it by `request`.

    Of a class or an agent function it is `Analyst.as_tool()`. Raises InvalidTool with the mend.
    """
    id = target if isinstance(target, str) else target.id
    docs = [(request.__name__, _doc_of(request))]
    return asking_tool(target, request, called=_as_name(id.rpartition("/")[2]), docs=docs, options=options)


def request_of(owner: str, handlers: Mapping[type, Handler], wanted: type[Request[R]] | None) -> type[Request[R]]:
    """By which request an agent with these handlers is asked. Raises InvalidTool where that is not clear."""
    known = [each for each in handlers if issubclass(each, Request)]
    if wanted is not None:
        if wanted not in known:
            raise InvalidTool(
                f"{owner} has no handler for {getattr(wanted, '__name__', wanted)!s}; it answers {_names(known)}"
            )
        return wanted
    if len(known) != 1:
        example = known[0].__name__ if known else "Question"
        raise InvalidTool(
            f"{owner} answers {_names(known)}, and a tool asks by one request; name it: {owner}.as_tool({example})"
        )
    return known[0]


def tool_of_class(
    target: type[Any], handlers: Mapping[type, Handler], wanted: type[Request[R]] | None, options: AskOptions
) -> Tool[R]:
    """An agent class as a tool: see Agent.as_tool."""
    owner = target.__name__
    request = request_of(owner, handlers, wanted)
    handler = handlers[request]
    docs = [
        (request.__name__, _doc_of(request)),
        (handler.name, inspect.getdoc(handler.function)),
        (owner, _doc_of(target)),
    ]
    called = _as_name(owner)
    if sum(issubclass(each, Request) for each in handlers) > 1:
        called = f"{called}_{handler.name}"
    return asking_tool(target, request, called=called, docs=docs, options=options)


def asking_tool(
    target: object,
    request: type[Request[R]],
    *,
    called: str,
    docs: Iterable[tuple[str, str | None]],
    options: AskOptions,
) -> Tool[R]:
    """The tool that asks `target`. Of `docs`, names and docstrings, the first that says anything describes it."""
    name, timeout_s = options.get("name", called), options.get("timeout_s", DEFAULT_ASK_TIMEOUT_S)
    limits = check_options(
        timeout_s=timeout_s,
        concurrency=options.get("concurrency", DEFAULT_CONCURRENCY),
        cost_usd=0.0,
        approval=options.get("approval", False),
        approval_timeout_s=options.get("approval_timeout_s", DEFAULT_APPROVAL_TIMEOUT_S),
        isolation="host",
        limits=None,
        result_bytes=options.get("result_bytes", DEFAULT_RESULT_BYTES),
    )
    asks = AskedAgent(target=target, request=request, key=options.get("key"))
    if asks.key is not None and asks.key not in request.model_fields:
        raise InvalidTool(
            f"{name}: key={asks.key!r} is no field of {request.__name__}, so nobody could say who is asked"
        )
    signature = _signature(name, request, docs, options.get("description"), target)
    only = options.get("only")
    names = None if only is None else frozenset(each if isinstance(each, str) else each.name for each in only)
    return Tool(
        name=name,
        description=signature.description,
        schema=signature.schema,
        hash=signature.hash,
        function=_shown_as(signature, request, _asking(name, asks, timeout_s, names)),
        signature=signature,
        timeout_s=timeout_s,
        concurrency=options.get("concurrency", DEFAULT_CONCURRENCY),
        cost_usd=0.0,
        idempotent=True,  # in a durable turn it is asked again under the id that it was asked under before
        approval=options.get("approval", False),
        approval_timeout_s=options.get("approval_timeout_s", DEFAULT_APPROVAL_TIMEOUT_S),
        isolation=Isolation.HOST,
        limits=limits,
        result_bytes=options.get("result_bytes", DEFAULT_RESULT_BYTES),
        asks=asks,
    )


def _signature(
    name: str,
    request: type[Request[Any]],
    docs: Iterable[tuple[str, str | None]],
    description: str | None,
    target: object,
) -> Signature:
    check_name(name)
    of_arguments: dict[str, str] = {}
    places: list[str] = []
    for place, doc in docs:
        places.append(place)
        said, meant = described(doc or "")
        of_arguments = {**meant, **of_arguments}
        description = description or said
    if not description:
        raise InvalidTool(
            f"{name} has no description, by which a model decides when to use it; write a docstring for "
            f"{' or '.join(places)}, or give description="
        )
    check_length(name, description)
    arguments = adapter_of(f"{name} asks by {request.__name__}", request)
    schema = schema_of(name, arguments)
    schema.pop("description", None)  # it is that of the tool
    for field, told in of_arguments.items():
        if field in schema["properties"]:
            schema["properties"][field].setdefault("description", told)
    reply = reply_type(request)
    # Who is asked and by what, since there is no source of its own; what that agent does is not part of the hash.
    source = json_text([wire_name(request), shown(reply), str(getattr(target, "__qualname__", target))])
    return Signature(
        name=name,
        description=description,
        schema=schema,
        hash=hash_of(name, description, schema, source),
        names=tuple(request.model_fields),
        arguments=arguments,
        result=adapter_of(f"{name} gives {shown(reply)}", reply),
        context=_CONTEXT,
        step=_STEP,
        is_async=True,
    )


def _asking(name: str, asks: AskedAgent, timeout_s: float, only: frozenset[str] | None) -> Callable[..., Any]:
    async def ask(_ctx: Context, _step: Step | None, **fields: Any) -> Any:
        request = asks.request(**fields)
        ref = asks.ref(_ctx, request)
        with _narrowed(only):
            if not _ctx.origin().permits(ref.address.actor):
                raise ToolDenied(
                    f"{name} was not asked, since the capability of this message does not reach {ref.id}; do without "
                    "it, or have it asked by somebody who may",
                    tool=name,
                )
            try:
                # By the ref and not by the context: in a durable turn it is the call of the tool that is recorded.
                return await ref.ask(
                    request, timeout_s=timeout_s + LATER_S, command_id=_step.key if _step is not None else None
                )
            except (Refused, *NO_ANSWER) as error:
                text = text_of(error)[:MAX_TOLD_CHARS]
                raise ToolFailed(f"{name} gave no answer ({type(error).__name__}: {text})", tool=name) from error

    return ask


@contextmanager
def _narrowed(only: frozenset[str] | None) -> Iterator[None]:
    if only is None:
        yield
        return
    with only_tools(only):
        yield


def _shown_as(signature: Signature, request: type[Request[Any]], ask: Callable[..., Any]) -> Callable[..., Any]:
    """The function with parameters for the fields of the request: so frameworks see it, and `as_function` copies it."""
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True),
            annotation=field.annotation,
        )
        for name, field in request.model_fields.items()
    ]
    reply = reply_type(request)
    ask.__name__ = ask.__qualname__ = signature.name
    ask.__module__ = request.__module__
    ask.__doc__ = signature.description
    ask.__annotations__ = {**{each.name: each.annotation for each in parameters}, "return": reply}
    ask.__signature__ = inspect.Signature(parameters, return_annotation=reply)  # type: ignore[attr-defined]
    return ask


def _doc_of(cls: type) -> str | None:
    """Its own docstring, and none of a base class, which describes something else."""
    return cls.__doc__


def _names(requests: Sequence[type]) -> str:
    return " and ".join(each.__name__ for each in requests) or "no request"


def _as_name(called: str) -> str:
    """`WebAnalyst` and `web-analyst` as tools are called: `web_analyst`."""
    return re.sub(r"\W", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", called)).lower()
