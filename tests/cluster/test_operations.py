"""What a person does to one agent: its supervisor does the work, and what became of it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from regrow.actors import Agent, agent
from regrow.cluster.deeds import Deed, Replaced
from regrow.cluster.errors import NoSuchAgent
from regrow.cluster.making import BehaviorFactory
from regrow.cluster.operations import Operations
from regrow.cluster.roots import Roots
from regrow.runtime import ActorId, HostId, Incarnation, KillOutcome, Misuse, Runtime, WorldBroke
from regrow.runtime.context import CellContext
from regrow.runtime.errors import TooLate
from regrow.runtime.lifecycle import ExitReason
from regrow.runtime.local_starter import LocalStarter
from regrow.runtime.starter import KILLED_BY_SUPERVISOR
from regrow.runtime.testing import pass_time, virtual
from regrow.supervisors import (
    DynamicSupervisor,
    DynamicSupervisorBehavior,
    FailedToStartChild,
    Supervisor,
    SupervisorSpec,
    child,
)
from tests.cluster.test_roots import no_services
from tests.runtime.scripted import Nowhere

WAIT_S = 30.0


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


class Unready(Agent):
    """Fails to start as long as this is set."""

    fails = False

    async def started(self, ctx: CellContext) -> None:
        if Unready.fails:
            raise ValueError("not ready")


class Slow(Agent):
    """Never comes to the end of its stop."""

    async def stopping(self, reason: ExitReason, ctx: CellContext) -> None:
        await asyncio.Event().wait()


class Deaf(LocalStarter):
    """A host that can not say whether its agent is dead."""

    async def kill(self, actor: ActorId, incarnation: Incarnation, detail: str = KILLED_BY_SUPERVISOR) -> KillOutcome:
        return KillOutcome.UNCONFIRMED


class Host:
    """One app in this process, and what may be ordered there."""

    def __init__(self, starter: type[LocalStarter] = LocalStarter) -> None:
        self.roots = Roots("desk", no_services)
        self.runtime = Runtime(
            HostId("here"), make_behavior=BehaviorFactory(self.roots.make_supervisor), directory=Nowhere()
        )
        self.starter = starter(self.runtime)
        self.roots.attach(self.runtime, self.starter)
        self._operations = Operations(self.roots)

    async def do(self, deed: Deed, actor: str, timeout_s: float = WAIT_S) -> Replaced:
        return await self._operations.carry_out(deed, ActorId(actor), timeout_s=timeout_s)

    def incarnation(self, actor: str) -> int:
        row = self.roots.row(ActorId(actor))
        assert row is not None
        return row.incarnation


@asynccontextmanager
async def running(root: SupervisorSpec, starter: type[LocalStarter] = LocalStarter) -> AsyncIterator[Host]:
    host = Host(starter)
    await host.roots.start(root)
    yield host
    await host.roots.stop()
    await host.runtime.aclose()


@virtual
async def test_a_killed_agent_is_back_in_a_new_life_and_others_saw_it_killed() -> None:
    async with running(Supervisor(children=[child(greet)])) as host:
        before = host.incarnation("desk/greet")

        done = await host.do(Deed.KILL, "desk/greet")

        assert (done.state, done.agent, done.deed) == ("running", "desk/greet", Deed.KILL)
        assert done.before is not None
        assert done.after is not None
        assert (done.before.incarnation, done.after.incarnation) == (before, host.incarnation("desk/greet"))
        assert done.after.incarnation > before
        row = host.roots.row(ActorId("desk/greet"))
        assert row is not None
        assert row.last_reason == "Killed (killed by order of a person)"


@virtual
async def test_an_ordered_restart_costs_no_restart_of_the_window_and_leaves_siblings_alone() -> None:
    tree = Supervisor(strategy="one_for_all", max_restarts=0, children=[child(greet, id="a"), child(greet, id="b")])
    async with running(tree) as host:
        a, b = host.incarnation("desk/a"), host.incarnation("desk/b")

        done = await host.do(Deed.RESTART, "desk/a")

        assert done.state == "running"
        assert host.incarnation("desk/a") > a
        assert host.incarnation("desk/b") == b
        row = host.roots.row(ActorId("desk/a"))
        assert row is not None
        assert row.last_reason == "Shutdown"


@virtual
async def test_a_supervisor_is_restarted_with_all_below_it() -> None:
    inner = child(Supervisor(children=[child(greet)]), id="inner")
    async with running(Supervisor(children=[inner])) as host:
        before = host.incarnation("desk/inner/greet")

        done = await host.do(Deed.RESTART, "desk/inner")

        assert done.state == "running"
        assert host.incarnation("desk/inner/greet") > before


@virtual
async def test_a_child_that_an_operator_stopped_is_started_by_a_restart() -> None:
    async with running(Supervisor(children=[child(greet)])) as host:
        supervisor = host.roots.supervisor(ActorId("desk"))
        assert supervisor is not None
        await supervisor.stop_child("greet")

        with pytest.raises(Misuse, match=r"it is stopped.*start it with: regrow restart desk/greet"):
            await host.do(Deed.KILL, "desk/greet")
        done = await host.do(Deed.RESTART, "desk/greet")

        assert (done.before, done.state) == (None, "running")


@virtual
async def test_a_child_that_fails_to_start_is_told_with_its_cause_and_a_later_restart_brings_it_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(Supervisor(children=[child(greet), child(Unready, id="unready")])) as host:
        monkeypatch.setattr(Unready, "fails", True)
        with pytest.raises(FailedToStartChild, match="not ready"):
            await host.do(Deed.RESTART, "desk/unready")
        row = host.roots.row(ActorId("desk/unready"))
        assert row is not None
        assert row.state == "stopped"

        monkeypatch.setattr(Unready, "fails", False)
        done = await host.do(Deed.RESTART, "desk/unready")

        assert done.state == "running"


@virtual
async def test_a_temporary_agent_can_be_killed_and_is_then_gone_but_not_restarted() -> None:
    async with running(Supervisor(children=[child(greet, id="once", restart="temporary")])) as host:
        with pytest.raises(Misuse, match="desk/once is temporary"):
            await host.do(Deed.RESTART, "desk/once")

        done = await host.do(Deed.KILL, "desk/once")

        assert (done.state, done.after, done.why) == ("gone", None, "it is temporary")


@virtual
async def test_a_dynamic_child_is_killed_and_back_but_not_restarted_by_order() -> None:
    pool = DynamicSupervisor(child(greet))
    async with running(Supervisor(children=[child(pool, id="pool")])) as host:
        supervisor = host.roots.supervisor(ActorId("desk/pool"))
        assert isinstance(supervisor, DynamicSupervisorBehavior)
        row = await supervisor.start_child()

        with pytest.raises(Misuse, match=f"{row.actor} is a child of a DynamicSupervisor"):
            await host.do(Deed.RESTART, row.actor)
        done = await host.do(Deed.KILL, row.actor)

        assert done.state == "running"
        assert host.incarnation(row.actor) > row.incarnation


@virtual
async def test_a_kill_that_is_one_too_many_ends_the_app_and_says_so() -> None:
    async with running(Supervisor(max_restarts=0, children=[child(greet)])) as host:
        done = await host.do(Deed.KILL, "desk/greet")

        assert (done.state, done.after) == ("app_ended", None)
        assert done.why.startswith("Escalated")


@virtual
async def test_a_kill_that_makes_the_next_level_restart_waits_for_that() -> None:
    inner = child(Supervisor(max_restarts=0, children=[child(greet)]), id="inner")
    async with running(Supervisor(children=[inner])) as host:
        before = host.incarnation("desk/inner")

        done = await host.do(Deed.KILL, "desk/inner/greet")

        assert done.state == "running"
        assert host.incarnation("desk/inner") > before


@virtual
async def test_a_kill_that_is_not_confirmed_is_told_and_starts_nothing() -> None:
    async with running(Supervisor(children=[child(greet)]), Deaf) as host:
        before = host.incarnation("desk/greet")

        with pytest.raises(WorldBroke, match="its host can not confirm it, so it is not started again"):
            await host.do(Deed.KILL, "desk/greet")

        assert host.incarnation("desk/greet") == before


@virtual
async def test_who_gives_up_waiting_is_told_and_the_restart_goes_on() -> None:
    async with running(Supervisor(children=[child(Slow, id="slow", shutdown_s=10.0)])) as host:
        before = host.incarnation("desk/slow")

        with pytest.raises(TooLate, match=r"after 1 s and the restart goes on; follow it with: regrow ps desk"):
            await host.do(Deed.RESTART, "desk/slow", timeout_s=1.0)
        await pass_time(10.0)

        assert host.incarnation("desk/slow") > before


@virtual
async def test_an_unknown_agent_is_told_with_those_there_are() -> None:
    inner = child(Supervisor(children=[child(greet)]), id="inner")
    async with running(Supervisor(children=[inner])) as host:
        with pytest.raises(NoSuchAgent, match="there are: desk/inner, desk/inner/greet") as unknown:
            await host.do(Deed.KILL, "desk/clerk")
        with pytest.raises(NoSuchAgent, match="did you mean desk/inner/greet"):
            await host.do(Deed.RESTART, "desk/inner/gret")
        for elsewhere in ("desk/greet", "desk/gret"):
            with pytest.raises(NoSuchAgent, match="did you mean desk/inner/greet"):
                await host.do(Deed.KILL, elsewhere)
        with pytest.raises(NoSuchAgent, match="if desk/inner/greet has spawned it"):
            await host.do(Deed.KILL, "desk/inner/greet/kid")
        with pytest.raises(Misuse, match="desk is the root, which nobody supervises"):
            await host.do(Deed.RESTART, "desk")

        assert unknown.value.known == ("desk/inner", "desk/inner/greet")
