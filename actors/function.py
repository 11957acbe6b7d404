"""`@agent`: a plain typed function is an agent; its request is made from its signature."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, cast, overload

from pydantic import create_model

from regrow.actors.agent import Agent, on
from regrow.actors.agent_tool import AskOptions, asking_tool
from regrow.actors.context import Context
from regrow.actors.errors import InvalidAgent
from regrow.actors.handlers import check_returns, hints_of, is_context, scope_of_caller
from regrow.actors.tool import Tool
from regrow.runtime.message import Request

P = ParamSpec("P")
R = TypeVar("R")


class Declared(TypedDict, total=False):
    """What may be declared of an agent that is made of a function: see the attributes of Agent."""

    tools: Sequence[Tool[Any]]
    skills: Sequence[str]


class FunctionAgent(Generic[P, R]):
    """An agent made from one function. Called, it is still that function, so that it can be tested alone."""

    makes_behavior: ClassVar[bool] = True

    def __init__(
        self,
        function: Callable[P, Any],
        namespace: dict[str, Any],
        declared: Mapping[str, Any] = MappingProxyType({}),
        module: str = "",
    ) -> None:
        """`module` is where it is made an agent, when that is not where it stands."""
        self.function = function
        self.declared = declared
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = module or function.__module__
        self.__doc__ = function.__doc__
        hints = hints_of(self.__name__, function, namespace)
        if "return" not in hints:
            raise InvalidAgent(f"{self.__name__}: annotate what it returns, such as -> str or -> None")
        fields, self._context_name = fields_of(self.__name__, function, hints)
        self._names = tuple(fields)
        self._required = frozenset(name for name, (_, default) in fields.items() if default is ...)
        base, returns = self.request_base(hints["return"])
        self.request_class: type[Request[R]] = create_model(
            f"{self.__name__}.Request",
            __base__=cast("type[Request[R]]", base),
            __module__=function.__module__,
            **fields,
        )
        self.agent_class = self.made_class(returns)

    def request_base(self, returns: Any) -> tuple[Any, Any]:
        """What the request of a function that is annotated to return this derives from, and the type of its reply."""
        return Request.__class_getitem__(returns), returns

    def made_class(self, returns: Any) -> type[Agent]:
        """The agent class that answers by the function."""

        function = self

        async def call(self: Agent, request: Any, ctx: Any) -> Any:
            return await function.call(request, ctx)

        def call_in_thread(self: Agent, request: Any, ctx: Any) -> Any:
            return function.call(request, ctx)

        return self.class_with(call if inspect.iscoroutinefunction(self.function) else call_in_thread, returns)

    def class_with(self, handler: Callable[..., Any], returns: Any) -> type[Agent]:
        """An agent class whose one handler is this, for this agent's own request."""
        handler.__annotations__ = {"request": self.request_class, "return": returns}
        body = {**self.declared, "call": on(handler), "__module__": self.__module__, "__doc__": self.__doc__}
        return cast("type[Agent]", type(self.__name__, (Agent,), body))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Calls the function itself, without any agent."""
        return self.function(*args, **kwargs)

    def request(self, *args: P.args, **kwargs: P.kwargs) -> Request[R]:
        """The message that asks this agent with these arguments. Raises TypeError as the call would."""
        given = dict(zip(self._names, args, strict=False))
        twice = given.keys() & kwargs.keys()
        given.update(kwargs)
        unknown, missing = given.keys() - set(self._names), self._required - given.keys()
        if len(args) > len(self._names) or twice or unknown or missing:
            raise TypeError(f"{self.__name__}() takes ({', '.join(self._names)}); got {args!r} and {kwargs!r}")
        return self.request_class(**given)

    def as_tool(self, **options: Unpack[AskOptions]) -> Tool[R]:
        """This agent as a tool of another one: see Agent.as_tool; its docstring says what it does and takes."""
        docs = [(self.__name__, self.__doc__)]
        return asking_tool(self, self.request_class, called=self.__name__, docs=docs, options=options)

    def call(self, request: Request[R], ctx: Any) -> Any:
        """The function's result for a request."""
        return self.function(**self.arguments(request, ctx))  # type: ignore[call-arg]

    def arguments(self, request: Request[R], ctx: Any) -> dict[str, Any]:
        """What the function gets for a request, by name."""
        arguments = {name: getattr(request, name) for name in self._names}
        if self._context_name is not None:
            arguments[self._context_name] = ctx
        return arguments


class AgentMaker(Protocol):
    """What `@agent(…)` is, for type checkers."""

    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], Awaitable[R]], /) -> FunctionAgent[P, R]: ...

    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], R], /) -> FunctionAgent[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> FunctionAgent[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> FunctionAgent[P, R]: ...


@overload
def agent(function: Callable[Concatenate[Context, P], Awaitable[R]], /) -> FunctionAgent[P, R]: ...


@overload
def agent(function: Callable[Concatenate[Context, P], R], /) -> FunctionAgent[P, R]: ...


@overload
def agent(function: Callable[P, Awaitable[R]], /) -> FunctionAgent[P, R]: ...


@overload
def agent(function: Callable[P, R], /) -> FunctionAgent[P, R]: ...


@overload
def agent(**declared: Unpack[Declared]) -> AgentMaker: ...


def agent(function: Callable[..., Any] | None = None, /, **declared: Any) -> Any:
    """Makes an agent of a typed function; a parameter annotated Context gets the context.

    `@agent(tools=[search], skills=["refunds@1.2"])` lists what it may run and knows how to do, as the attributes of an
    Agent do; nothing is the default.
    Where the context comes first, type checkers know the arguments of `request` and `App.ask` without it.

    Raises InvalidAgent when a parameter or the return has no type or the function yields, InvalidMessage when one
    has a type that could be changed after sending, InvalidTool and InvalidSkill for a list that is none.
    """
    namespace = dict(scope_of_caller(1))
    check_declared("@agent", declared)

    def made(function: Callable[..., Any]) -> FunctionAgent[..., Any]:
        if isinstance(function, FunctionAgent) or not inspect.isfunction(function):
            raise InvalidAgent(f"@agent stands above a plain `def` or `async def`, not above {function!r}")
        check_returns(function.__name__, function)
        return FunctionAgent(function, namespace, declared)

    return made if function is None else made(function)


def check_declared(where: str, declared: Mapping[str, object]) -> None:
    """Raises InvalidAgent where something is declared that no agent has."""
    for name in declared:
        if name not in Declared.__annotations__:
            known = " and ".join(f"{each}=" for each in Declared.__annotations__)
            raise InvalidAgent(f"{where} takes {known} of what an agent declares, and got {name}=; take it out")


def fields_of(name: str, function: Callable[..., Any], hints: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The fields of a function's request, and the name of the parameter that gets the context."""
    fields: dict[str, Any] = {}
    context_name = None
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise InvalidAgent(f"{name}: a message has named fields, so *{parameter.name} can not be one; name each")
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY or parameter.name.startswith("_"):
            raise InvalidAgent(
                f"{name}: {parameter.name!r} becomes a named field of a message; give it a name without a leading "
                "underscore, and take the / out of the parameters"
            )
        if parameter.name not in hints:
            raise InvalidAgent(f"{name}: annotate {parameter.name!r}, since the message is made from it")
        if is_context(hints[parameter.name]):
            context_name = parameter.name
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    return fields, context_name
