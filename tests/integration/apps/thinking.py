"""An app that remembers and thinks."""

from __future__ import annotations

from regrow import Agent, App, Context, Message, Packed, Request, Supervisor, Work, child, on

HOME = Packed("home")


class Learn(Request[str]):
    text: str
    source: str


class Found(Message):
    text: str
    source: str


class Recall(Request[tuple[Found, ...]]):
    text: str


class Thought(Message):
    text: str
    sources: tuple[str, ...]
    provider: str
    tokens: int


class Think(Request[Thought]):
    text: str


class Spent(Message):
    calls: int
    input_tokens: int
    agents: tuple[str, ...]


class Spending(Request[Spent]):
    pass


class Thinker(Agent):
    """Uses both services of the app."""

    @on
    async def learn(self, request: Learn, ctx: Context) -> str:
        return await ctx.memory.remember(request.text, source=request.source)

    @on
    async def recall(self, request: Recall, ctx: Context) -> tuple[Found, ...]:
        hits = await ctx.memory.recall(request.text, k=3)
        return tuple(Found(text=hit.text, source=hit.source) for hit in hits)

    @on
    async def think(self, request: Think, ctx: Context) -> Thought:
        hits = await ctx.memory.recall(request.text, k=3)
        reply = await ctx.models.complete(Work.SYNTHESIZE, request.text, context=hits)
        return Thought(
            text=reply.text,
            sources=reply.sources,
            provider=reply.provider,
            tokens=reply.usage.input_tokens + reply.usage.output_tokens,
        )

    @on
    async def spending(self, request: Spending, ctx: Context) -> Spent:
        usage = await ctx.models.usage(history=10)
        return Spent(
            calls=usage.all.calls,
            input_tokens=usage.all.input_tokens,
            agents=tuple(record.call.agent for record in usage.recent),
        )


app = App("thinking", Supervisor(children=[child(Thinker, id="first"), child(Thinker, id="second", placement=HOME)]))
