"""The agents between which the benchmark streams, and the same of plain Ray. Hosts and Ray's workers import this."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from time import perf_counter
from typing import Any

from measure import percentile

from regrow import Agent, App, Context, Message, Request, StreamRequest, Supervisor, child, on

WORD = "stream"
STREAM_S = 100.0
"""How long one stream may take, also on a busy machine."""
TICK_S = 0.001
"""How often a paced producer emits what is due by then."""
ROUND = 32
"""The producer lets its loop come round after so many tokens, as one does that reads them from a connection."""


class Word(Message):
    """One token."""

    n: int
    text: str


class Said(Message):
    """The reply: how many tokens there were."""

    words: int


class Say(StreamRequest[Word, Said]):
    """Expects so many tokens, at that pace; as fast as they are taken where it is 0."""

    words: int
    per_s: int = 0


class Heard(Message):
    """What a reader measured: tokens per second, and the 99th percentile of the gaps between two tokens."""

    per_s: float
    gap_ms_p99: float


class Listen(Request[Heard]):
    """Has the reader read so many tokens, at that pace."""

    words: int
    per_s: int = 0


class Speaker(Agent):
    """Emits tokens."""

    @on
    async def say(self, request: Say, ctx: Context) -> Said:
        """As many as are asked for."""
        begun_s = perf_counter()
        for n in range(request.words):
            if request.per_s and n / request.per_s > perf_counter() - begun_s:
                await asyncio.sleep(TICK_S)  # some are due by then, and go one behind the other
            await ctx.emit(Word(n=n, text=WORD))
            if not request.per_s and not n % ROUND:
                await asyncio.sleep(0)
        return Said(words=request.words)


class Listener(Agent):
    """Reads them, in another host, checks their order and measures."""

    @on
    async def listen(self, request: Listen, ctx: Context) -> Heard:
        """Reads one stream to its end."""
        times_s = [perf_counter()]
        async with ctx.stream(Speaker, Say(words=request.words, per_s=request.per_s), timeout_s=STREAM_S) as stream:
            async for word in stream:
                if word.n != len(times_s) - 1:
                    raise AssertionError(f"token {word.n} came where {len(times_s) - 1} was to come")
                times_s.append(perf_counter())
        if stream.reply.words != request.words or len(times_s) != request.words + 1:
            raise AssertionError(f"{len(times_s) - 1} tokens came of {request.words}")
        return heard(times_s)


def heard(times_s: list[float]) -> Heard:
    """The figures of one stream, from its start and the time of each token."""
    gaps_s = [later - earlier for earlier, later in pairwise(times_s[1:])]
    return Heard(per_s=(len(times_s) - 1) / (times_s[-1] - times_s[0]), gap_ms_p99=percentile(gaps_s, 99) * 1e3)


stream_app = App("talk", Supervisor(children=[child(Speaker, id="speaker"), child(Listener, id="listener")]))


class RawSpeaker:
    """Plain Ray: a streaming generator of the bytes that pydantic writes."""

    async def say(self, words: int) -> Any:
        """One item for each token."""
        for n in range(words):
            yield Word(n=n, text=WORD).model_dump_json().encode()


class RawListener:
    """Reads them in an actor of its own."""

    async def listen(self, speaker: Any, words: int) -> tuple[float, float]:
        """Tokens per second, and the 99th percentile of the gaps in ms."""
        times_s = [perf_counter()]
        async for item in speaker.say.options(num_returns="streaming").remote(words):
            word = Word.model_validate_json(await item)
            if word.n != len(times_s) - 1:
                raise AssertionError(f"token {word.n} came where {len(times_s) - 1} was to come")
            times_s.append(perf_counter())
        measured = heard(times_s)
        return measured.per_s, measured.gap_ms_p99
