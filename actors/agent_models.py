"""What a handler holds as `ctx.models`: completions, and the agent loop, model and tools in turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from regrow.actors.agent_loop import AgentLoop, LoopPlan
from regrow.actors.handoff import Handoff, takers
from regrow.actors.loop_limits import DEFAULT_MAX_TURNS, DEFAULT_WINDOW_TOKENS, Limits, check_whole
from regrow.actors.loop_model import LoopModel, OnText
from regrow.actors.loop_output import Output
from regrow.actors.tool import Tool
from regrow.router.conversation import Said, ToolResult
from regrow.router.models import Citable, Models, passages_of
from regrow.router.request import DEFAULT_MAX_OUTPUT_TOKENS, LIMIT_OUTPUT_TOKENS, Tier, Work
from regrow.runtime.errors import Misuse

if TYPE_CHECKING:
    from regrow.actors.context import Context
    from regrow.actors.loop_answer import LoopAnswer
    from regrow.actors.service import Service

T = TypeVar("T")


class AgentModels(Models):
    """The models as one agent sees them, with its tools: `run` lets a model use these until it has an answer."""

    def __init__(self, ctx: Context, service: Service) -> None:
        self._model = LoopModel(ctx, service)
        super().__init__(self._model, stream=service.stream, principal=ctx.principal, agent=ctx.id)
        self._ctx = ctx

    @overload
    async def run(
        self,
        prompt: str | Sequence[Said | ToolResult] | Handoff,
        *,
        tools: Sequence[Tool[Any] | str] | None = None,
        output: None = None,
        handoff: Sequence[object] | Mapping[Any, str] = (),
        instructions: str = "",
        context: Iterable[Citable | str] = (),
        work: Work = Work.REASON,
        tier: Tier | None = None,
        max_turns: int = DEFAULT_MAX_TURNS,
        max_cost: float | None = None,
        max_tokens: int | None = None,
        max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS,
        window_tokens: int = DEFAULT_WINDOW_TOKENS,
        on_text: OnText | None = None,
    ) -> LoopAnswer[None]: ...

    @overload
    async def run(
        self,
        prompt: str | Sequence[Said | ToolResult] | Handoff,
        *,
        tools: Sequence[Tool[Any] | str] | None = None,
        output: type[T],
        handoff: Sequence[object] | Mapping[Any, str] = (),
        instructions: str = "",
        context: Iterable[Citable | str] = (),
        work: Work = Work.REASON,
        tier: Tier | None = None,
        max_turns: int = DEFAULT_MAX_TURNS,
        max_cost: float | None = None,
        max_tokens: int | None = None,
        max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS,
        window_tokens: int = DEFAULT_WINDOW_TOKENS,
        on_text: OnText | None = None,
    ) -> LoopAnswer[T]: ...

    async def run(
        self,
        prompt: str | Sequence[Said | ToolResult] | Handoff,
        *,
        tools: Sequence[Tool[Any] | str] | None = None,
        output: type[Any] | None = None,
        handoff: Sequence[object] | Mapping[Any, str] = (),
        instructions: str = "",
        context: Iterable[Citable | str] = (),
        work: Work = Work.REASON,
        tier: Tier | None = None,
        max_turns: int = DEFAULT_MAX_TURNS,
        max_cost: float | None = None,
        max_tokens: int | None = None,
        max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS,
        window_tokens: int = DEFAULT_WINDOW_TOKENS,
        on_text: OnText | None = None,
    ) -> LoopAnswer[Any]:
        """Gives the answer of a model that may use this agent's tools, or those of them that `tools` names.

        The prompt is a question, a conversation so far, or a Handoff to go on with. `output` is the type of the
        answer; `handoff` are agents that may answer in place of this one. A turn is one call of the model. The caps
        are checked before each; costs are US dollars. In a durable turn each call of model and tools is a step.
        `on_text` takes what the model writes while it does, such as `ctx.emit` where parts are texts: also what it
        writes before it calls a tool, and as one piece what an agent answers that took the conversation over.

        Raises:
            LoopEnded: no answer: TurnsUsedUp, CostUsedUp, TokensUsedUp, TimeUsedUp, WindowTooSmall, ModelFailed,
                OutputInvalid.
            ToolDenied: `tools` names one that is not in the list of this agent's class.
            Misuse: the prompt, a limit, the type of the output or `on_text` can not be used.
        """
        check_whole("max_output_tokens", max_output_tokens, most=LIMIT_OUTPUT_TOKENS)
        check_whole("window_tokens", window_tokens, most=None)
        check_choices(instructions=instructions, work=work, tier=tier, context=context)
        limits = Limits(max_turns=max_turns, max_cost=max_cost, max_tokens=max_tokens)
        if on_text is not None and not callable(on_text):
            raise Misuse(f"on_text={on_text!r:.80}: give an async function that takes a text, such as ctx.emit")
        plan = LoopPlan(
            prompt=prompt if isinstance(prompt, str) else "",
            messages=_said(prompt),
            tools=self._named(tools),
            takers=takers(self._ctx, handoff),
            output=None if output is None else Output(output),
            instructions="\n\n".join(part for part in (instructions, _told_by(prompt)) if part),
            context=passages_of(context) or (prompt.context if isinstance(prompt, Handoff) else ()),
            work=work,
            tier=tier,
            limits=limits.within(prompt.limits) if isinstance(prompt, Handoff) else limits,
            max_output_tokens=max_output_tokens,
            window_tokens=window_tokens,
            on_text=on_text,
        )
        return await AgentLoop(self._ctx, self._model, plan, principal=self._principal).run()

    def _named(self, tools: Sequence[Tool[Any] | str] | None) -> frozenset[str] | None:
        """The names of the tools that are asked for; None for all. Raises ToolDenied, Misuse."""
        if tools is None:
            return None
        if isinstance(tools, str) or not isinstance(tools, Sequence):
            raise Misuse(f"tools={tools!r}: give a list, such as tools=[find] or tools=['find']")
        for each in tools:
            if not isinstance(each, Tool | str):
                raise Misuse(f"tools=[…] holds {each!r:.80}; give tools, which @tool makes, or their names")
            self._ctx.tools.check_listed(each)
        return frozenset(each if isinstance(each, str) else each.name for each in tools)


def _said(prompt: str | Sequence[Said | ToolResult] | Handoff) -> tuple[Said | ToolResult, ...]:
    if isinstance(prompt, Handoff):
        return prompt.messages
    if not isinstance(prompt, str | Sequence) or isinstance(prompt, bytes):
        raise Misuse(f"prompt={prompt!r:.80}: give a question, the messages of a conversation, or a Handoff")
    if not prompt:
        raise Misuse("the prompt is empty; give a question, or the messages of a conversation")
    if isinstance(prompt, str):
        return ()
    for each in prompt:
        if not isinstance(each, Said | ToolResult):
            raise Misuse(f"the conversation holds a {type(each).__name__}; give Said and ToolResult, or a text alone")
    return tuple(prompt)


def check_choices(*, instructions: object, work: object, tier: object, context: object) -> None:
    """Raises Misuse for one that is of another type than `run` says."""
    if not isinstance(instructions, str):
        raise Misuse(f"instructions={instructions!r:.80}: give a text")
    if not isinstance(work, Work):
        raise Misuse(f"work={work!r:.80}: give one of Work, such as Work.REASON")
    if tier is not None and not isinstance(tier, Tier):
        raise Misuse(f"tier={tier!r:.80}: give Tier.SMALL or Tier.LARGE, or None for that of the work")
    if not isinstance(context, Iterable):
        raise Misuse(f"context={context!r:.80}: give a list of strings, or of objects with .text and .source")


def _told_by(prompt: object) -> str:
    if not isinstance(prompt, Handoff):
        return ""
    # Its reason is a model's word, and stands in the conversation among those: never among the instructions.
    return "\n\n".join(
        part for part in ("This conversation was handed to you: go on with it.", prompt.instructions) if part
    )
