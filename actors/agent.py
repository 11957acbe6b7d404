"""Agents: classes with typed handlers, and plain functions.

An agent is the behavior of a cell. Its handlers are found and checked when the class is defined;
at run time a message costs one look-up in a dict.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, Unpack, cast, get_type_hints, overload

from regrow.actors.agent_tool import AskOptions, tool_of_class
from regrow.actors.context import Context
from regrow.actors.errors import InvalidAgent, InvalidConfig, Unhandled
from regrow.actors.handlers import Handler, Mark, read_handler, scope_of_caller
from regrow.actors.skill import Skill, SkillName, skill_names
from regrow.actors.skill_places import folder_beside, found, not_found
from regrow.actors.skills import read_skill
from regrow.actors.threads import in_thread
from regrow.actors.tool import Tool, ToolSource
from regrow.actors.tool_gate import allow_list
from regrow.runtime.immutable import shown, wire_name
from regrow.runtime.lifecycle import ExitReason, Reachable, Unreachable
from regrow.runtime.message import Message, Request
from regrow.supervisors.requests import OF_SUPERVISORS, no_supervisor

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

_MARK = "__regrow_on__"


@overload
def on(function: F) -> F: ...


@overload
def on(*, concurrent: bool = False, read_only: bool = False) -> Callable[[F], F]: ...


def on(function: F | None = None, *, concurrent: bool = False, read_only: bool = False) -> F | Callable[[F], F]:
    """Marks a method as the handler of the message that its first parameter is annotated with.

    With `concurrent=True` its turns may run while others of the same agent do, so that it must not
    rely on the agent's attributes standing still across an await. At most MAX_CONCURRENT_TURNS run at once;
    when each of so many waits for a call back to this agent, the youngest of their asks fails with AskCycle.

    With `read_only=True`, for durable agents, it answers at once from the state that was committed last: beside the
    turn that runs, ahead of what waits, and while the journal is away. It changes nothing, so that nothing of it is
    stored: the ask is handled at most once, and it takes no steps, sends nothing and does not wait.
    """

    def mark(marked: F) -> F:
        setattr(marked, _MARK, Mark(concurrent=concurrent, read_only=read_only))
        return marked

    return mark if function is None else mark(function)


class Agent:
    """The root of agents with typed handlers; everything about it is checked when the class is defined.

    `config` holds what `child(…, config=…)` gave; annotate it in the subclass to have its type checked
    before the agent starts. `__init__` takes no arguments and may read it.
    """

    context_class = Context
    handlers: ClassVar[dict[type, Handler]] = {}
    traces_turns: ClassVar[bool] = True
    has_concurrent: ClassVar[bool] = False
    """See BehaviorTraits."""
    has_read_only: ClassVar[bool] = False
    takes_read_only: ClassVar[bool] = False
    """Whether there is a committed state to read."""
    _own: ClassVar[dict[type, Handler]] = {}
    _found: ClassVar[dict[type, Handler]] = {}  # `handlers`, and what `_inherited` has found for other messages

    tools: ClassVar[Sequence[Tool[Any] | ToolSource]] = ()
    """What its turns may run by `ctx.tools`, and models on their behalf; nothing else is allowed."""
    listed_tools: ClassVar[Mapping[str, Tool[Any]]] = {}
    """The same by name, as it was when the class was defined, with those that its skills declare."""
    tool_sources: ClassVar[tuple[ToolSource, ...]] = ()
    """What of that list stands for several tools."""

    skills: ClassVar[Sequence[str]] = ()
    """What it knows how to do, such as `refunds@1.2`: found in `skills/` beside its file, or where the settings say."""
    listed_skills: ClassVar[Mapping[str, Skill]] = {}
    """Those that were found, by name; all of them once it has started."""
    _wanted_skills: ClassVar[tuple[SkillName, ...]] = ()
    _skills_beside: ClassVar[Path] = Path()

    config: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        namespace = {**scope_of_caller(1), cls.__name__: cls}
        own: dict[type, Handler] = {}
        for name, value in vars(cls).items():
            inside: Any = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            if hasattr(value, _MARK) or hasattr(inside, _MARK):
                mark = getattr(value, _MARK, Mark())
                handler = read_handler(cls.__name__, cast("Any", value), mark, namespace=namespace)
                for message in handler.messages:
                    if message in own:
                        raise InvalidAgent(
                            f"{cls.__name__} has two handlers for {message.__name__}: {own[message].name} and {name}; "
                            "keep one of them"
                        )
                    own[message] = handler
        _check_calls(cls)
        cls.listed_tools, cls.listed_skills = allow_list(cls.__name__, cls.tools), {}
        cls.tool_sources = tuple(each for each in cls.tools if isinstance(each, ToolSource))
        cls._wanted_skills = skill_names(cls.__name__, cls.skills)
        declares = next(each for each in cls.__mro__ if "skills" in vars(each))
        cls._skills_beside = folder_beside(declares.__module__)
        cls._take_skills()
        cls._own = own
        cls.handlers = {}
        for ancestor in reversed(cls.__mro__):  # so that every base counts, and the nearest wins
            cls.handlers.update(vars(ancestor).get("_own", {}))
        cls._found = dict(cls.handlers)
        asked = cls.runs_concurrently is not Agent.runs_concurrently
        cls.has_concurrent = asked or any(handler.concurrent for handler in cls.handlers.values())
        cls.has_read_only = any(handler.read_only for handler in cls.handlers.values())
        for handler in cls.handlers.values():
            if handler.read_only and not cls.takes_read_only:
                raise InvalidAgent(
                    f"{cls.__name__}.{handler.name} is @on(read_only=True), which is for a DurableAgent: an Agent has "
                    "no state that is committed; take read_only=True away, or write concurrent=True"
                )
            if not hasattr(getattr(cls, handler.name, handler.function), _MARK):
                raise InvalidAgent(
                    f"{cls.__name__}.{handler.name} overrides a handler of a base class and would never be called; "
                    "mark it with @on as well, or give it another name"
                )

    @classmethod
    def made(cls, config: object | None) -> Agent:
        """A new agent with its config in place before `__init__` runs.

        Raises InvalidConfig, InvalidSkill, and what keeps its tools from being used, such as NotPinned.
        """
        for source in cls.tool_sources:
            source.check_usable()
        expected = _config_type(cls)
        if expected is not Any and isinstance(expected, type) and not isinstance(config, expected):
            raise InvalidConfig(
                f"{cls.__name__} declares config: {shown(expected)}, and got {config!r}; "
                f"give child({cls.__name__}, config={shown(expected)}(…))"
            )
        for missing in cls._take_skills():  # the settings, which may name a folder, are known by now
            raise not_found(cls.__name__, missing, cls._skills_beside)
        made = cls.__new__(cls)
        made.config = config
        rubbish = made.__init__()  # type: ignore[misc] # the config stands before it may read it
        if rubbish is not None:
            raise InvalidAgent(f"{cls.__name__}.__init__ returned {rubbish!r}; let it return nothing")
        return made

    @classmethod
    def _take_skills(cls) -> list[SkillName]:
        """Finds the skills that it does not have yet, and lists their tools; gives those that are nowhere."""
        missing, tools = list[SkillName](), list(cls.listed_tools.values())
        for name in cls._wanted_skills:
            if name.name in cls.listed_skills:
                continue
            skill = found(name, cls._skills_beside)
            if skill is None:
                missing.append(name)
                continue
            cls.listed_skills = {**cls.listed_skills, name.name: skill}
            tools += [*([] if read_skill in tools else [read_skill]), *skill.tools.values()]
        cls.listed_tools = allow_list(cls.__name__, tools)
        return missing

    @overload
    @classmethod
    def as_tool(cls, request: type[Request[R]], **options: Unpack[AskOptions]) -> Tool[R]: ...

    @overload
    @classmethod
    def as_tool(cls, **options: Unpack[AskOptions]) -> Tool[Any]: ...

    @classmethod
    def as_tool(cls, request: type[Request[Any]] | None = None, **options: Unpack[AskOptions]) -> Tool[Any]:
        """This agent as a tool of another one, which lists it in `tools`: a call of it is an ask by `request`.

        `request` need not be named where the agent answers only one. What the tool does and takes is told by the
        docstring of the request, else of its handler, else of the class. The app has one agent of this class, or
        several by `key`; for any other see `as_tool` of the room. Raises InvalidTool with the mend.
        """
        return tool_of_class(cls, cls.handlers, request, options)

    async def started(self, ctx: Context) -> None:
        """Called once before the first message; an exception here is a failed start."""

    async def stopping(self, reason: ExitReason, ctx: Context) -> None:
        """Called once when the agent ends in order, within its grace; not after a crash or kill."""

    def runs_concurrently(self, message: object) -> bool:
        """See BehaviorTraits; true for messages of an `@on(concurrent=True)` handler."""
        handler = self._found.get(type(message)) or self._inherited(type(message))
        return handler is not None and handler.concurrent

    def state_seen(self) -> object:
        """See BehaviorTraits: the attributes of this agent. One that has its state elsewhere may say so here."""
        return vars(self)

    def has_handler(self, message: object) -> bool:
        """Whether one of its handlers is for this message."""
        return (self._found.get(type(message)) or self._inherited(type(message))) is not None

    @classmethod
    def reads_only(cls, message: object) -> bool:
        """Whether its handler for this message is an `@on(read_only=True)` one."""
        handler = cls._found.get(type(message)) or cls._inherited(type(message))
        return handler is not None and handler.read_only

    def handle(self, message: Any, ctx: Context) -> Awaitable[object]:
        """Calls the handler of this message; a `def` handler runs in a thread.

        Unreachable and Reachable are passed over where there is none; for all else that is Unhandled.
        """
        handler = self._found.get(type(message)) or self._inherited(type(message))
        if handler is None:
            if isinstance(message, Unreachable | Reachable):
                return _passed_over()
            return _unhandled(self, message, ctx)
        arguments = (self, message, ctx) if handler.takes_context else (self, message)
        if handler.is_async:
            return handler.function(*arguments)  # type: ignore[no-any-return]
        return in_thread(handler.function, arguments)

    @classmethod
    def _inherited(cls, message: type) -> Handler | None:
        """The handler of a message's nearest ancestor, remembered for the next one."""
        for ancestor in message.__mro__[1:]:
            handler = cls.handlers.get(ancestor)
            if handler is not None:
                cls._found[message] = handler
                return handler
        return None


def _check_calls(cls: type[Agent]) -> None:
    """Raises InvalidAgent for a start or stop of the agent that would silently not be awaited, or not be called."""
    for name in ("started", "stopping"):
        if not inspect.iscoroutinefunction(getattr(cls, name)):
            raise InvalidAgent(f"{cls.__name__}.{name} is {getattr(cls, name)!r}; write it as `async def {name}`")
    if inspect.iscoroutinefunction(cls.__init__):
        raise InvalidAgent(
            f"{cls.__name__}.__init__ is `async def` and would never run; put what awaits into `async def started`"
        )


def _config_type(cls: type[Agent]) -> Any:
    """What the nearest class that says so declares `config` to be; other annotations may name what is not there."""
    for ancestor in cls.__mro__:
        annotation = vars(ancestor).get("__annotations__", {}).get("config")
        if annotation is not None:
            alone = type(
                cls.__name__, (), {"__annotations__": {"config": annotation}, "__module__": ancestor.__module__}
            )
            return get_type_hints(alone)["config"]
    return Any


async def _passed_over() -> None:
    """Word of contact is for those who ask for it: a monitor alone asks for the verdict, which is a Down."""


async def _unhandled(agent: Agent, message: Message, ctx: Context) -> object:
    if isinstance(message, OF_SUPERVISORS):
        raise Unhandled(no_supervisor(f"{ctx.id} ({type(agent).__name__})", type(message)))
    if wire_name(type(message)) in {wire_name(cls) for cls in agent.handlers}:
        raise Unhandled(
            f"{ctx.id} ({type(agent).__name__}) handles {type(message).__name__} as it was when the app started, and "
            "its module or cell was run again since; stop the app and start it again, made of the present code"
        )
    known = ", ".join(sorted({cls.__name__ for cls in agent.handlers})) or "nothing"
    raise Unhandled(
        f"{ctx.id} ({type(agent).__name__}) has no handler for {type(message).__name__}; it handles {known}"
    )
