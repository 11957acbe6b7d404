"""The context of a durable agent's turn: what it does outside of its state is recorded, and leaves with its commit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar, overload

from pydantic import BaseModel

from regrow.actors.durable_children import SpawnedChildren
from regrow.actors.durable_errors import StateNotStorable, UnknownOutcome, WaitTimedOut
from regrow.actors.durable_messages import DurableMessages
from regrow.actors.durable_turn import Turn
from regrow.actors.durable_wait import NO_ARGUMENTS, Parking, TurnParks, check_may_wait, wait_name
from regrow.actors.recorded_asks import check_order
from regrow.actors.recorded_tools import RecordedTools
from regrow.actors.reminder import TICK_BYTES, Reminder, Tick, planned
from regrow.actors.schedule import FURTHEST, first_and_schedule
from regrow.actors.step import Step, call_with_step
from regrow.actors.step_retries import ATTEMPT_MARK, Retries, tried
from regrow.actors.step_span import in_step_span
from regrow.actors.tool import Tool
from regrow.runtime.address import ActorId
from regrow.runtime.command_ids import reborn
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import CodeNotImportable, Misuse
from regrow.runtime.journal_entries import CancelTimer, SetTimer, StepKey, StepRecord, StepState, Writes, check_id
from regrow.runtime.message import Message
from regrow.runtime.ref import ActorRef

READER_WAIT_S = 2.0
"""The longest that the first part waits for a reader who was told of the death at the same time as the next life."""

R = TypeVar("R")
T = TypeVar("T")
M = TypeVar("M", bound=Message)


class TurnLife(Protocol):
    """What a wait and a spawn need of the life whose turn this is."""

    spawned: SpawnedChildren

    def writes_of(self, turn: Turn) -> Writes:
        """What the turn would leave if it ended now. Raises StateNotStorable."""
        ...

    def take_current_state(self) -> BaseModel:
        """The agent's state becomes what was committed last; gives the one of before."""
        ...


class StepPlace(NamedTuple):
    """The place of a recorded call among the steps of its turn, and its record where it need not be made."""

    key: StepKey
    record: StepRecord | None
    idempotent: bool


class DurableContext(DurableMessages):
    """What a handler of a durable agent gets beside its message."""

    __slots__ = ("late_reader", "life", "tick")

    late_reader: asyncio.Future[None] | None
    """Done when the reader is here that was there before the process died in which this turn had begun."""
    life: TurnLife | None
    tick: Tick | None

    def __init__(self, cell: Any, envelope: Envelope | None) -> None:
        super().__init__(cell, envelope)
        self.late_reader = None
        self.life = None
        self.tick = None

    @property
    def envelope(self) -> Envelope | None:
        """What this turn handles, for the life that drives it."""
        return self._envelope

    # ---- streams -------------------------------------------------------------------------------

    async def emit(self, part: object) -> None:
        """See StreamTurn. A turn that another process had begun waits a moment for its reader, who comes back too."""
        if self.late_reader is not None and not self.emitted:
            await asyncio.wait((self.late_reader,), timeout=READER_WAIT_S)
        await super().emit(part)

    # ---- steps ---------------------------------------------------------------------------------

    @overload
    async def step(
        self,
        name: str,
        function: Callable[..., Awaitable[T]],
        /,
        *args: Any,
        idempotent: bool = False,
        retries: Retries | None = None,
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def step(self, name: str, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T: ...

    async def step(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *args: Any,
        idempotent: bool = False,
        retries: Retries | None = None,
        **kwargs: Any,
    ) -> Any:
        """Calls a function once for this message: when the turn is run again, its recorded result is given.

        A `def` function runs in a thread. With `idempotent=True` it may be run again when it is not known whether it
        was done, under the same `Step.key`; without, its message then goes into quarantine (UnknownOutcome). Such a
        step may also have `retries` for when it fails.

        Raises what the function raises, which is not recorded; with retries StepFailed, of which every attempt is;
        TurnDiverged; InvalidMessage for arguments or a result that can not be stored; ResultTooLarge.
        """
        turn = self._turn()
        if isinstance(function, Tool):
            function()  # raises, before anything is recorded: a tool is run by `ctx.tools`
        if ATTEMPT_MARK in name or (retries is not None and not idempotent):
            raise Misuse(
                f"step {name!r} of {self.id}: only a step that says idempotent=True may have retries, and no name of a "
                f"step has a {ATTEMPT_MARK!r}"
            )
        key, record = turn.next_step(name, self._digest(args, kwargs), idempotent=idempotent)
        call = call_with_step(function, args, kwargs, self.step_of(key))
        if retries is not None:
            return await tried(
                key,
                call,
                retries,
                self._steps(turn),
                budget=self._durable.retry_budget,
                time_left_s=lambda: self.deadline,
            )
        steps, call = self._steps(turn), in_step_span(name, call)
        if record is not None:
            return await steps.value(record)
        if idempotent:
            return await steps.taken(key, call)
        return await turn.running.kept(key, partial(steps.taken, key, call))

    def step_of(self, key: StepKey) -> Step:
        """What the function of a recorded call is told about itself."""
        turn = self._turn()
        return Step(f"{turn.command}/{key.name}/{key.occurrence}", turn.epoch)

    async def asking_step(self, key: StepKey, actor: ActorId) -> Step:
        """The same for a call that asks this actor: its key is the id to ask under, so that a durable one answers once.

        Raises Misuse behind a tell to the same actor that has not left.
        """
        turn = self._turn()
        check_order(turn, actor)
        derived = turn.derived(f"{key.name}\0{key.occurrence}")
        return Step(reborn(derived, await self._steps(turn).birth_ms(derived, key)), turn.epoch)

    def outcome_unknown(self, key: StepKey, why: str) -> Exception:
        """What a step raises of which nobody knows whether it was done: its message is set aside for a person."""
        return self._turn().broke(
            UnknownOutcome(
                f"step {key.name!r} of {self.id} was begun, and whether it was done is not known: {why}. Requeue its "
                "message with --assume done or undone"
            )
        )

    async def recorded_once(
        self, name: str, digest: str, call: Callable[[StepKey], Awaitable[object]], *, idempotent: bool
    ) -> object:
        """What a call gives, made once for this message; its value or its refusal is recorded, and given again."""
        return await self.recorded_at(self.step_place(name, digest, idempotent=idempotent), call)

    def step_place(self, name: str, digest: str, *, idempotent: bool) -> StepPlace:
        """The next place of that name among the steps of this turn, for a call that is made later."""
        key, record = self._turn().next_step(name, digest, idempotent=idempotent)
        return StepPlace(key, record, idempotent)

    async def recorded_at(self, place: StepPlace, call: Callable[[StepKey], Awaitable[object]]) -> object:
        """What a call gives that has its place: see recorded_once."""
        turn, key = self._turn(), place.key
        steps = self._steps(turn)
        if place.record is not None:
            return await steps.outcome(place.record)
        if place.idempotent:
            return await steps.concluded(key, partial(call, key))
        return await turn.running.kept(key, partial(steps.concluded, key, partial(call, key)))

    @property
    def tools(self) -> RecordedTools:
        """See Context.tools; each call is a step of this turn, and one that needs consent waits for it."""
        return RecordedTools(self, self._listed_tools)

    async def now(self) -> datetime:
        """The time, in UTC: the same each time that this turn is run."""
        turn = self._turn()
        key, record = turn.next_step("now", NO_ARGUMENTS, idempotent=True)
        if record is not None:
            ms = await self._steps(turn).value(record)
        else:
            ms = self._durable.now_ms()
            await self._steps(turn).made(key, ms)
        assert isinstance(ms, int)
        return datetime.fromtimestamp(ms / 1000, UTC)

    def random(self) -> random.Random:
        """A source of chance that gives the same each time that this turn is run. Not for secrets."""
        return self._turn().random()

    # ---- children ------------------------------------------------------------------------------

    async def spawn(self, target: object, name: str | None = None, *, config: object | None = None) -> ActorRef:
        """Starts a child that ends with this life. A turn that is run again in this life finds the one that it has.

        In the next life it is started anew, under the same id, also where it was given no name.
        """
        turn, spawn = self.turn, super().spawn
        if turn is None or self.life is None:
            return await spawn(target, name, config=config)
        return await self.life.spawned.found_or_started(
            self._cell, turn, name, lambda named: spawn(target, named, config=config)
        )

    # ---- waiting -------------------------------------------------------------------------------

    async def wait_for(self, answer: type[M], *, timeout_s: float | None = None, about: str = "") -> M:
        """Waits for a message of this class, for days and across restarts, and costs nothing meanwhile.

        Commits what the turn has done so far and ends it; other messages are served. On the answer the handler runs
        again from its first line, with the state it began with; finished steps give their records, and what it writes
        and sends before this line is not done twice. From here on `self.state` is the current state: read it anew.

        `regrow approve ID` answers, or a message of this class, for which the agent has no handler. Of a class derived
        from AnswerAbout it is one that is `about` the same. Raises WaitTimedOut.
        """
        turn = self._turn()
        check_may_wait(self.id)
        if timeout_s is not None and not 0 < timeout_s <= FURTHEST.total_seconds():
            raise Misuse(f"timeout_s={timeout_s:g}: give seconds above 0, or none to wait without limit")
        self.check_unemitted("waits")
        assert self.life is not None
        key, record = turn.next_step(wait_name(answer, about), NO_ARGUMENTS, idempotent=True)
        if record is None:
            deadline_ms = None if timeout_s is None else self._durable.now_ms() + int(timeout_s * 1000)
            turn.parking = Parking(wait=key, deadline_ms=deadline_ms, writes=self.life.writes_of(turn))
            raise TurnParks
        turn.passes_wait(self.life.take_current_state())
        if record.state is StepState.TIMED_OUT:
            raise WaitTimedOut(f"nobody has sent {self.id} the {answer.__name__} that it waited for")
        found = await self._steps(turn).answer(record)
        if not isinstance(found, answer):
            raise CodeNotImportable(f"the {answer.__name__} that {self.id} waited for is no such thing any more")
        return found

    @property
    def message_id(self) -> str:
        """What names this turn's message for people: `regrow approve ID` answers what it waits for."""
        return f"{self.id}@{self._turn().command}"

    # ---- reminders -----------------------------------------------------------------------------

    @property
    def reminder(self) -> Reminder | None:
        """Which reminder this turn's message is of; None for any other message."""
        return self.tick.told() if self.tick is not None else None

    def remind(
        self,
        name: str,
        message: Message,
        *,
        at: datetime | None = None,
        after_s: float | None = None,
        every_s: float | None = None,
        cron: str | None = None,
        zone: str = "UTC",
    ) -> None:
        """Has `message` sent to this agent at that time, or again and again; in place of an earlier one of that name.

        It is set with the commit of this turn, and survives whatever dies. At least once for each time: `ctx.reminder`
        tells which it was, and how many were missed while nobody ran. `cron` has five fields, in the time zone `zone`.
        Raises Misuse for a time that is none, InvalidMessage.
        """
        turn, codec = self._turn(), self._durable.codec
        check_id("reminder's name", name)
        due_ms, schedule = first_and_schedule(
            self._durable.now_ms(), at=at, after_s=after_s, every_s=every_s, cron=cron, zone=zone
        )
        codec.check(message)
        envelope = Envelope(Kind.TELL, self.id, message, self.origin().afresh())
        plan = planned(codec, envelope, schedule, turn.command)
        limit = self._durable.journal.limits.message_bytes
        if len(plan) + TICK_BYTES > limit:
            raise StateNotStorable(f"the message of reminder {name!r} takes {len(plan)} of {limit} bytes; send less")
        if name not in turn.timers and len(turn.timers) >= self._durable.journal.limits.timers:
            raise StateNotStorable(
                f"{self.id} changes more than {len(turn.timers):,} reminders in one turn (timers); split the work "
                "among agents"
            )
        turn.timers[name] = SetTimer(timer=name, due_ms=due_ms, schedule=plan)

    def forget_reminder(self, name: str) -> None:
        """Takes a reminder back with the commit of this turn; harmless where there is none.

        A message of it that is in the mailbox already still comes.
        """
        check_id("reminder's name", name)
        self._turn().timers[name] = CancelTimer(timer=name)
