"""Runs a trace on our supervisors: inline, on the virtual clock, and tells what was seen."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

from regrow.runtime.address import ActorId, Address, HostId, Incarnation
from regrow.runtime.behavior import Behavior
from regrow.runtime.cell import Cell, State
from regrow.runtime.errors import AskFailed, Closed, Refused
from regrow.runtime.lifecycle import Crashed, Escalated, ExitReason
from regrow.runtime.lifecycle import Shutdown as ShutdownReason
from regrow.runtime.local_starter import LocalStarter
from regrow.runtime.message import Request
from regrow.runtime.ref import ActorRef
from regrow.runtime.runtime import Runtime
from regrow.runtime.starter import KILLED_BY_SUPERVISOR, KillOutcome, StartRequest
from regrow.runtime.testing import pass_time, run_virtual
from regrow.supervisors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildRunning,
    DeleteChild,
    DynamicChild,
    DynamicSupervisorSpec,
    FailedToStartChild,
    GetChildSpec,
    NoSuchChild,
    NotStarted,
    RestartChild,
    SpecError,
    SpecRow,
    StartChild,
    StopChild,
    SupervisorReport,
    SupervisorSpec,
    UnfitChild,
)
from regrow.supervisors.requests import start_child
from regrow.supervisors.turns import TakeTurn
from tests.oracle.actors import (
    ANY_SUPERVISOR,
    REASONS,
    Boom,
    End,
    OurDynamic,
    OurSupervisor,
    Worker,
    child_spec,
    supervisor_spec,
)
from tests.oracle.observed import Answer, Entry, Rows, Seen, Step
from tests.oracle.trace import Admin, Advance, Event, Exit, Fail, Hook, Op, Together, Trace, parent
from tests.runtime.scripted import Nowhere

NEVER = -1
"""The incarnation of what never ran."""

BY_ORDER = (TakeTurn, StartChild, RestartChild)
"""What starts a child because an operator wants it."""

ARRIVED_S = 1e-6
"""Until what was done has happened; of no limit this is a part worth mentioning."""

QUIET_S = 5.0
"""Longer than all the limits of stubborn children in one tree, short against every other limit."""


def run_ours(trace: Trace) -> Seen:
    """What our supervisors do with a trace."""
    return run_virtual(_Stage().run(trace))


class _Starter(LocalStarter):
    """The starter of the inline engine; tells which supervisors are killed."""

    def __init__(self, stage: _Stage) -> None:
        super().__init__(stage.runtime)
        self._stage = stage

    async def kill(self, actor: ActorId, incarnation: Incarnation, detail: str = KILLED_BY_SUPERVISOR) -> KillOutcome:
        cell = self._stage.runtime.life(actor, incarnation)
        if cell is not None:
            self._stage.will_be_killed(cell)
        return await super().kill(actor, incarnation, detail)


@dataclass(slots=True)
class _Records:
    """What is written down while a trace runs."""

    lives: Counter[str] = field(default_factory=Counter[str])
    last_up: dict[str, int] = field(default_factory=dict[str, int])
    """The incarnation of the last life that came up."""
    log: list[Entry] = field(default_factory=list[Entry])
    answers: list[Answer] = field(default_factory=list[Answer])
    killed: dict[str, list[tuple[str, int]]] = field(default_factory=dict[str, list[tuple[str, int]]])
    """Supervisors that are being killed, and who has gone down with each."""


class _Stage:
    """One process with one tree."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self._records = _Records()
        self._fails: dict[str, list[Hook]] = {}
        self._calls: dict[asyncio.Task[None], Admin] = {}

    async def run(self, trace: Trace) -> Seen:
        """The start, each event, the stop."""
        self.runtime = Runtime(HostId("here"), make_behavior=self._make, directory=Nowhere())
        self.runtime.announce_exit = self._watched(self.runtime.announce_exit)  # type: ignore[method-assign]
        self._starter = _Starter(self)
        self._incarnations = itertools.count(1)
        for fail in trace.fails:
            self._will_fail(fail)
        root = StartRequest(ActorId("root"), self._next(), supervisor_spec(trace.tree), survives_exit=False)
        await self.runtime.start(root)
        seen = [await self._step()]
        for event in trace.events:
            await self._do(event)
            seen.append(await self._step())
        cell = self._cell("")
        if cell is not None:
            cell.stop(ShutdownReason(), None)
        seen.append(await self._step())
        return seen

    # ---- what happens to the tree --------------------------------------------------------------

    async def _do(self, event: Event) -> None:
        match event:
            case Exit():
                cell = self._cell(event.path)
                ordered = event.how not in ("error", "kill")
                if cell is not None and ordered and isinstance(cell.behavior, Worker):
                    self.runtime.ref(cell.actor).tell_nowait(End(how=event.how))
                else:
                    self._end_at_once(event)
            case Admin():
                self._call(event)
            case Fail():
                self._will_fail(event)
            case Advance():
                self.now_s += event.seconds
            case Together():
                cell = self._cell(event.sup)
                if cell is not None and isinstance(cell.behavior, ANY_SUPERVISOR):
                    await self._together(cell.behavior, event)

    async def _together(self, supervisor: OurSupervisor | OurDynamic, event: Together) -> None:
        """A turn that does nothing holds the supervisor until all that happens is in its mailbox."""
        gate = asyncio.Event()
        turn: asyncio.Task[bool] = asyncio.Task(supervisor.hold(gate), context=Context())
        await pass_time(ARRIVED_S)
        for one in event.happens:
            if isinstance(one, Exit):
                self._end_at_once(one)
            else:
                self._call(one)
            await pass_time(ARRIVED_S)
        gate.set()
        await turn

    def _end_at_once(self, exit: Exit) -> None:
        """Without a turn of its own, so that the order of several is the order in which they are told."""
        cell = self._cell(exit.path)
        if cell is None:
            return
        if isinstance(cell.behavior, ANY_SUPERVISOR):
            if exit.how == "kill":
                self.will_be_killed(cell)
                cell.kill()
        else:
            cell.end(REASONS[exit.how])

    def _will_fail(self, fail: Fail) -> None:
        self._fails.setdefault(fail.path, []).extend(fail.hooks)

    def _call(self, call: Admin) -> None:
        task: asyncio.Task[None] = asyncio.Task(self._answer(call), context=Context())
        self._calls[task] = call
        task.add_done_callback(lambda done: self._calls.pop(done, None))

    async def _answer(self, call: Admin) -> None:
        said: tuple[str, ...]
        try:
            said = await self._administer(call)
        except AlreadyPresent:
            said = ("already_present",)
        except AlreadyStarted:
            said = ("already_started",)
        except ChildRunning:
            said = ("running",)
        except DynamicChild:
            said = ("simple_one_for_one",)
        except NoSuchChild:
            said = ("not_found",)
        except (SpecError, UnfitChild):
            said = ("bad_spec",)
        except FailedToStartChild:
            said = ("failed",)
        except (AskFailed, Closed, Refused):
            said = ("gone",)
        self._records.answers.append(Answer(call.op, call.path, said))

    async def _administer(self, call: Admin) -> tuple[str, ...]:
        cell, id = self._cell(parent(call.path)), call.path.rpartition("/")[2]
        if cell is None or not isinstance(cell.behavior, ANY_SUPERVISOR):
            return ("gone",)  # a temporary supervisor that has gone may be followed by a worker of its name
        supervisor = cell.behavior
        if isinstance(supervisor, OurDynamic):
            return await self._administer_dynamic(supervisor, cell.actor, call, id)
        assert isinstance(supervisor, OurSupervisor)
        if call.op == "start":
            if call.kid is None:
                return ("misfit",)
            await start_child(self._life_of(cell.actor), None, math.inf, spec=child_spec(call.kid))
            return ("ok",)
        if call.op == "spec":
            return _told(await self._life_of(cell.actor).ask(GetChildSpec(id=id), timeout_s=math.inf))
        requests: dict[Op, Request[Any]] = {
            "stop": StopChild(id=id),
            "restart": RestartChild(id=id),
            "delete": DeleteChild(id=id),
        }
        answer = await self._life_of(cell.actor).ask(requests[call.op], timeout_s=math.inf)
        return ("failed",) if isinstance(answer, NotStarted) else ("ok",)

    def _life_of(self, actor: ActorId) -> ActorRef:
        """A ref that means one life only, as a pid does."""
        return ActorRef(Address(actor, self.runtime.cells[actor].incarnation), self.runtime)

    async def _administer_dynamic(
        self, supervisor: OurDynamic, actor: ActorId, call: Admin, id: str
    ) -> tuple[str, ...]:
        life = self._records.last_up.get(call.path, NEVER)  # as a pid does, this means one life only
        ref = self._life_of(actor)
        match call.op:
            case "start" if call.kid is not None:
                return ("misfit",)
            case "start":
                await supervisor.start_named(id)
            case "stop":
                await supervisor.stop_child(id, life)
            case "spec":
                return _told(await ref.ask(GetChildSpec(id=id), timeout_s=math.inf))
            case "restart":
                await ref.ask(RestartChild(id=id), timeout_s=math.inf)
            case "delete":
                await ref.ask(DeleteChild(id=id), timeout_s=math.inf)
        return ("ok",)

    # ---- what the tree tells -------------------------------------------------------------------

    def _make(self, request: StartRequest) -> Behavior:
        match request.target:
            case SupervisorSpec() as spec:
                sup: OurSupervisor | OurDynamic = OurSupervisor(
                    spec, self._starter, incarnations=self._next, time=self._time, jitter=_no_jitter, report=_no_report
                )
            case DynamicSupervisorSpec() as spec:
                sup = OurDynamic(
                    spec, self._starter, incarnations=self._next, time=self._time, jitter=_no_jitter, report=_no_report
                )
            case _:
                return Worker(self, request)
        sup.stage = self
        return sup

    def _time(self) -> float:
        return self.now_s

    def _next(self) -> Incarnation:
        return Incarnation(next(self._incarnations))

    async def begins(self, actor: ActorId) -> None:
        """A life initialises; it fails if it was told to, and then first does what its hook says."""
        path, records = _path(actor), self._records
        records.lives[path] += 1
        hooks = self._fails.get(path)
        if not hooks:
            records.log.append(Entry("init", path, records.lives[path]))
            records.last_up[path] = self.runtime.cells[actor].incarnation
            return
        records.log.append(Entry("fail", path, records.lives[path]))
        hook = hooks.pop(0)
        if hook is not None and self._is_restarted(path):
            if isinstance(hook, Exit):
                self._end_at_once(hook)
            else:
                self._call(hook)
            for _ in range(5):  # until the call is in the mailbox
                await asyncio.sleep(0)
        raise Boom(f"{path} was told to fail")

    def _is_restarted(self, path: str) -> bool:
        """Whether its supervisor starts it again by itself: not at its own start, nor by an operator's order."""
        above = self._cell(parent(path)) if path else None
        return above is not None and not any(isinstance(turn.message, BY_ORDER) for turn in above.in_turn)

    def will_be_killed(self, cell: Cell) -> None:
        """Who ends below a killed supervisor goes down with it, in an order that nobody promises."""
        if isinstance(cell.behavior, ANY_SUPERVISOR) and not cell.is_over:
            self.is_killed(cell.actor)

    def is_killed(self, supervisor: ActorId) -> None:
        """The same of one whose own limit ran out, which its cell ends."""
        self._records.killed.setdefault(_path(supervisor), [])

    def _watched(self, announce: Any) -> Any:
        def announced(cell: Cell, reason: ExitReason, *, quiet: bool) -> None:
            path, records = _path(cell.actor), self._records
            life = (path, records.lives[path])
            above = [
                killed
                for killed in records.killed
                if path != killed and path.startswith(f"{killed}/" if killed else "")
            ]
            if above:
                records.killed[min(above, key=len)].append(life)
                records.killed.pop(path, None)
            elif not quiet:
                orphans = tuple(sorted(records.killed.pop(path, [])))
                records.log.append(Entry("exit", *life, _word(reason), orphans))
            announce(cell, reason, quiet=quiet)

        return announced

    async def _step(self) -> Step:
        await pass_time(QUIET_S)
        records = self._records
        self._forgotten_calls()
        step = Step(log=records.log, answers=records.answers)
        records.log, records.answers = [], []
        for cell in sorted(self.runtime.cells.values(), key=lambda cell: cell.actor):
            if cell.state is State.RUNNING and isinstance(cell.behavior, ANY_SUPERVISOR):
                step.sups[_path(cell.actor)] = await self._rows(cell.behavior)
        return step

    def _forgotten_calls(self) -> None:
        """A call without an answer by now will never get one, which OTP does not do to anybody."""
        for task, call in self._calls.items():
            task.cancel()
            self._records.answers.append(Answer(call.op, call.path, ("never",)))
        self._calls.clear()

    async def _rows(self, supervisor: OurSupervisor | OurDynamic) -> Rows:
        lives = self._records.lives
        rows = [
            (row.id, "running", lives[_path(ActorId(row.actor))])
            if row.state == "running"
            else (row.id, "down" if row.state in ("stopped", "finished", "waiting") else row.state, 0)
            for row in await supervisor.which_children()
        ]
        if isinstance(supervisor, OurDynamic):
            rows.sort()  # OTP tells them in no order
        counts = await supervisor.count_children()
        return Rows(tuple(rows), (counts.specs, counts.active, counts.supervisors, counts.workers))

    def _cell(self, path: str) -> Cell | None:
        cell = self.runtime.cells.get(ActorId(f"root/{path}" if path else "root"))
        return cell if cell is not None and cell.state is State.RUNNING else None


def _no_jitter() -> float:
    return 0.0


def _no_report(report: SupervisorReport) -> None:
    pass


def _told(spec: SpecRow) -> tuple[str, ...]:
    return ("spec", spec.restart.value, str(spec.significant), _limit(spec.shutdown_s), spec.kind.value)


def _path(actor: ActorId) -> str:
    return actor.removeprefix("root").removeprefix("/")


def _word(reason: ExitReason) -> str:
    match reason:
        case Crashed():
            return "crashed"
        case Escalated():
            return "escalated"
        case _:
            return reason.kind


def _limit(shutdown_s: float | None) -> str:
    """In OTP's words."""
    return "infinity" if shutdown_s is None else "brutal_kill" if shutdown_s == 0 else str(round(shutdown_s * 1000))
