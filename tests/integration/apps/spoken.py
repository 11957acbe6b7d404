"""A durable agent that is read in parts, and one that reads it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from regrow import App, DurableAgent, DurableContext, Message, Request, StreamRequest, Supervisor, child, on
from tests.integration.waiting import until


class Word(Message):
    n: int


class Say(StreamRequest[Word, int]):
    """Leaves a file `begun`, waits until there is a file `go`, and says so many words, or waits for a reader too.

    While it waits for the file, it leaves a file `begun.left` where nobody reads.
    """

    parts: int
    begun: str
    go: str
    to_a_reader: bool = False


class Join(Request[str]):
    """Reads what is said, and commits all words as one text."""

    say: Say


class Said(BaseModel):
    words: int = 0


class Speaker(DurableAgent[Said]):
    @on
    async def say(self, request: Say, ctx: DurableContext) -> int:
        Path(request.begun).touch()

        def may_go() -> bool:
            if not ctx.wants_parts:
                Path(f"{request.begun}.left").touch()
            return Path(request.go).exists()

        await until(may_go, f"there is {request.go}", within_s=120)
        await until(lambda: ctx.wants_parts or not request.to_a_reader, "somebody reads", within_s=120)
        for n in range(request.parts):
            await ctx.emit(Word(n=n))
        self.state = Said(words=self.state.words + request.parts)
        return self.state.words


class Joined(BaseModel):
    texts: tuple[str, ...] = ()


class Joiner(DurableAgent[Joined]):
    @on
    async def join(self, request: Join, ctx: DurableContext) -> str:
        async with ctx.stream("spoken/speaker", request.say) as stream:
            text = "".join([str(word.n) async for word in stream])
        self.state = Joined(texts=(*self.state.texts, text))
        return text


app = App("spoken", Supervisor(max_restarts=100, children=[child(Speaker), child(Joiner)]))
