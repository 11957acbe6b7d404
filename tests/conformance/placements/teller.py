"""A player that answers in parts, and reads the answers of others."""

from __future__ import annotations

import asyncio
from pathlib import Path

from regrow import ActorRef, Context, Message, Refused, Request, StreamRequest, on
from regrow.runtime import RegrowError, Window
from tests.conformance.placements.player import Player, look_again, told


class Word(Message):
    """One part."""

    n: int


class Say(StreamRequest[Word, str]):
    """Expects so many words; then its reply, a refusal or a crash. Behind `pause_at` words it waits for the file."""

    words: int
    pause_at: int = -1
    file: str = ""
    deed: str = "reply"


class Hear(Request[str]):
    """Has a teller read the stream of another; at `stop_at` it goes on when there is the file."""

    of: ActorRef
    say: Say
    stop_at: int = -1
    file: str = ""
    within_s: float = 600.0


class Teller(Player):
    """Writes down each word that it emits, and how its turns end."""

    @on
    async def say(self, message: Say, ctx: Context) -> str:
        try:
            for n in range(message.words):
                if n == message.pause_at:
                    self.sees(ctx, "pauses")
                    while not Path(message.file).exists():
                        await look_again()
                await ctx.emit(Word(n=n))
                if message.words < 100:
                    self.sees(ctx, f"said {n}")
        except asyncio.CancelledError:
            self.sees(ctx, "cancelled")
            raise
        if message.deed == "refuse":
            raise Refused("not another word")
        if message.deed == "crash":
            raise ValueError("lost its voice")
        return f"{message.words} words"

    @on
    async def hear(self, message: Hear, ctx: Context) -> str:
        heard = 0
        stream = ctx.stream(message.of, message.say, timeout_s=message.within_s, window=Window(parts=4))
        try:
            async with stream:
                async for word in stream:
                    if word.n != heard:
                        return f"{word.n} where {heard} was to come"
                    heard += 1
                    if heard == message.stop_at:
                        self.sees(ctx, "stops reading")
                        while not Path(message.file).exists():
                            await look_again()
        except RegrowError as error:
            return f"{heard}, then {told(error)}"
        return f"{heard}, then {stream.reply}"
