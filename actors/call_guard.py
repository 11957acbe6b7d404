"""What stands before each call of a tool and behind it: the caps of its run, and whether it is one more of the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from regrow.runtime.errors import Refused
from regrow.runtime.guards import Rung
from regrow.runtime.likeness import STATELESS, StateLikenesses, likenesses, state_likenesses
from regrow.runtime.likeness_parts import read_json
from regrow.runtime.run_ends import used_up
from regrow.runtime.run_store import Amounts, CallNote
from regrow.supervisors.outcome import tone
from regrow.supervisors.repeats import repeated
from regrow.supervisors.turn_guard import own_package, state_of

if TYPE_CHECKING:
    from regrow.actors.context import Context
    from regrow.actors.tool_gate import Allowed
    from regrow.actors.tool_result import Given
    from regrow.runtime.begun_together import Together
    from regrow.runtime.envelope import Origin
    from regrow.runtime.guards import Finding, Guarding

_batch: ContextVar[str] = ContextVar("regrow_batch_of_calls", default="")


@contextmanager
def decided_together(batch: str) -> Iterator[None]:
    """As long as this lasts, the calls that are begun were decided on together, and before any of their outcomes."""
    token = _batch.set(batch)
    try:
        yield
    finally:
        _batch.reset(token)


class GuardedCall:
    """One call of a tool, as guards see it. `id` is the one by which it is kept once; a new one where it is empty."""

    def __init__(self, ctx: Context, call: Allowed, id: str) -> None:
        self._ctx = ctx
        self._guarding: Guarding = ctx.runtime.guarding
        self._origin: Origin = ctx.origin()
        self._tool = call.tool.name
        self._id = id or f"{ctx.runtime.host}/{ctx.runtime.fresh_number()}"
        self._decided_in = _batch.get()
        self._together: Together | None = None
        self._judged_in = self._origin.tick or self._origin.run
        self._arguments = read_json(call.written)
        self._what = likenesses(self._arguments, self._guarding.guards.volatile, of=self._tool)
        self._state = self._state_seen()

    @property
    def _batch(self) -> str:
        """What it was decided on with: calls of one turn of a model, or else what its handler began at once."""
        return self._decided_in or (self._together.batch if self._together is not None else "")

    @contextmanager
    def begun(self) -> Iterator[None]:
        """As long as this lasts, the call is under way, from before it is judged until it is kept."""
        with self._guarding.together.begun(self._ctx.id, self._judged_in, self._id) as self._together:
            yield

    async def check(self) -> None:
        """Raises RepeatedCall or RunUsedUp where the call may not be made."""
        finding = await self._judged()
        if finding is not None and min(finding.rung, self._guarding.guards.top) >= Rung.REFUSE:
            finding.refuse()

    async def why_not(self) -> str:
        """Why the call should not be made without the word of a person; empty where it may be."""
        finding = await self._judged()
        return finding.text if finding is not None and finding.rung >= Rung.REFUSE else ""

    async def _judged(self) -> Finding | None:
        """What is to be said of the call, which also stands in the trace; it is counted, unless it repeats others."""
        guards, run = self._guarding.guards, self._origin.run
        finding = await self._repeated()
        if guards.has_caps and (finding is None or finding.rung < Rung.REFUSE):
            taken = await self._guarding.runs.take(run, Amounts(calls=1), guards)
            self._guarding.heard(run, taken)
            if taken.over:
                finding = used_up(taken.over, taken.counts, taken.age_s, guards, run=run)
        if finding is not None:
            self._guarding.found(finding, self._origin, agent=self._ctx.id)
        return finding

    async def _repeated(self) -> Finding | None:
        guards, agent = self._guarding.guards, self._ctx.id
        if guards.repeats_end is None or self._tool in guards.polls:
            return None
        before = await self._guarding.runs.calls(self._judged_in, agent)
        thought_s = self._guarding.thought_s(agent)
        return repeated(
            agent,
            self._tool,
            self._what,
            before.notes,
            before.now_s,
            guards,
            state=self._state,
            batch=self._batch,
            thought_s=thought_s,
        )

    def _state_seen(self) -> StateLikenesses:
        """The agent's state as the call begins; what a tool changes in it is there before the next one."""
        guards, cell = self._guarding.guards, self._ctx.runtime.life(self._ctx.id, self._ctx.incarnation)
        state = state_of(cell.behavior) if cell is not None and guards.repeats_end is not None else None
        if cell is None or state is None:
            return STATELESS
        return state_likenesses(state, guards.volatile, own=own_package(cell.behavior))

    async def noted(self, made: Callable[[], Awaitable[Given]]) -> Given:
        """Makes the call and keeps what came of it. Raises what the call raises."""
        calling, agent = self._guarding.calling, self._ctx.id
        calling[agent] += 1
        begun_s = self._now_s()
        try:
            given = await made()
        except Refused as refusal:
            await self._note(f"{type(refusal).__name__}: {refusal}", begun_s)
            raise
        finally:
            calling[agent] -= 1
            if not calling[agent]:
                del calling[agent]
        await self._note(given.written, begun_s)
        return given

    async def _note(self, outcome: str, begun_s: float) -> None:
        guards = self._guarding.guards
        if guards.repeats_end is None:
            return
        took_s = self._now_s() - begun_s
        read = read_json(outcome)
        seen = likenesses(read, guards.volatile, is_result=True)
        # The same in one batch is kept once, for it counts as one: eight of a kind would push out rounds of before.
        id = f"{self._batch}/{self._what.written}/{seen.said}" if self._batch else self._id
        call = CallNote(
            id=id,
            what=self._what,
            outcome=seen,
            state=self._state,
            tone=tone(self._tool, self._arguments, read),
            batch=self._batch,
            took_s=took_s,
            thought_s=self._guarding.called(self._ctx.id),
        )
        await self._guarding.runs.note(self._judged_in, self._ctx.id, call)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
