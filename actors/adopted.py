"""`adopt`: code that knows nothing of Regrow, such as a framework's agent or graph, becomes an agent.

What it is asked by is seen from the code when it is adopted:

- a function with types is asked by its signature, as one with `@agent` above it is;
- what takes one text, such as a method of a framework's object, is asked by a Prompt and answers a text;
- what takes nothing is the agent's own work: it starts with the agent, and its end is the agent's.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from functools import lru_cache, partial
from typing import (
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeVar,
    Unpack,
    cast,
    get_args,
    get_origin,
    overload,
)

from regrow.actors.adopted_call import outcome
from regrow.actors.adopted_code import (
    asked_parameters,
    check_takes_nothing,
    check_takes_text,
    code_of,
    is_async,
    name_of,
)
from regrow.actors.agent import Agent, on
from regrow.actors.agent_tool import AskOptions
from regrow.actors.context import Context
from regrow.actors.errors import InvalidAgent, ThreadsFull, Unhandled
from regrow.actors.function import Declared, FunctionAgent, check_declared
from regrow.actors.handlers import hints_of, module_of_caller, scope_of_caller
from regrow.actors.threads import HandlerThreads
from regrow.actors.tool import Tool
from regrow.actors.tool_errors import InvalidTool
from regrow.runtime.errors import CodeNotImportable, InvalidMessage, Misuse, Refused
from regrow.runtime.immutable import importable_module
from regrow.runtime.lifecycle import Normal
from regrow.runtime.message import Message, Request, StreamRequest

P = ParamSpec("P")
R = TypeVar("R")
X = TypeVar("X")
"""A part."""

WORK_THREADS = 64
"""How many agents of one process may have a `def` as their own work, which keeps a thread as long as they live."""

_MARK = "__regrow_adopted__"


class Prompt(StreamRequest[str, str]):
    """Asks what was adopted without types of its own: a text, for a text, which an async iterator gives in parts."""

    asks_adopted_code = True

    text: str


class Adopted(FunctionAgent[P, R]):
    """An agent made from adopted code. Called, it is still that code."""

    def __init__(
        self, function: Callable[P, Any], namespace: dict[str, Any], module: str, declared: Mapping[str, Any]
    ) -> None:
        self._in_threads = not is_async(function)
        super().__init__(function, namespace, declared, module)
        self.request_class.asks_adopted_code = True

    @property
    def code_name(self) -> str:
        """How a host finds it: `module:attribute`. Raises CodeNotImportable with the mend."""
        module = sys.modules.get(self.__module__)
        for name, value in vars(module).items() if module is not None else ():
            if value is self or (value is self.function and getattr(value, _MARK, None) is self):
                return f"{importable_module(self.__module__)}:{name}"
        raise CodeNotImportable(
            f"what {self.__name__} adopts has no name by which a host could import it; write at the top of "
            f"{self.__module__}: {_as_variable(self.__name__)} = adopt(…), and make the child of that"
        )

    def made_class(self, returns: Any) -> type[Agent]:
        """The agent class that answers by the code."""

        adopted = self

        async def call(self: Agent, request: Any, ctx: Context) -> Any:
            return await adopted.answer(request, ctx)

        return self.class_with(call, returns)

    async def answer(self, request: Request[R], ctx: Context) -> Any:
        """What the code gives for a request. Raises what `outcome` does."""
        call = partial(self.function, **self.arguments(request, ctx))
        emit = ctx.emit if isinstance(request, StreamRequest) else None
        return await outcome(call, ctx, in_threads=self._in_threads, emit=emit)


class AdoptedStream(Adopted[P, tuple[X, ...]], Generic[P, X]):
    """An agent made from a function of an async iterator: it is streamed, and its reply is the tuple of its parts."""

    def request_base(self, returns: Any) -> tuple[Any, Any]:
        """See FunctionAgent."""
        part = get_args(returns)[0]
        reply = tuple[part, ...]  # type: ignore[valid-type] # known only here
        return StreamRequest.__class_getitem__((part, reply)), reply

    def request(self, *args: P.args, **kwargs: P.kwargs) -> StreamRequest[X, tuple[X, ...]]:
        """The message that asks this agent with these arguments. Raises TypeError as the call would."""
        return cast("StreamRequest[X, tuple[X, ...]]", super().request(*args, **kwargs))


class AdoptedText(Adopted[[str], str]):
    """An agent made from what takes a text; `reply` makes a text of what it gives."""

    def __init__(
        self, call: Callable[..., Any], reply: Callable[[Any], str] | None, module: str, declared: Mapping[str, Any]
    ) -> None:
        self._reply = reply
        self.declared = declared
        _name_after(self, call, module)
        self._in_threads = not is_async(call)
        self.function = call
        self._names, self._required, self._context_name = ("text",), frozenset({"text"}), None
        self.request_class = Prompt
        self.agent_class = self.made_class(str)

    async def answer(self, request: Request[str], ctx: Context) -> str:
        """The text that the code gives for a Prompt."""
        assert isinstance(request, Prompt)

        async def emit(part: object) -> None:
            if isinstance(part, str):  # what else comes is for `reply`
                await ctx.emit(part)

        call = partial(self.function, request.text)
        given = await outcome(call, ctx, in_threads=self._in_threads, emit=emit)
        if self._reply is not None:
            given = self._reply(given)
        elif isinstance(given, tuple) and all(isinstance(part, str) for part in given):
            given = "".join(given)  # of an async iterator, such as one of tokens
        if not isinstance(given, str):
            raise InvalidMessage(
                f"{self.__name__} gave {type(given).__name__} where a text was wanted; say how to get one out of it: "
                f"adopt({self.__name__}, reply=lambda given: …)"
            )
        return given


class AdoptedWork(Adopted[[], None]):
    """An agent that does nothing but run code that takes nothing."""

    def __init__(
        self, call: Callable[..., Any], context_name: str | None, module: str, declared: Mapping[str, Any]
    ) -> None:
        _name_after(self, call, module)
        self.declared = declared
        self._in_threads = not is_async(call)
        self.function = call
        self._context_name = context_name
        body = {**declared, "work": self, "__module__": module}
        self.agent_class = cast("type[Agent]", type(self.__name__, (_Worker,), body))

    def request(self) -> Request[None]:
        """Raises Misuse, since nothing asks it."""
        raise Misuse(f"{self.__name__} takes nothing, so it runs by itself and is not asked; give it a parameter")

    def as_tool(self, **options: Unpack[AskOptions]) -> Tool[None]:
        """Raises InvalidTool, since nothing asks it."""
        raise InvalidTool(f"{self.__name__} takes nothing, so it runs by itself and is not asked; give it a parameter")

    async def run(self, ctx: Context) -> None:
        """Runs the code to its end. Raises ThreadsFull where it needs a thread and none is free."""
        given = {self._context_name: ctx} if self._context_name is not None else {}
        threads = _work_threads() if self._in_threads else None
        if threads is not None and threads.is_full:  # it would wait in silence for the end of another's life
            raise ThreadsFull(
                f"{ctx.id} needs a thread for its work, and {WORK_THREADS} agents of this process have one for as long "
                "as they live; give it placement=Dedicated(), or write the work as `async def`"
            )
        await outcome(partial(self.function, **given), ctx, in_threads=self._in_threads, threads=threads)


class BeginWork(Message):
    """From the agent to itself: the life has started, so the work may."""


class _Worker(Agent):
    work: AdoptedWork
    has_begun = False

    async def started(self, ctx: Context) -> None:
        ctx.after(0.0, BeginWork())

    def runs_concurrently(self, message: object) -> bool:
        """So that whoever asks it is refused at once, and does not wait for its end."""
        return True

    def handle(self, message: Any, ctx: Context) -> Awaitable[object]:
        return _not_asked(ctx) if isinstance(message, Request) else super().handle(message, ctx)

    @on
    async def begin(self, message: BeginWork, ctx: Context) -> None:
        if self.has_begun:
            raise Refused(f"{ctx.id} has begun its work already")
        self.has_begun = True
        await self.work.run(ctx)
        ctx.stop(Normal())


def is_own_work(message: object) -> bool:
    """Whether the turn of this message is an agent's own work, which lasts as long as the agent."""
    return isinstance(message, BeginWork)


async def _not_asked(ctx: Context) -> object:
    raise Unhandled(f"{ctx.id} does nothing but its own work, and answers nobody")


@overload
def adopt(
    call: Callable[..., Any], *, reply: Callable[[Any], str], **declared: Unpack[Declared]
) -> Adopted[[str], str]: ...


@overload
def adopt(
    call: Callable[Concatenate[Context, P], AsyncIterator[X]], **declared: Unpack[Declared]
) -> AdoptedStream[P, X]: ...


@overload
def adopt(call: Callable[P, AsyncIterator[X]], **declared: Unpack[Declared]) -> AdoptedStream[P, X]: ...


@overload
def adopt(call: Callable[Concatenate[Context, P], Awaitable[R]], **declared: Unpack[Declared]) -> Adopted[P, R]: ...


@overload
def adopt(call: Callable[P, Awaitable[R]], **declared: Unpack[Declared]) -> Adopted[P, R]: ...


@overload
def adopt(call: Callable[Concatenate[Context, P], R], **declared: Unpack[Declared]) -> Adopted[P, R]: ...


@overload
def adopt(call: Callable[P, R], **declared: Unpack[Declared]) -> Adopted[P, R]: ...


@overload
def adopt(call: Callable[..., Any], **declared: Unpack[Declared]) -> Adopted[..., Any]: ...


def adopt(call: Callable[..., Any], *, reply: Callable[[Any], str] | None = None, **declared: Any) -> Adopted[..., Any]:
    """Makes an agent of code that knows nothing of Regrow: `child(adopt(fn), id=…)`.

    A function with types is asked by its signature; anything else that takes one text by a Prompt, where `reply` makes
    the text of the answer from what it gives; what takes nothing is the agent's own work, whose end is Normal and whose
    exception is a crash. `async` code is cancelled at a stop and at the deadline of its request. A `def` runs in a
    thread, which can not be interrupted: it is waited for, and its process is killed when its grace is over.

    `adopt(fn, tools=[search])` lists what it may run, as `tools` in the class of an Agent does: by `ctx.tools`, or by
    `search.as_function()`, which a framework takes for a function of its own. `skills` is as for an Agent.

    Raises InvalidAgent for what could not be asked, InvalidMessage for a parameter that could not be sent, InvalidTool
    and InvalidSkill for a list that is none.
    """
    module, namespace = module_of_caller(1), dict(scope_of_caller(1))
    check_declared("adopt", declared)
    _check(call)
    known = adopted_from(call)
    if known is not None and reply is None:
        _check_same(known, declared)
        return known  # whoever adopts one function means one agent, and one request that asks it
    made = _made(call, reply, namespace, module, declared)
    if inspect.isfunction(call) and reply is None:
        setattr(call, _MARK, made)
    return made


def _made(
    call: Callable[..., Any],
    reply: Callable[[Any], str] | None,
    namespace: dict[str, Any],
    module: str,
    declared: Mapping[str, Any],
) -> Adopted[..., Any]:
    context_name, takes = asked_parameters(call, namespace)
    if takes is not None and not takes:
        if reply is not None or inspect.isasyncgenfunction(code_of(call)):
            raise InvalidAgent(
                f"{name_of(call)} takes nothing, so it is the agent's own work and nobody gets what it gives; give it "
                "a parameter, such as text: str, or have it return nothing"
            )
        check_takes_nothing(call, context_name)
        return AdoptedWork(call, context_name, module, declared)
    if inspect.isfunction(call) and call.__annotations__:
        if reply is not None:
            raise InvalidAgent(f"{name_of(call)} has types, and its reply is what it returns; leave reply= out")
        returns = hints_of(name_of(call), call, namespace).get("return")
        kind: type[Adopted[..., Any]] = AdoptedStream if get_origin(returns) in _ITERATORS else Adopted
        return kind(call, namespace, module, declared)
    check_takes_text(call)
    return AdoptedText(call, reply, module, declared)


def _check_same(known: Adopted[..., Any], declared: Mapping[str, Any]) -> None:
    """Raises InvalidAgent where a function is adopted again, with other lists."""
    for name, listed in declared.items():
        if list(listed) != list(known.declared.get(name, ())):
            raise InvalidAgent(
                f"{known.__name__} is adopted already, with other {name}, and one function makes one agent; adopt it "
                f"once, with the {name} that it is to have"
            )


def adopted_from(code: object) -> Adopted[..., Any] | None:
    """The agent that was made of this very function, None when none was."""
    known = getattr(code, _MARK, None)
    return known if isinstance(known, Adopted) else None


def _check(call: object) -> None:
    if isinstance(call, FunctionAgent):
        raise InvalidAgent(f"{call.__name__} is an agent already; make the child of it as it is")
    if isinstance(call, Tool):
        raise InvalidAgent(
            f"{call.name} is a tool, which is run by an agent that lists it; write `tools = [{call.name}]` in its class"
        )
    if isinstance(call, type) or not callable(call):
        raise InvalidAgent(
            f"{call!r:.120} can not be adopted; give a function, or a method of an object such as agent.run. Each life "
            "calls it anew, so of an async iterator give the function that makes it"
        )
    if inspect.isgeneratorfunction(code_of(call)):
        raise InvalidAgent(f"{name_of(call)} yields in a plain `def`; write it as `async def`, or return a tuple")


def _name_after(adopted: Adopted[..., Any], call: Callable[..., Any], module: str) -> None:
    adopted.__name__ = adopted.__qualname__ = name_of(call)
    adopted.__module__ = module
    adopted.__doc__ = getattr(call, "__doc__", None)


def _as_variable(name: str) -> str:
    return name if name != "adopted" else "it"


@lru_cache(maxsize=1)
def _work_threads() -> HandlerThreads:
    return HandlerThreads(WORK_THREADS, is_beside_time=True)  # or time would stand as long as they live


_ITERATORS = (AsyncIterator, AsyncIterable, AsyncGenerator)
