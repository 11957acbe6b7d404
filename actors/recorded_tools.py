"""Tools as a durable turn uses them: each call is a step, made once; one that needs consent waits for it for days."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from regrow.actors.call_guard import GuardedCall
from regrow.actors.durable_body import digest
from regrow.actors.durable_errors import WaitTimedOut
from regrow.actors.durable_wait import recorded_call
from regrow.actors.mcp_errors import OutcomeUnknown
from regrow.actors.tool import Tool, read_result
from regrow.actors.tool_approval import APPROVAL_STEP, AskedApproval, ToolApproval, asked_approval
from regrow.actors.tool_calls import ReadyCall, Tools
from regrow.actors.tool_errors import NotApproved, ResultUnknown
from regrow.actors.tool_gate import Allowed, NeedsApproval
from regrow.actors.tool_result import Given
from regrow.actors.tool_runner import runner_of
from regrow.runtime.guards import Rung

if TYPE_CHECKING:
    from regrow.actors.durable_context import DurableContext, StepPlace
    from regrow.runtime.journal_entries import StepKey

V = TypeVar("V")

GUARD_STEP = "guard:"
"""Before the name of the tool: the step in which is recorded what a guard says of its call."""

TOOL_STEP = "tool:"
"""Before the name of the tool, in the name of the step that its call is."""


class RecordedTools(Tools):
    """Runs what the gate has let pass as the steps of one turn."""

    ends_at_deadline = False
    """Of a call that was cut off nobody would know whether it was done."""

    def __init__(self, ctx: DurableContext, listed: Mapping[str, Tool[Any]]) -> None:
        super().__init__(ctx, listed)
        self._durable = ctx

    async def once(self, name: str, written: str, call: Callable[[], Awaitable[V]], /) -> V:
        """Makes a call that is no tool's, as a step: its value or its refusal is recorded, and given again."""

        async def run(key: StepKey) -> object:
            with recorded_call(name, key):
                return await call()

        return cast("V", await self._durable.recorded_once(name, digest(written.encode()), run, idempotent=True))

    def records_left(self) -> int | None:
        """See Tools."""
        turn = self._durable.turn
        return None if turn is None else self._durable.records_limit - turn.records_at_least

    def fresh_account(self) -> str:
        """See Tools."""
        turn = self._durable.turn
        return super().fresh_account() if turn is None else turn.derived("tab")

    def _ready(self, verdict: Allowed | NeedsApproval) -> ReadyCall:
        ctx, call = self._durable, verdict.call if isinstance(verdict, NeedsApproval) else verdict
        known_by, name = digest(call.written.encode()), call.tool.name
        # All places are taken for every call, so that each has its number whatever needs consent or a guard by now.
        consent = ctx.step_place(APPROVAL_STEP + name, known_by, idempotent=True)
        judged = ctx.step_place(GUARD_STEP + name, known_by, idempotent=True)
        word = ctx.step_place(APPROVAL_STEP + name, known_by, idempotent=True)
        place = ctx.step_place(TOOL_STEP + name, known_by, idempotent=call.tool.idempotent)
        # What was asked is settled by its answer, and nothing is asked any more about a call that is done.
        is_open = place.record is None
        asks = consent.record is not None or (is_open and isinstance(verdict, NeedsApproval))
        suspends = is_open and ctx.runtime.guarding.guards.top >= Rung.SUSPEND
        judges = judged.record is not None or suspends

        async def make() -> Given:
            try:
                if asks:
                    await self._answered(call, consent, is_open=is_open)
                if judges and (why := await self._judged(call, judged)):
                    await self._answered(call, word, why, is_open=is_open)
            except NotApproved as refusal:
                self.note_refused(refusal)
                raise
            return await self._made(call, place, is_judged=judges)

        return ReadyCall(tool=call.tool, make=make, waits=asks or judges)

    async def _judged(self, call: Allowed, place: StepPlace) -> str:
        """Why a guard wants the word of a person before this call; empty where it does not."""

        async def judge(key: StepKey) -> str:
            return await GuardedCall(self._durable, call, self._durable.step_of(key).key).why_not()

        why = await self._durable.recorded_at(place, judge)
        return why if isinstance(why, str) else ""

    async def _made(self, call: Allowed, place: StepPlace, *, is_judged: bool) -> Given:
        tool, ctx = call.tool, self._durable

        async def run(key: StepKey) -> str:
            step = ctx.step_of(key) if tool.asks is None else await ctx.asking_step(key, tool.asks.actor(ctx, call))
            with recorded_call(f"tool {tool.name}", key):
                try:
                    return (await runner_of(ctx.runtime).run(call, ctx, step, is_judged=is_judged)).written
                except OutcomeUnknown as unknown:
                    raise ctx.outcome_unknown(key, str(unknown)) from unknown

        written = await ctx.recorded_at(place, run)
        if not isinstance(written, str):
            raise ResultUnknown(
                f"{tool.name} was done, by word of a person who has settled this message; what it gave is not known",
                tool=tool.name,
            )
        # Read from what is recorded also the first time, so that no run of the turn sees another value.
        return Given(read_result(tool, written), written)

    async def _answered(self, call: Allowed, place: StepPlace, why: str = "", *, is_open: bool) -> None:
        """Waits for a person's word on this call, which a guard has asked for if `why`.

        One that is done passes its wait as well, which a turn that is run again must not leave out; of one that is
        open it raises NotApproved where it has no consent.
        """
        ctx, tool = self._durable, call.tool

        async def ask(key: StepKey) -> AskedApproval:
            return asked_approval(ctx.id, ctx.message_id, call, key, why)

        asked = await ctx.recorded_at(place, ask)
        assert isinstance(asked, AskedApproval)
        try:
            said = await ctx.wait_for(ToolApproval, about=asked.call, timeout_s=tool.approval_timeout_s)
        except WaitTimedOut as error:
            raise NotApproved(
                f"{tool.name} was not run: within {tool.approval_timeout_s:,.0f} s nobody has consented to it; ask "
                "again if it is still wanted",
                tool=tool.name,
            ) from error
        if not is_open:
            return
        if not said.approved:
            who, why = said.by or "a person", f" ({said.reason})" if said.reason else ""
            raise NotApproved(f"{tool.name} was not run: {who} has refused it{why}; do without", tool=tool.name)
        if asked.tool_hash != tool.hash:
            raise NotApproved(
                f"{tool.name} was not run: it has changed since consent to this call was asked for; ask again",
                tool=tool.name,
            )
