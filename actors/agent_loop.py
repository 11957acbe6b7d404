"""The doer of an agent loop: asks the model, has its calls made, and again, until there is an answer or a reason.

What decides is pure and stands elsewhere: `loop_limits` whether it may go on, `router/context_window` what is left out,
`loop_output` whether the answer is one. In a durable turn the calls of model and tools are steps, and everything here
follows from what these gave; so a turn that is run again takes the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from pydantic import ValidationError

from regrow.actors.called_together import called_together, in_one_line
from regrow.actors.handed_back import HandedBack
from regrow.actors.handoff import Handoff, HandoffFailed, Taker, handed_over
from regrow.actors.loop_answer import CallMade, LoopAnswer
from regrow.actors.loop_errors import (
    LoopEnded,
    ModelFailed,
    OutputInvalid,
    TimeUsedUp,
    WindowTooSmall,
    spent_in,
)
from regrow.actors.loop_limits import Limits, Spent, why_no_more, why_no_records
from regrow.actors.loop_model import handed_on
from regrow.actors.loop_output import Output
from regrow.actors.loop_repeats import LoopRepeats
from regrow.router.context_window import ContextWindow, counted_rate, left_out
from regrow.router.conversation import LIMIT_MESSAGES, LIMIT_TOOLS, Role, Said, ToolCall, ToolResult
from regrow.router.prompting import size_bytes
from regrow.router.provider import SIGNS_PER_TOKEN
from regrow.router.request import ModelReply, ModelRequest, Passage, Tier, Work
from regrow.router.usage import SpentOnTab
from regrow.runtime import telemetry
from regrow.runtime.errors import Misuse, TooLate
from regrow.runtime.guard_errors import GuardTripped
from regrow.runtime.guards import Rung
from regrow.runtime.tab import Tab, on_tab

if TYPE_CHECKING:
    from regrow.actors.context import Context
    from regrow.actors.loop_model import LoopModel, OnText
    from regrow.actors.tool import Tool

RESULTS_SHARE: Final = 0.5
"""Of the window, for the results of all calls of one turn together; a result that takes more is too large."""

HANDED_OVER: Final = "the conversation is handed over"
"""What stands for the result of a hand-off in the conversation that is handed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPlan:
    """What a loop is to do. `tools` are the names that it may call, None for all of the agent's."""

    prompt: str
    messages: tuple[Said | ToolResult, ...]
    tools: frozenset[str] | None
    takers: Mapping[str, Taker]
    output: Output[Any] | None
    instructions: str
    context: tuple[Passage, ...]
    work: Work
    tier: Tier | None
    limits: Limits
    max_output_tokens: int
    window_tokens: int
    on_text: OnText | None


class AgentLoop:
    """One loop, run once."""

    def __init__(self, ctx: Context, model: LoopModel, plan: LoopPlan, *, principal: str) -> None:
        self._ctx = ctx
        self._tools = ctx.tools
        self._model = model
        self._plan = plan
        self._repeats = LoopRepeats(ctx.id, ctx.runtime.guarding.guards)
        self._messages = list(plan.messages)
        self._calls: list[CallMade] = []
        self._left_out: frozenset[int] = frozenset()
        self._sizes = [each.size_bytes for each in plan.messages]
        """Of the messages, in bytes, as far as they were looked at."""
        self._text = ""
        self._answered_by = ""
        self._offered = {
            each.name: each for each in self._tools.allowed() if plan.tools is None or each.name in plan.tools
        }
        self._request = self._first_request(principal)
        self._limit_tokens = plan.window_tokens - plan.max_output_tokens
        self._tokens_per_byte = 1 / SIGNS_PER_TOKEN
        self._fixed_bytes = size_bytes(self._request)
        first_tokens = round((self._fixed_bytes + sum(self._sizes)) * self._tokens_per_byte)
        self._spent = Spent(last_tokens=min(first_tokens, self._limit_tokens))

    async def run(self) -> LoopAnswer[Any]:
        """The answer. Raises LoopEnded, and what asking a model raises."""
        ctx = self._ctx
        attributes = {telemetry.OPERATION: telemetry.AGENT_LOOP, telemetry.AGENT_ID: ctx.id}
        attributes[telemetry.SHOWN_AS] = telemetry.SHOWN_AS_CHAIN
        with telemetry.span(f"{telemetry.AGENT_LOOP} {ctx.id}", ctx.origin().trace, attributes):
            try:
                return await self._within_time()
            except GuardTripped as error:
                trace.get_current_span().set_attribute("error.type", type(error).__name__)
                raise
            except LoopEnded as error:
                spent_in(error, self._spent, text=self._text, messages=self._whole(), calls=tuple(self._calls))
                raise
            finally:
                self._tell_span()

    async def _within_time(self) -> LoopAnswer[Any]:
        """A plain agent is cut off at the deadline of its message; a durable one ends no call that is under way."""
        ctx = self._ctx
        try:
            async with asyncio.timeout_at(ctx.deadline_at if self._tools.ends_at_deadline else None):
                return await self._turns()
        except (TimeoutError, TooLate, ModelFailed) as error:
            if ctx.deadline is None or ctx.deadline > 0:
                raise
            raise TimeUsedUp(
                f"{ctx.id} has no answer after {self._spent.turns} calls of its model, and the deadline of its message "
                "has passed; give more time where it is asked (timeout_s), or have it do less"
            ) from error

    async def _turns(self) -> LoopAnswer[Any]:
        is_mended = False
        while True:
            self._check()
            self._check_records(0)
            reply = await self._next_reply()
            self._messages.append(Said(role=Role.ASSISTANT, text=reply.text, tool_calls=reply.tool_calls))
            if reply.tool_calls:
                handed = await self._made_calls(reply.tool_calls)
                if handed is not None:
                    return await self._answer_of_other(handed)
                continue
            self._text = reply.text
            try:
                return self._answer(reply)
            except ValidationError as error:
                self._have_mended(error, is_mended=is_mended)
                is_mended = True

    # ---- the model -----------------------------------------------------------------------------

    def _first_request(self, principal: str) -> ModelRequest:
        plan, ctx = self._plan, self._ctx
        if plan.window_tokens <= plan.max_output_tokens:
            raise Misuse(
                f"window_tokens={plan.window_tokens:,} has to hold what the model reads and writes, and "
                f"max_output_tokens={plan.max_output_tokens:,} leaves no room to read; raise the one or lower the other"
            )
        if shared := self._offered.keys() & plan.takers.keys():
            raise Misuse(
                f"{ctx.id} has a tool {min(shared)!r}, which is also how its model hands over; rename the tool"
            )
        if len(self._offered) + len(plan.takers) > LIMIT_TOOLS:
            raise Misuse(
                f"{ctx.id} offers its model {len(self._offered)} tools and {len(plan.takers)} agents to hand over to, "
                f"and no model takes more than {LIMIT_TOOLS} of both; name fewer with tools=[…]"
            )
        told = plan.output.instructions if plan.output is not None else ""
        schemas = (each for each in self._tools.schemas() if each.name in self._offered)
        return ModelRequest(
            work=plan.work,
            prompt=plan.prompt,
            context=plan.context,
            instructions="\n\n".join(part for part in (plan.instructions, told) if part),
            max_output_tokens=plan.max_output_tokens,
            tools=(*schemas, *(each.schema for each in plan.takers.values())),
            tier=plan.tier,
            principal=principal,
            agent=ctx.id,
        )

    async def _next_reply(self) -> ModelReply:
        """What the model says to as much of the conversation as fits."""
        cap = self._plan.limits.max_cost
        left_usd = None if cap is None else cap - self._spent.cost
        request = self._request.model_copy(update={"messages": self._fitting(), "max_cost_usd": left_usd})
        on_text = self._plan.on_text
        reply = await (self._model.answered(request) if on_text is None else self._model.written(request, on_text))
        self._spent = self._spent.with_reply(reply)
        self._text = reply.text or self._text
        if reply.context_limit_tokens is not None:
            window = min(self._plan.window_tokens, reply.context_limit_tokens)
            self._limit_tokens = max(1, window - self._plan.max_output_tokens)
        sent_bytes = self._fixed_bytes + sum(self._sizes) - sum(self._sizes[at] for at in self._left_out)
        self._tokens_per_byte = counted_rate(sent_bytes, reply.usage, self._tokens_per_byte)
        return reply

    def _fitting(self) -> tuple[Said | ToolResult, ...]:
        """The conversation without what is left out. Raises WindowTooSmall."""
        window = ContextWindow(
            limit_tokens=self._limit_tokens, fixed_bytes=self._fixed_bytes, tokens_per_byte=self._tokens_per_byte
        )
        self._sizes += (each.size_bytes for each in self._messages[len(self._sizes) :])
        out = left_out(self._messages, window, self._left_out, has_prompt=bool(self._plan.prompt), sizes=self._sizes)
        if out is None:
            raise WindowTooSmall(
                f"{self._ctx.id}: the instructions, the questions and the newest exchange alone take more than the "
                f"{self._limit_tokens:,} tokens that its model may read; ask for less at once, or raise window_tokens"
            )
        self._left_out = out
        return self._shown()

    def _shown(self, since: int = 0) -> tuple[Said | ToolResult, ...]:
        """What of the conversation is not left out."""
        return tuple(each for at, each in enumerate(self._messages) if at >= since and at not in self._left_out)

    def _check(self, tools_cost: float = 0.0) -> None:
        """Raises LoopEnded where the model may not be called once more."""
        if (error := self._why_no_more(tools_cost)) is not None:
            raise error

    def _check_records(self, calls: int) -> None:
        """Raises LoopEnded where the message of a durable turn has no room for these calls and what follows them."""
        if (full := why_no_records(self._ctx.id, calls, self._tools.records_left())) is not None:
            raise full

    def _why_no_more(self, tools_cost: float = 0.0) -> LoopEnded | None:
        return why_no_more(self._ctx.id, self._plan.limits, self._spent, tools_cost=tools_cost)

    # ---- tools and other agents ----------------------------------------------------------------

    async def _made_calls(self, calls: tuple[ToolCall, ...]) -> tuple[Taker, HandedBack] | None:
        """Has calls made and tells their results in the order of the calls; who has taken the conversation, or None."""
        takers = self._plan.takers
        to_tools = [(at, call) for at, call in enumerate(calls) if call.name not in takers]
        # Before anything runs: without one more turn nobody would hear what came of it.
        self._check(sum(self._offered[call.name].cost_usd for _, call in to_tools if call.name in self._offered))
        self._check_records(len(calls))
        most_bytes = RESULTS_SHARE * self._limit_tokens / self._tokens_per_byte / len(calls)
        made = await self._run_tools([call for _, call in to_tools], told_bytes=int(most_bytes))
        outcomes: dict[int, CallMade] = {at: each for (at, _), each in zip(to_tools, made, strict=True)}
        begin = len(self._messages)
        for at, call in enumerate(calls):
            self._messages.append(_told(outcomes[at]) if at in outcomes else _handed(call))
        handed: tuple[Taker, HandedBack] | None = None
        to_takers = [(at, call) for at, call in enumerate(calls) if at not in outcomes]
        try:
            for at, call in to_takers:
                taker = takers[call.name]
                outcomes[at], back = await self._hand_over(call, taker, is_first=at == to_takers[0][0])
                self._messages[begin + at] = _told(outcomes[at])
                del self._sizes[begin:]
                handed = (taker, back) if back is not None else handed
        finally:
            self._calls += (outcomes[at] for at in sorted(outcomes))
        if handed is None:
            self._judge([outcomes[at] for at in sorted(outcomes)])
        return handed

    def _judge(self, made: list[CallMade]) -> None:
        """Tells the model that it goes in circles. Raises RepeatedCall where that has to end."""
        if (finding := self._repeats.finding(made)) is None:
            return
        if finding.rung >= Rung.REFUSE:
            self._ctx.runtime.guarding.found(finding, self._ctx.origin(), agent=self._ctx.id)
            finding.refuse()
        self._messages[-1] = _told(replace(made[-1], told=f"{made[-1].told}\n\n{finding.text}"))
        del self._sizes[len(self._messages) - 1 :]

    async def _run_tools(self, calls: list[ToolCall], *, told_bytes: int) -> list[CallMade]:
        """What came of them. What the tools have models do, and the agents that they ask, is part of what is spent."""
        left = self._plan.limits.left(self._spent)
        tab = Tab(account=self._tools.fresh_account(), max_cost_usd=left.max_cost, max_tokens=left.max_tokens)
        with on_tab(tab):
            made = await called_together(self._tools, calls, self._plan.tools, told_bytes=told_bytes)
        self._spent = self._spent.with_tools(sum(each.cost for each in made))
        if any(may_spend(self._offered[call.name]) for call in calls if call.name in self._offered):
            totals = await self._model.answered(SpentOnTab(account=tab.account))
            self._spent = self._spent.with_others(
                turns=0, usage=totals.usage, cost=totals.cost_usd, who=f"those that {self._ctx.id} has asked"
            )
        return made

    async def _hand_over(self, call: ToolCall, taker: Taker, *, is_first: bool) -> tuple[CallMade, HandedBack | None]:
        """What came of it, and what the other agent gave. Of one reply the first hand-off is tried, and no other."""
        began_s, who = asyncio.get_running_loop().time(), taker.ref.address.actor
        try:
            if not is_first:
                raise HandoffFailed("not done: a reply hands a conversation over once; ask again where nobody took it")
            if (reason := self._why_no_more()) is not None:
                raise HandoffFailed(in_one_line(f"not done: {reason}"))
            back = await handed_over(self._ctx, call, taker, self._handoff())
        except HandoffFailed as error:
            self._spent = self._spent.with_others(turns=error.turns, usage=error.usage, cost=error.cost, who=who)
            seconds = asyncio.get_running_loop().time() - began_s
            return CallMade(call=call, told=str(error), error=error, seconds=seconds), None
        self._spent = self._spent.with_others(turns=back.turns, usage=back.usage, cost=back.cost, who=who)
        seconds = asyncio.get_running_loop().time() - began_s
        return CallMade(call=call, told=HANDED_OVER, seconds=seconds), back

    def _handoff(self) -> Handoff:
        """The conversation as it is handed over, with what is left."""
        prompt = (Said(role=Role.USER, text=self._plan.prompt),) if self._plan.prompt else ()
        left = self._plan.limits.left(self._spent)
        return Handoff(
            messages=(*prompt, *self._fitting())[:LIMIT_MESSAGES],
            context=self._plan.context,
            instructions=self._plan.output.instructions if self._plan.output is not None else "",
            max_turns=left.max_turns,
            max_cost=left.max_cost,
            max_tokens=left.max_tokens,
        )

    # ---- the answer ----------------------------------------------------------------------------

    def _answer(self, reply: ModelReply) -> LoopAnswer[Any]:
        """Raises ValidationError where it is none of the type that is asked for."""
        output = self._plan.output
        value = None if output is None else output.read(reply.text)
        return self._answer_with(reply, value)

    def _answer_with(self, given: ModelReply | HandedBack, value: object) -> LoopAnswer[Any]:
        return LoopAnswer(
            text=given.text,
            output=value,
            messages=self._whole(),
            said=self._shown(len(self._plan.messages)),
            calls=tuple(self._calls),
            usage=self._spent.usage,
            cost=self._spent.known_cost,
            turns=self._spent.turns,
            finish=given.finish,
            sources=given.sources,
            left_out=tuple(self._messages[at] for at in sorted(self._left_out)),
            answered_by=self._answered_by,
        )

    async def _answer_of_other(self, handed: tuple[Taker, HandedBack]) -> LoopAnswer[Any]:
        taker, back = handed
        self._answered_by, output = taker.ref.address.actor, self._plan.output
        self._text = back.text
        self._messages += back.messages
        if self._plan.on_text is not None and back.text:
            await handed_on(back.text, self._plan.on_text)
        try:
            value = None if output is None else output.read(back.text)
        except ValidationError as error:
            raise self._invalid(error, f"{self._answered_by}, to which it handed over,") from error
        return self._answer_with(back, value)

    def _have_mended(self, error: ValidationError, *, is_mended: bool) -> None:
        """Tells the model what is wrong with its answer, once. Raises OutputInvalid."""
        output = self._plan.output
        assert output is not None
        if is_mended:
            raise self._invalid(error, "its model, also when it was told what is wrong,") from error
        if (reason := self._why_no_more()) is not None:
            raise self._invalid(error, f"its model ({reason})") from error
        self._messages.append(Said(role=Role.USER, text=output.mend(error), mends=True))

    def _invalid(self, error: ValidationError, who: str) -> OutputInvalid:
        output = self._plan.output
        assert output is not None
        return OutputInvalid(
            f"{self._ctx.id} was asked for {output.name}, and {who} wrote {in_one_line(self._text)[:200]!r} "
            f"({output.problems(error)}); `text` has the whole: take it as it is, or ask for a simpler type"
        )

    def _whole(self) -> tuple[Said | ToolResult, ...]:
        """The conversation with its first question."""
        prompt = (Said(role=Role.USER, text=self._plan.prompt),) if self._plan.prompt else ()
        return (*prompt, *self._messages)

    def _tell_span(self) -> None:
        span, spent = trace.get_current_span(), self._spent
        span.set_attribute(telemetry.LOOP_TURNS, spent.turns)
        span.set_attribute(telemetry.LOOP_CALLS, len(self._calls))
        span.set_attribute(telemetry.LOOP_LEFT_OUT, len(self._left_out))
        span.set_attribute(telemetry.INPUT_TOKENS, spent.usage.input_tokens)
        span.set_attribute(telemetry.OUTPUT_TOKENS, spent.usage.output_tokens)
        if spent.known_cost is not None:
            span.set_attribute(telemetry.LOOP_COST_USD, spent.known_cost)
        if self._answered_by:
            span.set_attribute(telemetry.LOOP_ANSWERED_BY, self._answered_by)


def may_spend(tool: Tool[Any]) -> bool:
    """Whether a call of it can have a model do anything: it asks an agent, or is given the context."""
    return tool.asks is not None or tool.signature.context is not None


def _told(made: CallMade) -> ToolResult:
    return ToolResult(call_id=made.call.id, content=made.told, is_error=made.error is not None)


def _handed(call: ToolCall) -> ToolResult:
    return ToolResult(call_id=call.id, content=HANDED_OVER)
