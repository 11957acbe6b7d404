"""TestApp: an app under test. Inline on the virtual clock, or on Ray, by the same lines.

    async with TestApp(app, models=ScriptedModel(["yes"])) as t:
        await t.kill("analyst")
        assert (await t.ask("analyst", Question(text="still there?"))).text == "yes"

`testing_stages` runs the app on each engine; `testing_playbook` decides which turns crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, overload

from regrow.actors import Agent, FunctionAgent
from regrow.actors.adopted import AdoptedWork, BeginWork
from regrow.cluster.app import App, EngineName, Running, Target
from regrow.cluster.config import Settings
from regrow.cluster.deeds import Replaced
from regrow.cluster.durable_ids import ANY_CHILD, agents_of
from regrow.cluster.errors import CrashesLeft, NoSuchAgent
from regrow.cluster.letters import Letters
from regrow.cluster.testing_leaks import Belongings
from regrow.cluster.testing_playbook import Playbook
from regrow.cluster.testing_script import ScriptedModel
from regrow.cluster.testing_stages import Stage, stage_for
from regrow.runtime import ActorId, ActorRef, Message, Misuse, Request, Stream, StreamRequest, Window
from regrow.runtime.ref import DEFAULT_ASK_TIMEOUT_S
from regrow.runtime.virtual_time import run_virtual

P = ParamSpec("P")
R = TypeVar("R")
X = TypeVar("X")
"""A part."""
M = TypeVar("M", bound=Message)

SETTLE_WITHIN_S = 60.0
"""How long work under way may take, on the clock of the engine, until a test that waits for its end fails."""

engine_of_run: ContextVar[EngineName] = ContextVar("regrow_engine_of_run", default="inline")
"""The engine of tests that name none: what `pytest --regrow-engine` says."""


class TestApp:
    """An app that a test runs, harms and looks at. Enter it with `async with`.

    `models` answers for all models of the app. `journal="memory"` lets durable agents run inline, as for App. No
    config file and no variable is read: `settings` are the defaults where none are given, with a memory that is
    forgotten at the end. What is left running at the end, answers of the script that nobody asked for, and crashes
    that never came raise a RehearsalFailed that names them, unless the test has failed anyway.
    """

    __test__ = False  # pytest would collect it, for its name

    def __init__(
        self,
        app: App,
        *,
        models: ScriptedModel | None = None,
        journal: Literal["memory"] | None = None,
        engine: EngineName | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.app = app
        self.models = models
        self._playbook = Playbook()
        self._before = Belongings.none()
        self._stage: Stage = stage_for(
            engine if engine is not None else engine_of_run.get(),
            app,
            settings=settings,
            journal=journal,
            playbook=self._playbook,
            script=models,
        )
        self._running: Running | None = None

    async def __aenter__(self) -> Self:
        self._before = Belongings.now()
        self._running = await self._stage.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stage.stop()
        if error is not None:
            return  # it says more than what follows from it
        await self._stage.pause()
        self._before.check_same(self.app.name)
        if self._playbook.left:
            raise CrashesLeft(self._playbook.left)
        if self.models is not None:
            self.models.check_used_up()

    @property
    def running(self) -> Running:
        """The app as `app.start()` gives it, for all that is not here. Raises Misuse before the app runs."""
        if self._running is None:
            raise Misuse("the app does not run yet; write: async with TestApp(app) as t")
        return self._running

    # ---- reaching agents -------------------------------------------------------------------------

    def ref(self, target: Target, *, key: str | None = None) -> ActorRef:
        """A ref as Running.ref gives it. Raises NoSuchAgent with the ids that there are."""
        ref = self.running.ref(target, key=key)
        if isinstance(target, str):
            self._check_known(ref.address.actor)
        return ref

    @overload
    async def ask(self, target: FunctionAgent[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    async def ask(
        self,
        target: ActorRef | str | type[Agent],
        request: Request[R],
        *,
        key: str | None = None,
        timeout_s: float = DEFAULT_ASK_TIMEOUT_S,
    ) -> R: ...

    async def ask(self, target: Any, *args: Any, **kwargs: Any) -> Any:
        """Asks an agent, an agent function with its own arguments; raises what ActorRef.ask raises."""
        await self._stage.passed()
        if isinstance(target, FunctionAgent):
            return await self.ref(target).ask(target.request(*args, **kwargs))
        return await self.ref(target, key=kwargs.pop("key", None)).ask(*args, **kwargs)

    async def tell(self, target: Target, message: Message, *, key: str | None = None) -> None:
        """Tells an agent; raises what ActorRef.tell raises."""
        await self._stage.passed()
        await self.ref(target, key=key).tell(message)

    @asynccontextmanager
    async def stream(
        self,
        target: ActorRef | str | type[Agent] | FunctionAgent[..., Any],
        request: StreamRequest[X, R],
        *,
        key: str | None = None,
        timeout_s: float = DEFAULT_ASK_TIMEOUT_S,
        window: Window | None = None,
    ) -> AsyncIterator[Stream[X, R]]:
        """Reads an answer part by part; see ActorRef.stream: `async with t.stream("teller", Tell(…)) as stream`."""
        await self._stage.passed()
        ref = self.ref(target, key=key)
        async with ref.stream(request, timeout_s=timeout_s, window=window) as stream:
            yield stream

    # ---- harm ------------------------------------------------------------------------------------

    async def kill(self, target: ActorRef | str | type[Agent]) -> Replaced:
        """Kills an agent or supervisor and waits for what its supervisor does then; see Running.kill.

        On Ray an agent that is alone in its process dies with it, by SIGKILL.
        """
        await self._stage.passed()
        return await self.running.kill(self.ref(target))

    def crash_on(
        self, message: type[Message] | FunctionAgent[..., Any], *, times: int = 1, agent: str | None = None
    ) -> None:
        """The next `times` turns of this message, or of one derived from it, crash in place of their handlers.

        With `agent` only those of that agent. Of adopted code that is the agent's own work it is the next lives that
        crash as they begin. A crash that was ordered and never came fails the test at its end.
        """
        whose = self.ref(agent).address.actor if agent is not None else None
        wanted: Any = message
        if isinstance(message, AdoptedWork):
            wanted, whose = BeginWork, whose or self.ref(message).address.actor
        elif isinstance(message, FunctionAgent):
            wanted = message.request_class
        self._playbook.crash_on(wanted, times=times, agent=whose)

    # ---- time ------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> Awaitable[None]:
        """Lets time pass: at once if it is awaited, else before whatever `t` is awaited for next.

        On the virtual clock it takes no time; on Ray it takes as long as it says, and no more than ADVANCE_LIMIT_S.
        """
        if seconds < 0:
            raise Misuse(f"advance({seconds:g}): time does not go back")
        return self._stage.advance(seconds)

    async def settled(self, *, within_s: float = SETTLE_WITHIN_S) -> None:
        """Waits until no agent handles, starts or stops, nothing is queued and no timer is due.

        Time passes as far as work under way needs it, and no further: timers and reminders that are set for later
        stay so. Raises NotSettled with what is still at work after `within_s`.
        """
        await self._stage.passed()
        await self._stage.settle(within_s)

    # ---- looks -----------------------------------------------------------------------------------

    def restarts(self, target: ActorRef | str | type[Agent]) -> int:
        """How often its supervisor has started an agent or supervisor again. Raises NoSuchAgent, Misuse."""
        self._check_on_time()
        actor = self.ref(target).address.actor
        found = self._stage.restarts(actor)
        if found is None:
            raise NoSuchAgent(self.app.name, actor, known=sorted(self._stage.ids()))
        return found

    def seen(self, message: type[M], *, agent: str | None = None) -> tuple[M, ...]:
        """The messages of a class that came to handlers, in order, crashed turns included; of one agent or of all."""
        self._check_on_time()
        whose = self.ref(agent).address.actor if agent is not None else None
        return tuple(turn.message for turn in self._playbook.seen(whose) if isinstance(turn.message, message))

    async def dead_letters(self) -> Letters:
        """The messages that nobody handled; see Running.dead_letters."""
        await self._stage.passed()
        return await self.running.dead_letters()

    def _check_on_time(self) -> None:
        """Raises Misuse for a look before the time has passed that the test ordered."""
        if self._stage.is_behind:
            raise Misuse("the time of t.advance(…) has not passed yet; write `await t.settled()` before this look")

    def _check_known(self, actor: ActorId) -> None:
        """Raises NoSuchAgent for an id that nobody has, and that no supervisor or agent could give to a child."""
        patterns = {ActorId(id) for id, _ in agents_of(ActorId(self.app.name), self.app.root)}
        below = tuple(f"{id.removesuffix(ANY_CHILD).rstrip('/')}/" for id in patterns)
        is_known = actor in patterns or self.app.made_from(actor) is not None or actor.startswith(below)
        if is_known or ":" in actor or actor in (known := self._stage.ids()):
            return
        raise NoSuchAgent(self.app.name, actor, known=sorted(known))


def run_test(test: Coroutine[Any, Any, None], engine: EngineName) -> None:
    """Runs a test to its end, on virtual time inline and on real time on Ray, with that engine for its apps."""
    token = engine_of_run.set(engine)
    try:
        if engine == "inline":
            run_virtual(test)
        else:
            asyncio.run(test)
    finally:
        engine_of_run.reset(token)
