"""Starts that ask, by whatever way, an agent which waits for them are found and fail (SEMANTICS 4)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.errors import AskCycle
from regrow.runtime.lifecycle import ExitReason
from regrow.runtime.local_starter import LocalStarter
from regrow.runtime.message import Message, Request
from regrow.runtime.starter import KILLED_BY_SUPERVISOR, KillOutcome, Started, Starter, StartFailed, StartRequest
from regrow.runtime.testing import pass_time, virtual
from regrow.supervisors import (
    AnySupervisorSpec,
    ChildSpec,
    DynamicSupervisor,
    FailedToStartChild,
    Supervisor,
    child,
    supervisor_behavior,
)
from regrow.supervisors.requests import count_children, start_child, which_children
from regrow.supervisors.spec import RestartName
from tests.runtime.scripted import Boom, Echo, Note, Scripted
from tests.simulation.wires import AwayStarter, Node, World

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.context import CellContext
    from regrow.runtime.ref import ActorRef

Begin = Callable[[Any], Awaitable[object]]


class Open(Request[str]):
    """Start a child of the pool, and tell what came of it."""


class Session:
    """What the pool makes its children of; each begins as the desk says at that time."""

    makes_behavior: ClassVar[bool] = True

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def __call__(self) -> Scripted:
        return Scripted(_session, started=self._desk.begin)


class Hosts:
    """The Starter port: supervisors begin in the process that asks for it, and all others where `others` says."""

    def __init__(self, desk: Desk, others: Starter) -> None:
        self._desk = desk
        self._here = LocalStarter(desk.guardian.runtime)
        self._others = others

    async def start(self, request: StartRequest) -> Started | StartFailed:
        spec = request.target
        if isinstance(spec, AnySupervisorSpec):
            return await self._here.start(replace(request, target=lambda: self._desk.supervisor(spec)))
        return await self._others.start(request)

    async def stop(self, actor: ActorId, incarnation: Incarnation, reason: ExitReason, grace_s: float | None) -> None:
        await self._of(actor).stop(actor, incarnation, reason, grace_s)

    async def kill(self, actor: ActorId, incarnation: Incarnation, detail: str = KILLED_BY_SUPERVISOR) -> KillOutcome:
        return await self._of(actor).kill(actor, incarnation, detail)

    def forget(self, actor: ActorId) -> None:
        self._of(actor).forget(actor)

    def _of(self, actor: ActorId) -> Starter:
        return self._here if actor in self._desk.guardian.runtime.cells else self._others


class Desk:
    """A pool, a boss who has it start sessions, and a friend of both: in one process, or each in one of its own."""

    def __init__(self, *, apart: bool) -> None:
        self.world = World()
        self.apart = apart
        self.guardian = self.world.node("guardian")
        self.begin: Begin = _nothing
        self.friend_does: Begin = _nothing
        self.took_s = 0.0
        self._lives = itertools.count(100)

    async def open(self, spec: AnySupervisorSpec | None = None) -> None:
        spec = spec or DynamicSupervisor(self.session())
        sessions = AwayStarter(self.world, self.guardian, self.world.node("sessions")) if self.apart else None
        self._starter = Hosts(self, sessions or LocalStarter(self.guardian.runtime))
        await self.world.start(self.guardian, "desk/pool", lambda: self.supervisor(spec))
        await self.world.start(self._node("boss"), "desk/boss", lambda: Scripted(self._boss))
        await self.world.start(self._node("friend"), "desk/friend", lambda: Scripted(self._friend))

    def session(self, restart: RestartName = "temporary") -> ChildSpec:
        return child(Session(self), "session", restart=restart)

    def ref(self, name: str) -> ActorRef:
        return self.guardian.ref(f"desk/{name}")

    async def opened(self) -> str:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            return await self.ref("boss").ask(Open())
        finally:
            self.took_s = loop.time() - began_s

    def _node(self, name: str) -> Node:
        return self.world.node(name) if self.apart else self.guardian

    def supervisor(self, spec: AnySupervisorSpec) -> Behavior:
        return supervisor_behavior(
            spec,
            self._starter,
            incarnations=lambda: Incarnation(next(self._lives)),
            time=self.guardian.runtime.loop.time,
            jitter=lambda: 0.0,
            report=lambda report: None,
        )

    async def _boss(self, message: Message, ctx: CellContext) -> str:
        if isinstance(message, Echo):
            return message.text
        try:
            return (await start_child(ctx.ref("desk/pool"), None)).id
        except FailedToStartChild as error:
            return str(error)

    async def _friend(self, message: Message, ctx: CellContext) -> str:
        if isinstance(message, Note):
            await self.friend_does(ctx)
        return "by a friend"


async def _nothing(ctx: CellContext) -> None:
    pass


async def _session(message: Message, ctx: CellContext) -> None:
    raise Boom


async def ask_boss(ctx: CellContext) -> None:
    await ctx.ask("desk/boss", Echo(text="?"))


async def ask_friend(ctx: CellContext) -> None:
    await ctx.ask("desk/friend", Echo(text="?"))


APART = pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])


@APART
def test_a_start_that_asks_who_waits_for_it_is_found_within_a_second_and_fails(apart: bool) -> None:
    @virtual
    async def run() -> None:
        desk = Desk(apart=apart)
        desk.begin = ask_boss
        await desk.open()

        told = await desk.opened()

        assert desk.took_s < 1.0
        assert "AskCycle: desk/pool/100 → desk/boss → desk/pool → desk/pool/100: desk/pool waits until" in told
        assert "hand it what it needs as its config" in told
        assert await which_children(desk.ref("pool")) == ()
        assert await desk.ref("boss").ask(Echo(text="lives")) == "lives"
        await desk.world.close()

    run()


@APART
def test_a_start_that_does_without_the_answer_goes_on(apart: bool) -> None:
    @virtual
    async def run() -> None:
        desk = Desk(apart=apart)

        async def begin(ctx: CellContext) -> None:
            with pytest.raises(AskCycle):
                await ask_boss(ctx)

        desk.begin = begin
        await desk.open()

        assert await desk.opened() == "desk/pool/100"
        assert desk.took_s < 1.0
        assert (await count_children(desk.ref("pool"))).active == 1
        await desk.world.close()

    run()


@APART
def test_a_start_that_waits_behind_a_turn_which_waits_for_its_starter_is_found(apart: bool) -> None:
    @virtual
    async def run() -> None:
        desk, answers = Desk(apart=apart), list[str]()

        async def begin(ctx: CellContext) -> None:
            await pass_time(0.05)
            await ask_friend(ctx)

        async def friend_asks(ctx: CellContext) -> None:
            answers.append(await ctx.ask("desk/boss", Echo(text="served afterwards")))

        desk.begin, desk.friend_does = begin, friend_asks
        await desk.open()
        opening = asyncio.ensure_future(desk.opened())
        await pass_time(0.03)
        await desk.ref("friend").tell(Note())

        told = await opening

        assert desk.took_s < 1.1
        assert "AskCycle: desk/pool/100 → desk/friend → desk/boss → desk/pool → desk/pool/100" in told
        await pass_time(0.1)
        assert answers == ["served afterwards"]
        await desk.world.close()

    run()


@APART
def test_a_restart_that_asks_who_waits_for_its_supervisor_is_found_and_tried_again(apart: bool) -> None:
    @virtual
    async def run() -> None:
        desk, rows, begun = Desk(apart=apart), list[int](), list[int]()

        async def begin(ctx: CellContext) -> None:
            begun.append(ctx.incarnation)
            if len(begun) == 2:
                await desk.ref("friend").tell(Note())
                await pass_time(0.05)
            if len(begun) > 1:
                await ask_friend(ctx)

        async def friend_asks(ctx: CellContext) -> None:
            rows.append(len(await which_children(ctx.ref("desk/pool"))))

        desk.begin, desk.friend_does = begin, friend_asks
        await desk.open(DynamicSupervisor(desk.session("permanent")))
        session = await desk.opened()

        await desk.guardian.ref(session).tell(Note())
        await pass_time(1.1)

        assert len(begun) == 3
        assert rows == [1]
        assert (await which_children(desk.ref("pool")))[0].state == "running"
        await desk.world.close()

    run()


@APART
def test_a_start_within_the_start_of_a_supervisor_is_found(apart: bool) -> None:
    @virtual
    async def run() -> None:
        desk = Desk(apart=apart)
        desk.begin = ask_boss
        await desk.open(DynamicSupervisor(child(Supervisor(children=[desk.session()]), "in")))

        told = await desk.opened()

        assert desk.took_s < 1.0
        assert "AskCycle: desk/pool/100/session → desk/boss → desk/pool → desk/pool/100 → desk/pool/100/session" in told
        await desk.world.close()

    run()


@APART
def test_a_slow_start_and_one_that_asks_somebody_slow_are_no_ring(apart: bool) -> None:
    @virtual
    async def run() -> None:
        desk = Desk(apart=apart)

        async def begin(ctx: CellContext) -> None:
            await pass_time(3.0)
            await ask_friend(ctx)

        async def friend_is_slow(ctx: CellContext) -> None:
            await pass_time(8.0)

        desk.begin, desk.friend_does = begin, friend_is_slow
        await desk.open()
        await desk.ref("friend").tell(Note())

        assert await desk.opened() == "desk/pool/100"
        assert 7.0 < desk.took_s < 9.0
        await desk.world.close()

    run()


@virtual
async def test_a_start_that_was_asked_for_beside_other_messages_may_ask_back() -> None:
    """Its asker serves others meanwhile, so nobody blocks anybody."""
    desk = Desk(apart=False)
    desk.begin = ask_boss

    async def boss(message: Message, ctx: CellContext) -> str:
        return message.text if isinstance(message, Echo) else (await start_child(ctx.ref("desk/pool"), None)).id

    await desk.open()
    await desk.ref("boss").stop(grace_s=0)
    await desk.world.start(desk.guardian, "desk/boss", lambda: Scripted(boss, beside=(Open,)))

    assert await desk.opened() == "desk/pool/100"
    assert desk.took_s < 0.1
    await desk.world.close()
