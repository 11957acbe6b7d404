"""App: a supervision tree with memory and models, and the engine that runs it. The composition root.

The same App runs on every engine without change. `start` is awaited, or entered with `async with`;
`App.ask` and `App.run` are the blocking edges.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Generator, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeAlias, TypeVar, overload

import structlog

from regrow.actors import Agent, FunctionAgent
from regrow.cluster import logs
from regrow.cluster.code import agent_class, digest_of
from regrow.cluster.config import Settings
from regrow.cluster.deeds import DEED_TIMEOUT_S, Deed, Replaced
from regrow.cluster.durable_ids import ANY_CHILD, DurableIds, agents_of
from regrow.cluster.engine import Engine
from regrow.cluster.engines import begun, engine_for
from regrow.cluster.keyed_ids import KeyedIds, is_same_code
from regrow.cluster.letters import Letters
from regrow.cluster.mcp_consent import check_sessions
from regrow.cluster.tree import Counts, TreeNode
from regrow.runtime import (
    ActorId,
    ActorRef,
    Address,
    AskOutcome,
    ExitReason,
    InvalidDefinition,
    Message,
    Misuse,
    Request,
)
from regrow.runtime.ask_all import ask_all, paired
from regrow.runtime.guards import Guards
from regrow.runtime.ref import DEFAULT_ASK_TIMEOUT_S
from regrow.supervisors import ChildCounts, ChildRow, ChildSpec, SpecError, SpecRow, Supervisor, SupervisorSpec, child
from regrow.supervisors import requests as to_supervisor
from regrow.supervisors.spec import TARGETS_ALLOWED

if TYPE_CHECKING:
    from regrow.cluster.metrics_endpoint import MetricsEndpoint
    from regrow.cluster.running import Ended

P = ParamSpec("P")
R = TypeVar("R")
EngineName = Literal["inline", "ray"]
ENGINES: tuple[EngineName, ...] = ("inline", "ray")
Target: TypeAlias = ActorRef | str | FunctionAgent[Any, Any] | type[Agent]
"""What stands for one agent of the app."""
RESERVED = frozenset("/#:$* ")

log = structlog.get_logger("regrow.app")


class App:
    """A named tree of agents. Raises InvalidDefinition for a name or child that could not run.

    `journal="memory"` lets durable agents run on the inline engine, where what they keep ends with the process; on Ray
    they keep it in Redis, whatever is said here. `guards` says what stops a runaway, and when; settings win over it.
    """

    def __init__(
        self,
        name: str,
        root: SupervisorSpec | ChildSpec | FunctionAgent[Any, Any] | type[Agent],
        *more: object,
        journal: Literal["memory"] | None = None,
        guards: Guards | None = None,
    ) -> None:
        if not name or not name.isprintable() or RESERVED & set(name):
            raise InvalidDefinition(f"an app's name is a short word without {' '.join(sorted(RESERVED))}; got {name!r}")
        self.name = name
        self.journal = journal
        self.guards = guards if guards is not None else Guards()
        frame = inspect.currentframe()
        caller = frame.f_back if frame is not None else None
        self.module: str = caller.f_globals.get("__name__", "") if caller is not None else ""
        self.digest = digest_of(self.module)
        self.root = _as_root(root, more)
        agents = dict(agents_of(ActorId(name), self.root))
        for actor, target in agents.items():
            if agent_class(target) is None:
                raise SpecError("target", target, TARGETS_ALLOWED, where=actor)
        check_sessions(agents)
        self.is_durable = DurableIds.of(name, self.root)
        self.keyed = KeyedIds.of(name, self.root)
        self._children = {actor: target for actor, target in agents.items() if ANY_CHILD not in actor}

    def start(self, *, engine: EngineName | None = None, settings: Settings | None = None) -> Starting:
        """Starts the tree: `running = await app.start()` or `async with app.start() as running`.

        Raises (when awaited): FailedToStartChild, CodeNotImportable, ConfigError, RayUnavailable,
        RedisUnavailable; whatever it raises, nothing is left running.
        """
        return Starting(self, engine, settings)

    @overload
    def ask(self, target: FunctionAgent[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def ask(self, target: str | type[Agent], request: Request[R], *, timeout_s: float = DEFAULT_ASK_TIMEOUT_S) -> R: ...

    def ask(self, target: Any, *args: Any, **kwargs: Any) -> Any:
        """Starts the app inline, asks one question, stops it, and returns the answer. Blocks.

        An agent function is asked with its own arguments, everything else with a Request.
        """

        async def main() -> Any:
            async with self.start(engine="inline") as running:
                if isinstance(target, FunctionAgent):
                    return await running.ref(target).ask(target.request(*args, **kwargs))
                return await running.ref(target).ask(*args, **kwargs)

        return _blocking("ask", main())

    def run(self, *, engine: EngineName | None = None, settings: Settings | None = None) -> ExitReason:
        """Runs the app until its root ends, or Ctrl-C, SIGTERM or `regrow stop` stops it. Blocks; returns why it ended.

        Meanwhile `regrow ps` and `regrow ask` reach it like one that `regrow run` started. Raises what `start`
        raises, and AppAlreadyRunning when an app of this name runs here as this user. A signal that comes before
        the app runs undoes the start and ends the program: KeyboardInterrupt after Ctrl-C, else SystemExit with
        128 and the signal's number.
        """

        from regrow.cluster.running import supervise  # only here, since most programs that ask need none of it

        async def main() -> Ended:
            known = settings if settings is not None else Settings.load()
            logs.configure(known.log, known.tracing.redact)  # what is said before the start goes to stderr as well
            return await supervise(self, engine, known, say=log.info)

        ended = _blocking("run", main())
        ended.raise_if_interrupted()
        return ended.reason

    @property
    def agents(self) -> Mapping[ActorId, object]:
        """The agents of the tree as it was defined: the id of each, and what it is made from."""
        return self._children

    def id_of(self, target: object) -> ActorId | None:
        """The id of the child made from a class or agent function; None when there is none.

        Raises Misuse when several are, and for agents with keys, of which one has to be named.
        """
        if target in self.keyed.kinds.values():
            name = getattr(target, "__name__", target)
            raise Misuse(f"there is one {name} for each key; say which one is meant: ref({name}, key=…)")
        found = [actor for actor, made_from in self._children.items() if made_from is target]
        if not found:
            found = [a for a, made_from in self._children.items() if is_same_code(made_from, target)]
        if len(found) > 1:
            name = getattr(target, "__name__", target)
            raise Misuse(f"{len(found)} children are made from {name}: {', '.join(found)}; give the id of one")
        return found[0] if found else None

    def made_from(self, actor: ActorId) -> object | None:
        """What an agent of the tree, or one with a key, is made from; None where there is no such agent."""
        return self._children.get(actor) or self.keyed.made_from(actor)

    def __repr__(self) -> str:
        return f"<App {self.name}: {len(self._children)} agents>"


class Starting:
    """An app that is about to start: await it, or enter it."""

    def __init__(self, app: App, engine: EngineName | None, settings: Settings | None) -> None:
        self._app = app
        self._engine = engine
        self._settings = settings
        self._running: Running | None = None

    def __await__(self) -> Generator[Any, None, Running]:
        return self._start().__await__()

    async def __aenter__(self) -> Running:
        self._running = await self._start()
        return self._running

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._running is not None
        await self._running.stop()

    async def _start(self) -> Running:
        settings = self._settings if self._settings is not None else Settings.load()
        logs.configure(settings.log, settings.tracing.redact)
        name = self._engine or settings.engine
        if name not in ENGINES:
            raise Misuse(f"there is no engine {name!r}; use one of {', '.join(map(repr, ENGINES))}")
        return await begun(Running(self._app, engine_for(name, self._app, settings)), settings)


class Running:
    """An app that runs."""

    def __init__(self, app: App, engine: Engine) -> None:
        self.app = app
        self.engine = engine
        self.endpoint: MetricsEndpoint | None = None
        """What serves the metrics of this run, where the settings want that."""

    def ref(self, target: Target, *, key: str | None = None) -> ActorRef:
        """A ref to an agent by class, agent function, id (`desk/analyst`) or the id below the root (`analyst`).

        Of agents with keys it is the one with this `key`, whether or not it runs; its id is `desk/clerk/KEY`.
        """
        if isinstance(target, str) and not target.startswith(f"{self.app.name}/") and ":" not in target:
            target = f"{self.app.name}/{target}"
        return self.engine.runtime.ref(target, key=key)

    async def whereis(self, name: str) -> ActorRef | None:
        """The life of an agent that has taken this name with `ctx.register`; None when none has."""
        return await self.engine.runtime.names.whereis(name)

    async def members(self, group: str) -> list[ActorRef]:
        """The lives of agents that are in a group by `ctx.join`, each as often as it joined."""
        return await self.engine.runtime.names.members(group)

    @overload
    async def ask_all(
        self, targets: Iterable[Target], request: Request[R], *, timeout_s: float = DEFAULT_ASK_TIMEOUT_S
    ) -> list[AskOutcome[R]]: ...

    @overload
    async def ask_all(
        self, targets: Iterable[tuple[Target, Request[R]]], *, timeout_s: float = DEFAULT_ASK_TIMEOUT_S
    ) -> list[AskOutcome[R]]: ...

    @overload  # with replies of several types
    async def ask_all(
        self, targets: Iterable[tuple[Target, Request[Any]]], *, timeout_s: float = DEFAULT_ASK_TIMEOUT_S
    ) -> list[AskOutcome[Any]]: ...

    async def ask_all(
        self, targets: Iterable[Any], request: Request[Any] | None = None, *, timeout_s: float = DEFAULT_ASK_TIMEOUT_S
    ) -> list[AskOutcome[Any]]:
        """Asks many agents under one deadline; gives for each its reply or error. See Context.ask_all."""
        return await ask_all(self.engine.runtime.asking, self.ref, paired(targets, request), timeout_s)

    async def start_child(
        self, supervisor: ActorRef | str | None = None, *, config: object | None = None, spec: ChildSpec | None = None
    ) -> ActorRef:
        """Starts one more child of a supervisor, the root where none is named. See Context.start_child."""
        return await to_supervisor.start_child(self._supervisor(supervisor), config, spec=spec)

    async def restart_child(self, child: ActorRef | str) -> ActorRef:
        """Starts a child again that does not run. See Context.restart_child."""
        return await to_supervisor.restart_child(self.ref(child))

    async def stop_child(self, child: ActorRef | str, *, timeout_s: float = DEFAULT_ASK_TIMEOUT_S) -> None:
        """Has a child stopped by its supervisor; returns when it is dead. See Context.stop_child."""
        await to_supervisor.stop_child(self.ref(child), timeout_s)

    async def delete_child(self, child: ActorRef | str) -> None:
        """Has a child that does not run forgotten by its supervisor. See Context.delete_child."""
        await to_supervisor.delete_child(self.ref(child))

    async def get_childspec(self, child: ActorRef | str) -> SpecRow:
        """The spec of a child, as its supervisor has it. See Context.get_childspec."""
        return await to_supervisor.get_childspec(self.ref(child))

    async def which_children(self, supervisor: ActorRef | str | None = None) -> tuple[ChildRow, ...]:
        """The children of a supervisor in start order; of the root where none is named."""
        return await to_supervisor.which_children(self._supervisor(supervisor))

    async def count_children(self, supervisor: ActorRef | str | None = None) -> ChildCounts:
        """How many children a supervisor has; the root where none is named."""
        return await to_supervisor.count_children(self._supervisor(supervisor))

    def _supervisor(self, named: ActorRef | str | None) -> ActorRef:
        runtime = self.engine.runtime
        return runtime.ref_to(Address(ActorId(self.app.name))) if named is None else self.ref(named)

    async def tree(self) -> tuple[TreeNode, ...]:
        """The supervision trees as they are now: the app's, and its services' once one is used."""
        return (await self.engine.trees()).roots

    async def counts(self) -> Counts:
        """What the app has done so far."""
        return (await self.engine.trees()).counts

    async def dead_letters(self) -> Letters:
        """The messages that nobody handled, in all processes of the app: counted by reason, and the latest ones."""
        return await self.engine.letters()

    async def metrics(self) -> dict[str, Any]:
        """What the processes of the app have counted, each and in all, as JSON (docs/guides/seeing-what-happened.md).

        Totals hold what processes that are gone have told, and never go back while the app runs.
        """
        from regrow.cluster.metrics import told  # here, since few programs look

        return told(await self.engine.metrics())

    async def waits(self, agent: str = "") -> list[dict[str, Any]]:
        """The messages whose turns wait for an answer, oldest first, as `regrow waits --json` tells them.

        `id` is what `answer` takes; `call` is the tool with its arguments to which consent is asked, or None.
        """
        from regrow.cluster.answers import waits  # here, since few programs look

        rows: list[dict[str, Any]] = (await waits(self, agent))["waits"]
        return rows

    async def answer(self, id: str, answer: Message) -> None:
        """Gives a durable agent's message what its turn waits for in `ctx.wait_for`; `id` is its `ctx.message_id`.

        Raises Misuse where it waits for nothing, or for another class.
        """
        from regrow.cluster.answers import answered  # only here, since few programs need it

        await answered(self, id, answer)

    async def kill(self, target: ActorRef | str | type[Agent], *, timeout_s: float = DEED_TIMEOUT_S) -> Replaced:
        """Kills an agent or supervisor without asking it, and waits for what its supervisor does then.

        Others see it as Killed. Raises what Operations.carry_out raises.
        """
        return await self._carry_out(Deed.KILL, target, timeout_s)

    async def restart(self, target: ActorRef | str | type[Agent], *, timeout_s: float = DEED_TIMEOUT_S) -> Replaced:
        """Has an agent's supervisor stop it in order and start it anew; starts one that does not run.

        Raises what Operations.carry_out raises.
        """
        return await self._carry_out(Deed.RESTART, target, timeout_s)

    async def _carry_out(self, deed: Deed, target: ActorRef | str | type[Agent], timeout_s: float) -> Replaced:
        return await self.engine.carry_out(deed, self.ref(target).address.actor, timeout_s=timeout_s)

    async def stop(self) -> None:
        """Stops the tree in order, within the shutdown limits of its children; leaves nothing. Idempotent."""
        await asyncio.shield(self._stop())

    async def _stop(self) -> None:
        if self.endpoint is not None:
            await self.endpoint.aclose()  # first: it asks an engine that runs
        await self.engine.stop()

    async def wait_ended(self) -> ExitReason:
        """Waits until the root of the tree has ended, and says why."""
        return await self.engine.wait_ended()


def _as_root(root: object, more: tuple[object, ...]) -> SupervisorSpec:
    if isinstance(root, SupervisorSpec) and not more:
        return root
    if isinstance(root, SupervisorSpec):
        raise InvalidDefinition("an app has one root: put the other children into the Supervisor as well")
    children = [item if isinstance(item, ChildSpec) else child(item) for item in (root, *more)]  # type: ignore[arg-type]
    return Supervisor(children=children)


def _blocking(what: str, main: Awaitable[R]) -> R:
    try:
        asyncio.get_running_loop()
        is_async = True
    except RuntimeError:
        is_async = False
    if not is_async:  # not in the handler above: an error of the app's own would be told as one in handling that
        from regrow.cluster.pausable_loop import run_pausable  # only here: most programs have a loop of their own

        return run_pausable(main)
    main.close()  # type: ignore[attr-defined]
    raise Misuse(
        f"App.{what} blocks and an event loop runs here already; use `async with app.start() as running` instead"
    )
