"""`@tool`: a typed function with a docstring becomes what agents may be allowed to run, and models to ask for.

A Tool is a description with a function inside. Only the gate runs it (`ctx.tools.call`), since that is where it is
decided whether this agent, on behalf of this message, may.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Protocol, TypeVar, cast, overload

from pydantic import TypeAdapter

from regrow.actors.handlers import scope_of_caller
from regrow.actors.tool_errors import ToolCalledDirectly
from regrow.actors.tool_functions import blocking_function, function_of_any_turn
from regrow.actors.tool_options import ProcessLimits, check_options
from regrow.actors.tool_signature import Signature, read_signature

if TYPE_CHECKING:
    from regrow.actors.agent_tool import AskedAgent

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

DEFAULT_TIMEOUT_S = 30.0
DEFAULT_CONCURRENCY = 16
"""How many calls of one tool run at once in one host; as many as there are threads for them."""
DEFAULT_RESULT_BYTES = 1_048_576
"""The largest result of a tool as JSON. A model reads a few thousand words; more is a mistake."""
DEFAULT_APPROVAL_TIMEOUT_S = 7 * 86_400.0
"""How long a call waits for consent."""

Approval = bool | Callable[[Any], bool]
"""Whether a call needs consent, or a function of its arguments, which are attributes of what it is given."""


class Isolation(StrEnum):
    """Where a tool's function runs."""

    HOST = "host"
    """In the host of its agent: on its loop, and a `def` function in one of its threads."""
    PROCESS = "process"
    """In a process of its own with limits, which ends with the call; for code that is not trusted."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Tool(Generic[R_co]):
    """A function that an agent may be allowed to run, and how: made by `@tool`, run by `ctx.tools.call`.

    `function` is the function itself, for its own unit tests: nothing that an agent does calls it past the gate.
    `schema` is the JSON schema of the arguments, `hash` stands for name, description, schema and source together.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    hash: str
    function: Callable[..., Any] = field(repr=False)
    signature: Signature = field(repr=False)
    timeout_s: float
    concurrency: int
    cost_usd: float
    idempotent: bool
    approval: Approval = field(repr=False)
    approval_timeout_s: float
    isolation: Isolation
    limits: ProcessLimits
    result_bytes: int
    asks: AskedAgent | None = field(default=None, repr=False)
    """Of one that is an agent: whom its calls ask. See `as_tool`."""

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def arguments(self) -> TypeAdapter[Any]:
        """Reads and writes arguments; what it reads has an attribute for each."""
        return self.signature.arguments

    @property
    def result(self) -> TypeAdapter[Any]:
        """Checks and writes results."""
        return self.signature.result

    def needs_approval(self, arguments: object) -> bool:
        """Whether a call with these arguments needs the consent of a person."""
        return self.approval(arguments) if callable(self.approval) else self.approval

    @overload
    def as_function(self) -> Callable[..., Awaitable[R_co]]: ...

    @overload
    def as_function(self, *, blocking: Literal[True]) -> Callable[..., R_co]: ...

    def as_function(self, *, blocking: bool = False) -> Callable[..., Any]:
        """A plain async function for a framework to register; with `blocking` a `def`, for code that runs in a thread.

        It has the tool's name, docstring and typed parameters. Each call goes through the gate of the agent in whose
        turn it is made. Called outside of any turn it raises ToolCalledDirectly.
        """
        return blocking_function(self) if blocking else function_of_any_turn(self)

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        """Raises ToolCalledDirectly: it would run without anybody having decided whether it may."""
        raise ToolCalledDirectly(
            f"{self.name} is a tool, and to call it like a function would go past the gate that decides who may run "
            f"it; write `await ctx.tools.call({self.name}, {{…}})` in a handler, or {self.name}.function(…) in a unit "
            "test of the function itself"
        )


class ToolSource(ABC):
    """Several tools that stand in the list of an agent together, such as those of an MCP server."""

    @property
    @abstractmethod
    def tools(self) -> tuple[Tool[Any], ...]:
        """The tools that it stands for."""

    @abstractmethod
    def check_usable(self) -> None:
        """Raises what keeps an agent that lists it from starting."""


class ToolMaker(Protocol):
    """What `@tool(…)` is, for type checkers: above an async function it makes a tool that gives what is awaited."""

    @overload
    def __call__(self, function: Callable[..., Awaitable[R]], /) -> Tool[R]: ...

    @overload
    def __call__(self, function: Callable[..., R], /) -> Tool[R]: ...


@overload
def tool(function: Callable[..., Awaitable[R]], /) -> Tool[R]: ...


@overload
def tool(function: Callable[..., R], /) -> Tool[R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    concurrency: int = DEFAULT_CONCURRENCY,
    cost_usd: float = 0.0,
    idempotent: bool = False,
    approval: Approval = False,
    approval_timeout_s: float = DEFAULT_APPROVAL_TIMEOUT_S,
    isolation: Isolation | Literal["host", "process"] = Isolation.HOST,
    limits: ProcessLimits | None = None,
    result_bytes: int = DEFAULT_RESULT_BYTES,
) -> ToolMaker: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    concurrency: int = DEFAULT_CONCURRENCY,
    cost_usd: float = 0.0,
    idempotent: bool = False,
    approval: Approval = False,
    approval_timeout_s: float = DEFAULT_APPROVAL_TIMEOUT_S,
    isolation: Isolation | Literal["host", "process"] = Isolation.HOST,
    limits: ProcessLimits | None = None,
    result_bytes: int = DEFAULT_RESULT_BYTES,
) -> Any:
    """Makes a tool of a typed function with a docstring, which says what it does and what each argument means.

    A parameter annotated Context gets the context of the turn, one annotated `Step` key and epoch of the call; models
    see neither. An async function is cancelled after `timeout_s`; a `def` function runs in a thread, which nothing can
    stop; with isolation="process" it runs in a process of its own within `limits`, and is killed.

    `concurrency` is for each host. In a durable turn a call is a step: an `idempotent` one may run again when it is
    not known whether it was done. `approval` is true, or a function of the arguments, where a person has to consent;
    only a durable agent can wait for that.

    Raises InvalidTool where the function, its docstring, a type, a default or an option can not be used.
    """
    scope = dict(scope_of_caller(1))
    checked = check_options(
        timeout_s=timeout_s,
        concurrency=concurrency,
        cost_usd=cost_usd,
        approval=approval,
        approval_timeout_s=approval_timeout_s,
        isolation=isolation,
        limits=limits,
        result_bytes=result_bytes,
    )

    def made(function: Callable[..., Any]) -> Tool[Any]:
        signature = read_signature(function, name, namespace=scope, is_apart=isolation == Isolation.PROCESS)
        return Tool(
            name=signature.name,
            description=signature.description,
            schema=signature.schema,
            hash=signature.hash,
            function=function,
            signature=signature,
            timeout_s=timeout_s,
            concurrency=concurrency,
            cost_usd=cost_usd,
            idempotent=idempotent,
            approval=approval,
            approval_timeout_s=approval_timeout_s,
            isolation=Isolation(isolation),
            limits=checked,
            result_bytes=result_bytes,
        )

    return made if function is None else made(function)


def json_text(value: object) -> str:
    """A schema or arguments as JSON, the same text for the same value."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def read_result(tool: Tool[R], text: str) -> R:
    """The result that was written as JSON."""
    return cast("R", tool.result.validate_json(text))
