"""Answers that are read while they are made, plain and durable; docs/guides/streaming.md explains it.

python examples/telling.py
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel

from regrow import (
    Agent,
    App,
    AskFailed,
    AskTimeout,
    Context,
    DurableAgent,
    DurableContext,
    PartsLost,
    Refused,
    Running,
    StreamRequest,
    Supervisor,
    Work,
    child,
    new_command_id,
    on,
)


class Tell(StreamRequest[str, int]):
    """Is answered in words, and behind them by their number."""

    story: str


class Explain(StreamRequest[str, str]):
    """Is answered as the model writes, and behind that by the whole text."""

    question: str


class Teller(Agent):
    @on
    async def tell(self, request: Tell, ctx: Context) -> int:
        words = request.story.split()
        for word in words:
            if word == "crash":
                raise ValueError("the teller has lost the thread")
            await ctx.emit(word)
        return len(words)


class Writer(Agent):
    @on
    async def explain(self, request: Explain, ctx: Context) -> str:
        async with ctx.models.stream(Work.SYNTHESIZE, request.question, context=[PASSAGE]) as completion:
            async for part in completion:
                await ctx.emit(part.text)
        return completion.reply.text


PASSAGE = "A window is how many parts may wait unread. A reader that stops reading holds up its own producer alone."


class Told(BaseModel):
    words: int = 0


class Chronicler(DurableAgent[Told]):
    """Counts all the words that it has ever told."""

    @on
    async def tell(self, request: Tell, ctx: DurableContext) -> int:
        words = request.story.split()
        await asyncio.sleep(0.1)  # a model thinks before its first word
        for word in words:
            await ctx.emit(word)
        self.state = Told(words=self.state.words + len(words))
        return self.state.words


app = App(
    "telling", Supervisor(max_restarts=10, children=[child(Teller), child(Chronicler), child(Writer)]), journal="memory"
)

STORY = "once upon a time"
ID = new_command_id()


async def read(running: Running, agent: str, request: StreamRequest[str, Any], *, command_id: str | None = None) -> str:
    """What a reader sees: all parts, and how the stream ended."""
    said = ""
    try:
        async with running.ref(agent).stream(request, command_id=command_id) as stream:
            async for part in stream:
                said += f"[{part}] "
        return f"{said}and the reply: {stream.reply}"
    except PartsLost as lost:
        return f"{said}and the reply alone, for {lost.emitted} parts are gone: {lost.reply}"
    except (AskFailed, AskTimeout, Refused) as error:
        return f"{said}and {type(error).__name__}: {error}"


async def leave(running: Running) -> str:
    """Reads two words, and goes."""
    async with running.ref("teller").stream(Tell(story=STORY)) as stream:
        first = await anext(stream)
        second = await anext(stream)
    return f"[{first}] [{second}] and no more"


async def tour(running: Running) -> None:
    """Reads, goes away, and has things go wrong."""

    def step(title: str, seen: object) -> None:
        print(f"\n{title}\n  the reader: {seen}")

    step("Word by word.", await read(running, "teller", Tell(story=STORY)))
    number = await running.ref("teller").ask(Tell(story=STORY))
    step("Asked for the reply alone.", number)
    step("As the model writes.", await read(running, "writer", Explain(question="What is a window?")))
    step("It goes in the middle.", await leave(running))
    step("The teller crashes in the middle.", await read(running, "teller", Tell(story="once crash")))

    reading = asyncio.ensure_future(read(running, "chronicler", Tell(story=STORY), command_id=ID))
    await asyncio.sleep(0.05)
    await running.kill("telling/chronicler")
    step("A durable one is killed ahead of its first word.", await reading)
    step("The same again, by its id.", await read(running, "chronicler", Tell(story=STORY), command_id=ID))


async def main() -> None:
    async with app.start(engine="inline") as running:
        await tour(running)


if __name__ == "__main__":
    asyncio.run(main())
