"""An agent whose handler does what a test wants with `ctx.models.run`, and a model that says what a test wrote down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from regrow import Agent, App, Context, Request, Supervisor, child, on
from regrow.actors.loop_answer import LoopAnswer
from regrow.actors.tool import Tool
from regrow.cluster.config import Settings
from regrow.router.conversation import ToolCall, ToolResult
from regrow.router.provider import ProviderReply
from regrow.router.request import FinishReason, ModelRequest, Usage
from regrow.router.settings import ModelSettings, PriceSettings, ProviderName, RouterSettings
from regrow.testing import ScriptedModel, TestApp

USD_PER_MTOK = 10.0
PRICED = Settings(
    models=RouterSettings(
        large=ModelSettings(
            provider=ProviderName.OPENAI,
            model="scripted",
            base_url="http://127.0.0.1:9/v1",
            price=PriceSettings(input_usd_per_mtok=USD_PER_MTOK, output_usd_per_mtok=USD_PER_MTOK),
        )
    )
)
"""A large model whose tokens cost $0.00001 each."""

Use = Callable[[Context], Awaitable[LoopAnswer[Any]]]


class Do(Request[str]):
    """Has the agent do what the test has set."""


class Stand:
    """What came of it: the answer or the error, and the model with what it was asked."""

    def __init__(self, model: ScriptedModel) -> None:
        self.model = model
        self.answer: LoopAnswer[Any]
        self.error: Exception | None = None

    def told(self, request: int = -1) -> list[str]:
        """What the model was told of its calls, in that request."""
        return [each.content for each in self.model.requests[request].messages if isinstance(each, ToolResult)]


async def looped(
    use: Use,
    script: Sequence[Any],
    *,
    tools: Sequence[Tool[Any]] = (),
    timeout_s: float = 600.0,
    settings: Settings | None = None,
    repeat_last: bool = False,
    others: Sequence[type[Agent]] = (),
    fails: bool = False,
) -> Stand:
    """Runs it to its end."""
    stand = Stand(ScriptedModel(script, repeat_last=repeat_last, may_be_left=True))
    listed = tools

    class Shop(Agent):
        tools = listed

        @on
        async def do(self, request: Do, ctx: Context) -> str:
            try:
                stand.answer = await use(ctx)
            except Exception as error:
                stand.error = error
                raise
            return stand.answer.text

    children = [child(Shop, id="shop"), *(child(each, id=each.__name__.lower()) for each in others)]
    async with TestApp(App("desk", Supervisor(children=children)), models=stand.model, settings=settings) as t:
        try:
            await t.ask("shop", Do(), timeout_s=timeout_s)
        except Exception:
            if not fails:
                raise
            await t.advance(1)  # its asker may have heard of the deadline before the agent did
    return stand


def call(name: str, arguments: str = "{}", id: str = "1") -> ToolCall:
    """A call that a model writes."""
    return ToolCall(id=id, name=name, arguments=arguments)


def calling(
    *calls: ToolCall, input_tokens: int = 10, output_tokens: int = 10
) -> Callable[[ModelRequest], ProviderReply]:
    """A reply with calls that used so many tokens."""
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    return lambda request: ProviderReply(text="", tool_calls=calls, finish=FinishReason.TOOL_CALLS, usage=usage)


def saying(text: str, input_tokens: int = 10, output_tokens: int = 10) -> Callable[[ModelRequest], ProviderReply]:
    """A reply of text that used so many tokens."""
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    return lambda request: ProviderReply(text=text, usage=usage)
