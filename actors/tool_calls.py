"""What a handler holds as `ctx.tools`: the tools of its agent, each call of which goes through the gate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from regrow.actors.step import Step
from regrow.actors.tool import Tool, json_text
from regrow.actors.tool_errors import NotApproved, ToolDenied, ToolError
from regrow.actors.tool_functions import plain_function
from regrow.actors.tool_gate import Allowed, Denied, NeedsApproval, allowed_tools, decide, listed_tool
from regrow.actors.tool_runner import ToolCounts, asked_for, runner_of
from regrow.router.conversation import ToolCall, ToolResult, ToolSchema
from regrow.runtime.capability import only_tools

if TYPE_CHECKING:
    from regrow.actors.context import Context
    from regrow.actors.tool_result import Given

R = TypeVar("R")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyCall:
    """A call that the gate has let pass, and how it is made. `waits` is true where a person is asked before."""

    tool: Tool[Any]
    make: Callable[[], Awaitable[Given]]
    waits: bool = False


class Tools:
    """The tools of one agent on behalf of one message. What is not in its class's list is denied."""

    ends_at_deadline = True
    """Whether an agent loop may cut a call off at the deadline of its message."""

    def __init__(self, ctx: Context, listed: Mapping[str, Tool[Any]]) -> None:
        self._ctx = ctx
        self._listed = listed

    # ---- what there is -------------------------------------------------------------------------

    def allowed(self) -> tuple[Tool[Any], ...]:
        """Those that this turn may run: in the list of the agent's class, and in the capability of its message."""
        return allowed_tools(self._listed, self._ctx.origin().capability)

    def schemas(self) -> tuple[ToolSchema, ...]:
        """The same as a model is told of them."""
        return tuple(
            ToolSchema(name=each.name, description=each.description, parameters=json_text(each.schema))
            for each in self.allowed()
        )

    def functions(self) -> list[Callable[..., Awaitable[Any]]]:
        """The same as plain async functions, to hand to another framework: each call goes through the gate here.

        They have the name, docstring and typed parameters of the tool's function, without context and step, and
        belong to this turn. For a framework that wants its tools before there is a turn, see Tool.as_function.
        """
        return [plain_function(each, partial(self.call, each)) for each in self.allowed()]

    def only(self, *tools: Tool[Any] | str) -> AbstractContextManager[None]:
        """As long as it lasts, this code and all that it asks and tells may run these tools alone, of those it may.

        `with ctx.tools.only(read_page): await ctx.ask(analyst, …)` lets the analyst, and whomever it asks in turn,
        run read_page and no other, whatever their own lists say.
        """
        return only_tools(each if isinstance(each, str) else each.name for each in tools)

    def counts(self) -> Mapping[str, ToolCounts]:
        """The calls of each tool in this host since it began: how many, time, and cost."""
        return runner_of(self._ctx.runtime).counts()

    # ---- calls ---------------------------------------------------------------------------------

    @overload
    async def call(self, tool: Tool[R], arguments: Mapping[str, object] | str = ..., /) -> R: ...

    @overload
    async def call(self, tool: str, arguments: Mapping[str, object] | str = ..., /) -> Any: ...

    async def call(self, tool: Tool[Any] | str, arguments: Mapping[str, object] | str = "", /) -> Any:
        """Runs a tool of this agent, itself or by its name, with named arguments or with JSON as a model writes it.

        In a durable turn the call is the step `tool:NAME`: made once, and given again when the turn is run again.

        Raises:
            ToolDenied: it is not in the agent's list, or not in the capability of this message.
            UnknownTool: no tool of the agent has that name.
            InvalidArguments: they are not what it takes. Of none of these anything has run.
            NotApproved: a person has not consented to it.
            ToolTimedOut, ToolFailed, InvalidResult, ResultTooLarge: it has run, and gave no result.
            Refused: of its own, as its function has raised it.
        """
        return (await self._called(tool, arguments)).value

    async def answer(self, call: ToolCall) -> ToolResult:
        """Runs what a model has asked for, and gives what it is to be told: the result, or why there is none."""
        try:
            with asked_for(call.id):
                given = await self._called(call.name, call.arguments)
        except ToolError as error:
            return ToolResult(call_id=call.id, content=str(error), is_error=True)
        return ToolResult(call_id=call.id, content=given.told)

    # ---- for the agent loop --------------------------------------------------------------------

    def ready(
        self,
        tool: Tool[Any] | str,
        arguments: Mapping[str, object] | str,
        /,
        *,
        among: Collection[str] | None = None,
    ) -> ReadyCall:
        """The call as the gate has let it pass, still to be made; `among` narrows the tools that there are to these.

        In a durable turn it has its place among the steps from here on: those who make several at once take all
        places first, in an order that is the same whenever the turn is run. Raises ToolError as `call` does.
        """
        ctx, listed = self._ctx, self._listed
        if among is not None:
            listed = {name: each for name, each in listed.items() if name in among}
        ctx.live()
        match decide(ctx.id, listed, ctx.origin().capability, tool, arguments):
            case Denied(error=error):
                self.note_refused(error)
                raise error
            case verdict:
                return self._ready(verdict)

    def note_refused(self, error: ToolError) -> None:
        """Counts a call that was not made: denied by who may not, or invalid as it was written."""
        is_denied = isinstance(error, ToolDenied | NotApproved)
        self._ctx.runtime.metrics.tool_called("denied" if is_denied else "invalid")

    def check_listed(self, tool: Tool[Any] | str, /) -> None:
        """Raises ToolDenied or UnknownTool for one that is not in the list of the agent's class."""
        found = listed_tool(self._ctx.id, self._listed, self._ctx.origin().capability, tool)
        if isinstance(found, ToolError):
            raise found

    def fresh_name(self) -> str:
        """What no other turn of the app is called by."""
        return f"{self._ctx.runtime.host}/{self._ctx.runtime.fresh_number()}"

    async def once(self, name: str, written: str, call: Callable[[], Awaitable[V]], /) -> V:
        """Makes a call that is no tool's, known by what is `written`; in a durable turn it is a step of that name."""
        return await call()

    def records_left(self) -> int | None:
        """How many more calls a durable turn may record for its message; None where none are recorded."""
        return None

    def fresh_account(self) -> str:
        """A name for a tab; in a durable turn the same whenever it is run."""
        ctx = self._ctx
        return f"{ctx.id}#{ctx.incarnation}/{ctx.runtime.fresh_number()}"

    async def _called(self, tool: Tool[Any] | str, arguments: Mapping[str, object] | str) -> Given:
        return await self.ready(tool, arguments).make()

    def _ready(self, verdict: Allowed | NeedsApproval) -> ReadyCall:
        """What the gate has let pass; a durable turn has a way of its own to make it."""
        ctx = self._ctx
        if isinstance(verdict, NeedsApproval):
            name = verdict.call.tool.name
            refusal = NotApproved(
                f"{name} was not run: this call of it needs the consent of a person, and {ctx.id} is a plain Agent, "
                f"which can not wait for one; make it a DurableAgent, or leave {name} to one",
                tool=name,
            )
            self.note_refused(refusal)
            raise refusal
        step: Step | None = None
        if verdict.tool.asks is None:  # an ask has a number of its own
            step = Step(f"{ctx.id}#{ctx.incarnation}/{ctx.runtime.fresh_number()}", ctx.incarnation)
        return ReadyCall(tool=verdict.tool, make=lambda: runner_of(ctx.runtime).run(verdict, ctx, step))


def listed_tools(behavior: object) -> Mapping[str, Tool[Any]]:
    """The list of the agent that this behavior is or drives, by name; empty for whatever is no agent."""
    found: Mapping[str, Tool[Any]] = getattr(getattr(behavior, "agent", behavior), "listed_tools", {})
    return found
