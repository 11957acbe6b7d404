"""One life of a durable agent: it claims the agent, reads its state, and ends each turn with a commit.

What leaves the agent's code is an attempt that is counted, and then the end of this life, as for any agent; the
message stays, and the next life handles it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, NoReturn

from regrow.actors.durable import DurableAgent, check_nothing_lost, read, written
from regrow.actors.durable_answer import answers_wait, has_chosen
from regrow.actors.durable_attempts import Attempts, check_failed_by_itself
from regrow.actors.durable_body import packed
from regrow.actors.durable_children import SpawnedChildren
from regrow.actors.durable_claim import claimed
from regrow.actors.durable_context import DurableContext
from regrow.actors.durable_entry import Entry
from regrow.actors.durable_errors import FencedOut, InQuarantine, NotStored, StateNotReadable, StateNotStorable
from regrow.actors.durable_home import durability_of
from regrow.actors.durable_idleness import Idleness
from regrow.actors.durable_intake import DurableIntake
from regrow.actors.durable_outcome import (
    FENCING,
    OutcomeKnown,
    TurnEnd,
    expired,
    is_over,
    not_run,
    overruled,
    too_large,
    too_many,
)
from regrow.actors.durable_reading import CommittedState
from regrow.actors.durable_timers import DurableTimers
from regrow.actors.durable_turn import Turn
from regrow.actors.durable_wait import Parking, begun_with, park_of, state_and_schema
from regrow.actors.late_readers import answered_before
from regrow.actors.running_steps import RunningSteps
from regrow.actors.turn_history import occasion_of
from regrow.runtime.context import Parked
from regrow.runtime.envelope import Kind
from regrow.runtime.errors import Misuse, Refused
from regrow.runtime.journal_answers import Enqueued, EnqueueVerdict, TurnEnded, TurnVerdict
from regrow.runtime.journal_entries import NOTHING, Commit, Outcome, Row, SetTimer, StoredResult, Writes
from regrow.runtime.lifecycle import ExitReason, Fenced, Normal, crashed
from regrow.runtime.message import Message, Request, wrong_reply
from regrow.runtime.signals import failure_of
from regrow.runtime.start import check_start_result

if TYPE_CHECKING:
    from pydantic import BaseModel

    from regrow.runtime.cell import Cell


class DurableLife:
    """The behavior of a cell that runs a durable agent."""

    def __init__(self, agent: DurableAgent[Any]) -> None:
        self.agent = self._agent = agent
        self.has_concurrent = type(agent).has_read_only
        self.traces_turns = type(agent).traces_turns
        self._committed = CommittedState(agent)
        self.spawned = SpawnedChildren()
        self.context_class = type(agent).context_class

    def enters(self, cell: Cell) -> DurableIntake:
        """The first life in this process: from now on the cell's messages are stored. Raises Misuse."""
        return DurableIntake(cell, durability_of(cell), reads_only=self.runs_concurrently)

    def runs_concurrently(self, message: object) -> bool:
        """See BehaviorTraits: what only reads."""
        return self.has_concurrent and type(self._agent).reads_only(message)

    # ---- the life ------------------------------------------------------------------------------

    async def started(self, ctx: DurableContext) -> None:
        """See Behavior. Raises AgentHeld, StateNotReadable, and what the agent's own start raises."""
        cell = self._cell = ctx.runtime.cells[ctx.id]
        self._held = cell.runtime.loop.create_future() if cell.request.held else None
        self._durable = durability_of(cell)
        assert isinstance(cell.intake, DurableIntake)
        self._intake = cell.intake
        schema = self._agent.schema
        claim = await claimed(cell, self._durable, self._intake, schema=schema, take_state=self._take_state)
        self._epoch = claim.row.epoch
        self._attempts = Attempts(
            cell, self._durable, self._intake, epoch=self._epoch, poison_after=self._agent.poison_after
        )
        self._outbox = self._intake.outbox
        self._timers = DurableTimers(cell, self._durable, self._intake, self._epoch)
        if not self._intake.is_loaded:
            pending = await self._intake.pending(self._epoch)
            left = None if pending is None else await self._attempts.looked_through(pending, claim)
            if left is None:
                self._fenced()
            self._intake.load(left, dead=claim.dead)
        result: object = await self._agent.started(ctx)  # type: ignore[func-returns-value] # whatever its author wrote
        check_start_result(ctx.id, result)
        if written(self._agent.state) != self._written:
            raise Misuse(f"{ctx.id} changed its state in `started`, where nothing is committed; do it in a handler")
        self._outbox.begin_life()
        self._timers.look()
        self._idleness = Idleness(cell, self._intake, self._outbox, self._timers)

    def is_idle(self, *, early: bool) -> bool:
        """Whether this life has nothing to do, so that an agent that starts on demand may end; see passivation."""
        return self._idleness.may_end(early=early)

    def begin(self) -> None:
        """See BehaviorTraits."""
        if self._held is not None and not self._held.done():
            self._held.set_result(None)

    async def stopping(self, reason: ExitReason, ctx: DurableContext) -> None:
        """See Behavior."""
        await self._agent.stopping(reason, ctx)
        if isinstance(reason, Normal):  # its own end, behind which there may be no next life that would send
            await self._outbox.emptied()
        if self._cell.is_closed:
            await self._intake.give_back()  # before its end is told, so that the next life finds the agent free

    def _take_state(self, row: Row) -> None:
        agent = self._agent
        if row.state is None:
            agent.state = agent.initial()
            self._written, self._is_new = written(agent.state), True
        else:
            agent.state = self._read(row.state, row.schema)
            if row.schema == agent.schema:
                check_nothing_lost(type(agent), row.state, agent.state, id=self._cell.actor)
            self._written, self._is_new = written(agent.state), row.schema != agent.schema
        self._version = row.version

    def _read(self, state: bytes, schema: int) -> BaseModel:
        return read(type(self._agent), state, schema, id=self._cell.actor)

    # ---- waits ---------------------------------------------------------------------------------

    def take_current_state(self) -> BaseModel:
        """See TurnLife."""
        before: BaseModel = self._agent.state
        self._agent.state = self._read(self._written, self._agent.schema)
        return before

    async def _begun(self, entry: Entry, turn: Turn) -> bytes:
        """What the turn of a message that has waited began with; the agent's state becomes that."""
        pending = await self._intake.pending(self._epoch)
        begun = next((each.begun for each in pending or () if each.command == entry.command), None)
        if begun is None:
            self._fenced()
        try:
            self._agent.state = self._read(*state_and_schema(begun))
        except StateNotReadable as error:  # the same each time, and others can be served
            await self._quarantine(entry, turn, f"what its turn began with before its wait can not be read: {error}")
        return begun

    async def _answers_wait(self, entry: Entry, message: Message, turn: Turn) -> bool:
        """Whether a message without a handler is what another one waits for, which has it now."""
        if (isinstance(message, Request) or self._agent.has_handler(message)) and not has_chosen(turn):
            return False
        entry.begun = True
        try:
            answered = await answers_wait(self._durable, turn, entry.envelope)
        except FencedOut:
            self._fenced()
        if turn.broken is not None:
            await self._quarantine(entry, turn, str(turn.broken))
        self._intake.look()
        return answered

    async def _park(self, entry: Entry, turn: Turn, parking: Parking, begun: bytes) -> None:
        """Commits what a turn has done up to its wait. Raises StateNotStorable, FencedOut."""
        await turn.wait_stored()
        park = park_of(parking, turn.ending(self._durable.operation()), begun)
        ended = await self._outbox.with_room(lambda: self._durable.journal.park(park))
        await self._check_ended(entry, turn, ended, parking.writes, b"")
        self._attempts.ended(entry.command, committed=True)
        if parking.writes.state is not None:
            self._written, self._is_new = parking.writes.state, False
        self.take_current_state()
        self._leaves(parking.writes)
        if parking.deadline_ms is not None:
            self._timers.is_set(parking.deadline_ms)

    def _parked(self, entry: Entry, ctx: DurableContext) -> None:
        self._intake.parks(entry)
        ctx.instead = Parked()

    # ---- a turn --------------------------------------------------------------------------------

    def handle(self, message: Any, ctx: DurableContext) -> Awaitable[object]:
        """See Behavior."""
        if self.runs_concurrently(message):
            return self._committed.turn(message, ctx, committed=self._written)
        return self._turn(message, ctx)

    async def _turn(self, message: Any, ctx: DurableContext) -> object:
        entry = self._intake.begins(ctx)  # before any wait: it may be let go meanwhile
        if self._held is not None:
            await asyncio.shield(self._held)
            self._held = None
        if self._durable.is_parked:
            await self._durable.wait_leased()
        runs_ahead = entry.may_run_ahead and self._agent.has_handler(message) and not is_over(ctx)
        if not runs_ahead:
            answer = await self._stands(entry)
            if answer.verdict is EnqueueVerdict.PENDING and answer.seq is None:
                self._parked(entry, ctx)  # it waits already, and here comes one more who wants its reply
                return None
            if self._known(entry, answer) is not None:
                return self._as_before(entry, message, answer)
        occasion = occasion_of(entry.envelope, ctx.incarnation, begun_ms=self._durable.now_ms())
        records = await self._records(entry)
        turn = Turn(self._cell.actor, entry.command, self._epoch, self._version, records, occasion=occasion)
        turn.running = RunningSteps(self._cell, self)
        ctx.turn, ctx.life, ctx.tick = turn, self, entry.tick
        if (unfit := self._attempts.unfit(entry)) is not None:
            await self._quarantine(entry, turn, unfit)
        if is_over(ctx):  # a turn that has waited has no deadline
            await self._end_turn(entry, turn, Outcome.EXPIRED, b"", NOTHING)
            raise expired(self._cell.actor, message)
        if await self._answers_wait(entry, message, turn):
            await self._end_turn(entry, turn, Outcome.COMMITTED, packed(self._durable.codec, None), NOTHING)
            return None
        entry.begun = True
        turn.stored = entry.stored if runs_ahead else None
        begun = await self._begun(entry, turn) if turn.has_waited else begun_with(self._written, self._agent.schema)
        end = await self._handled(message, ctx, entry, turn)
        if not self._lasts:
            raise asyncio.CancelledError("its life has ended, and the next one has its message")
        if turn.parking is not None and turn.broken is None:
            await self._park(entry, turn, turn.parking, begun)
            self._parked(entry, ctx)
            return None
        if end is None or turn.broken is not None:
            await self._quarantine(entry, turn, str(turn.broken))
        try:
            await self._end_turn(entry, turn, end.outcome, end.result, end.writes)
        except OutcomeKnown as error:  # its turn ran ahead of what the journal said then
            return self._as_before(entry, message, error.answer)
        except NotStored:  # it was let go before the store had room for it
            self._agent.state = self._read(self._written, self._agent.schema)
            raise
        if end.refusal is not None:
            raise end.refusal
        return end.reply

    def _as_before(self, entry: Entry, message: Any, answer: Enqueued) -> object:
        """The reply to a message that is not run here, or not any more. Raises what keeps it from being run."""
        self._agent.state = self._read(self._written, self._agent.schema)
        stored = self._known(entry, answer)
        assert stored is not None
        self._intake.ended(entry.envelope)
        self._attempts.ended(entry.command)
        return answered_before(self._durable.codec, self._cell, entry.envelope, stored)

    async def _handled(self, message: Any, ctx: DurableContext, entry: Entry, turn: Turn) -> TurnEnd | None:
        """What the agent's code leaves to be committed; None where its turn can not be finished."""
        codec = self._durable.codec
        try:
            reply = await turn.running.through(self._agent.handle, message, ctx)
            if turn.parking is not None:
                return None
            turn.check_waits()
            if isinstance(message, Request) and not message.reply().accepts(reply):
                raise wrong_reply(type(message), reply)
            result = packed(codec, reply, parts=ctx.emitted)
            return TurnEnd(Outcome.COMMITTED, result, self.writes_of(turn), reply=reply)
        except Refused as refusal:
            return TurnEnd(Outcome.REFUSED, packed(codec, failure_of(refusal)), NOTHING, refusal=refusal)
        except (Exception, asyncio.CancelledError) as error:  # counted, and raised: what is broken has its own reason
            if not self._lasts:
                raise
            if turn.broken is not None or turn.parking is not None:
                return None
            if isinstance(error, FencedOut):
                self._fenced()
            if self._cell.told_to_stop:
                check_failed_by_itself(error)
            await self._failed(entry, turn, error)
            raise

    async def _stands(self, entry: Entry) -> Enqueued:
        """How the journal has a message."""
        answer = await asyncio.shield(entry.stored)  # a stop cuts the turn, and the next life waits for the same word
        if answer.verdict is EnqueueVerdict.PENDING and (not entry.begun or answer.seq is None):
            answer = await self._intake.look_again(entry)  # what was ahead of it may have been the same command
        if answer.verdict is EnqueueVerdict.PENDING:
            entry.begun = True  # by another life, or before a wait
        return answer

    def _known(self, entry: Entry, answer: Enqueued) -> StoredResult | None:
        """The outcome of a message that has one already. Raises what keeps it from being run at all."""
        match answer.verdict:
            case EnqueueVerdict.ACCEPTED | EnqueueVerdict.PENDING:
                return None
            case EnqueueVerdict.DUPLICATE:
                return answer.stored
            case EnqueueVerdict.STALE_EPOCH:
                self._fenced()
            case verdict:
                reason = not_run(self._cell.actor, entry, verdict, self._durable.journal.limits)
        self._intake.ended(entry.envelope)
        raise reason

    async def _records(self, entry: Entry) -> Any:
        if not entry.begun:
            return ()
        return await self._durable.surely(lambda: self._durable.journal.steps(self._cell.actor, entry.command))

    def writes_of(self, turn: Turn) -> Writes:
        """See TurnLife."""
        turn.check_left_states()
        state = written(self._agent.state)
        changed = state != self._written or self._is_new
        return Writes(
            state=state if changed else None,
            schema=self._agent.schema if changed else 0,
            outgoing=tuple(turn.outgoing),
            timers=tuple(turn.timers.values()),
        )

    async def _end_turn(self, entry: Entry, turn: Turn, outcome: Outcome, result: bytes, writes: Writes) -> None:
        """Commits. Raises StateNotStorable, FencedOut."""
        commit = Commit(hand=turn.ending(self._durable.operation()), outcome=outcome, result=result, writes=writes)
        ended = await self._outbox.with_room(lambda: self._durable.commit(commit))
        if ended.verdict is TurnVerdict.NOT_PENDING and turn.stored is not None:
            answer = await self._stands(entry)  # its mailbox was full, or the connection was cut before it was stored
            if answer.verdict not in (EnqueueVerdict.ACCEPTED, EnqueueVerdict.PENDING):
                raise OutcomeKnown(answer)
            ended = await self._outbox.with_room(lambda: self._durable.commit(commit))
        await self._check_ended(entry, turn, ended, writes, result)
        self._intake.ended(entry.envelope)
        self._attempts.ended(entry.command, committed=outcome is Outcome.COMMITTED)
        if writes.state is not None:
            self._written, self._is_new = writes.state, False
        elif outcome is not Outcome.COMMITTED:
            self._agent.state = self._read(self._written, self._agent.schema)
        self._leaves(writes)

    async def _check_ended(self, entry: Entry, turn: Turn, ended: TurnEnded, writes: Writes, result: bytes) -> None:
        match ended.verdict:
            case TurnVerdict.DONE:
                self._version = ended.version
            case TurnVerdict.TOO_LARGE:  # the same each time, so its message is set aside at once, and others go on
                await self._quarantine(entry, turn, too_large(self._durable.journal.limits, writes, result))
            case TurnVerdict.OUTBOX_FULL | TurnVerdict.TIMERS_FULL | TurnVerdict.WAITS_FULL:
                error = StateNotStorable(too_many(self._cell.actor, self._durable.journal.limits, ended.verdict))
                await self._failed(entry, turn, error)
                raise error
            case verdict if verdict in FENCING:
                self._fenced()
            case verdict:
                raise overruled(self._cell.actor, entry.command, verdict)

    def _leaves(self, writes: Writes) -> None:
        """Sees to what a turn has left beside the state."""
        if writes.outgoing:
            self._outbox.relay()
        for change in writes.timers:
            if isinstance(change, SetTimer):
                self._timers.is_set(change.due_ms)

    async def _failed(self, entry: Entry, turn: Turn, error: BaseException) -> None:
        """Counts an attempt; the last one sets the message aside."""
        if (reason := await self._attempts.failed(entry, error)) is not None:
            await self._set_aside(entry, turn, reason)
            self._cell.in_turn.pop(entry.envelope, None)  # told here: to the end of this life it would be lost
            if entry.envelope.kind == Kind.ASK:
                self._cell.runtime.fail(entry.envelope, failure_of(self._in_quarantine(entry, reason)))
            self._cell.end(crashed(error, on_message=type(entry.envelope.message).__name__))

    async def _quarantine(self, entry: Entry, turn: Turn, reason: str) -> NoReturn:
        await self._set_aside(entry, turn, reason)
        self._agent.state = self._read(self._written, self._agent.schema)
        if entry.envelope.kind == Kind.TELL:  # nobody waits for a refusal, and what is set aside is not lost
            self._cell.in_turn.pop(entry.envelope, None)
        raise self._in_quarantine(entry, reason)

    def _in_quarantine(self, entry: Entry, reason: str) -> InQuarantine:
        return InQuarantine(f"{type(entry.envelope.message).__name__} was set aside by {self._cell.actor}: {reason}")

    async def _set_aside(self, entry: Entry, turn: Turn, reason: str) -> None:
        await turn.wait_stored()
        if not await self._attempts.set_aside(entry, turn, reason):
            self._fenced()

    @property
    def _lasts(self) -> bool:
        """Whether this life goes on: a handler may take its time to let go of one that has ended."""
        return self._cell.behavior is self and not self._cell.is_over

    def _fenced(self) -> NoReturn:
        if self._lasts:
            self._cell.end(Fenced())
        raise FencedOut(f"another life of {self._cell.actor} has taken over")
