"""Streams over wires that lose, double and delay calls, between processes that die (SEMANTICS 4).

Readers open streams of tellers anywhere, read at their own pace, stop for a while, leave early, are cancelled, or let
the deadline pass; tellers emit at theirs, refuse, crash and are killed, and whole processes with them. What was truly
emitted and read is noted outside of the runtimes. Each stream must end once, with all of its parts in order before its
reply and a gapless beginning of them before any other end; no more may wait than its window; and when all is quiet, no
turn emits any more to somebody who has gone.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.errors import AskFailed, AskTimeout, Closed, Refused
from regrow.runtime.link import LinkSettings
from regrow.runtime.message import Message, StreamRequest
from regrow.runtime.stream_window import Window
from regrow.runtime.testing import CALM, FaultPlan, pass_time, run_virtual
from tests.runtime.scripted import Boom, Scripted
from tests.simulation.seeds import seeds
from tests.simulation.wires import Node, World

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext
    from regrow.runtime.stream import Stream

SEEDS = seeds("streams", range(5))
STORM_S = 3.0
QUIET_S = 30.0
TIMEOUT_S = 5.0
STORM = FaultPlan(request_lost=0.08, reply_lost=0.08, doubled=0.1, slow=0.02, verdict_s=(0.005, 0.2))
TIGHT = LinkSettings(max_frame_rows=2, max_calls_in_flight=1, max_unsettled_rows=4, max_waiting_rows=3)
DEEDS = {"reply": 12, "refuse": 2, "crash": 1}
MANNERS = {"read": 10, "stop": 3, "leave": 4, "cancel": 2, "never": 1}


class Token(Message):
    stream: int
    n: int


class Tell(StreamRequest[Token, int]):
    """So many tokens, and what then."""

    stream: int
    parts: int
    pause_s: float
    deed: str


@dataclass(slots=True)
class Story:
    """One stream as it truly went."""

    window: int
    parts: int
    emitted: int = 0
    read: int = 0
    end: str = ""


class Game:
    """Readers and tellers in four processes."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        settings = TIGHT if seed % 2 else None
        self.world = World(seed, CALM if seed % 4 == 0 else STORM, settings, restart_after_s=0.02)
        self.names = [f"game/{letter}" for letter in "abcd"]
        self.stories: list[Story] = []
        self.running: Counter[int] = Counter()
        """By stream, the turns that emit to it now."""
        self.most = 0

    def expect(self, holds: bool, text: str) -> None:
        assert holds, f"seed {self.seed}: {text}"

    # ---- telling -------------------------------------------------------------------------------

    async def tell(self, message: Any, ctx: CellContext) -> object:
        story = self.stories[message.stream]
        self.running[message.stream] += 1
        try:
            for n in range(message.parts):
                if message.pause_s and self.dice.random() < 0.3:
                    await pass_time(message.pause_s)
                await ctx.emit(Token(stream=message.stream, n=n))
                story.emitted = max(story.emitted, n + 1)
                waits = story.emitted - story.read
                self.most = max(self.most, waits)
                self.expect(waits <= story.window + 1, f"{waits} parts wait of stream {message.stream}: {story}")
            if message.deed == "refuse":
                raise Refused("not this one")
            if message.deed == "crash":
                raise Boom
            return message.parts
        finally:
            self.running[message.stream] -= 1

    # ---- reading -------------------------------------------------------------------------------

    async def client(self, node: Node) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + STORM_S
        while loop.time() < until_s and not node.is_dead:
            number = len(self.stories)
            parts = self.dice.choice((0, 1, 5, 40, 300))
            window = Window(parts=self.dice.choice((1, 2, 7, 64)))
            story = Story(window=window.parts, parts=parts)
            self.stories.append(story)
            deed = self.dice.choices(list(DEEDS), list(DEEDS.values()))[0]
            manner = self.dice.choices(list(MANNERS), list(MANNERS.values()))[0]
            request = Tell(stream=number, parts=parts, pause_s=self.dice.choice((0.0, 0.001, 0.02)), deed=deed)
            stream = node.ref(self.dice.choice(self.names)).stream(request, timeout_s=TIMEOUT_S, window=window)
            await self.read(stream, story, manner)
            await pass_time(self.dice.random() * 0.05)

    async def read(self, stream: Stream[Token, int], story: Story, manner: str) -> None:
        """Reads in that manner; notes how it ended."""
        reading = asyncio.ensure_future(self._read(stream, story, manner))
        if manner == "cancel":
            await pass_time(self.dice.random() * 0.1)
            reading.cancel()
        try:
            await reading
        except (AskFailed, AskTimeout, Refused, Closed) as error:
            story.end = type(error).__name__
        except asyncio.CancelledError:
            if not reading.cancelled():
                reading.cancel()
                raise
            story.end = "cancelled"
        self.expect(story.end != "", "a stream ended without an end")

    async def _read(self, stream: Stream[Token, int], story: Story, manner: str) -> None:
        async with stream:
            if manner == "never":
                await pass_time(2 * TIMEOUT_S)
                story.end = "left"
                return
            async for token in stream:
                self.expect(token.n == story.read, f"part {token.n} where {story.read} was to come")
                story.read += 1
                if manner == "leave" and self.dice.random() < 0.1:
                    story.end = "left"
                    return
                if manner == "stop" and self.dice.random() < 0.05:
                    await pass_time(self.dice.random() * 0.3)
        story.end = "reply"
        self.expect(stream.reply == story.parts == story.read, f"the reply came behind {story.read} of {story.parts}")

    # ---- the storm -----------------------------------------------------------------------------

    async def play(self) -> None:
        world = self.world
        for name in ("north", "south", "east", "west"):
            world.node(name, listens=name == "west")
        homes = [world.nodes[name] for name in ("north", "south", "east")]
        for place, name in enumerate(self.names):
            await world.start(homes[place % len(homes)], name, lambda: Scripted(self.tell))
        clients = [asyncio.create_task(self.client(node)) for node in world.nodes.values() for _ in range(3)]
        for _ in range(6):
            await pass_time(STORM_S / 6)
            self.strike()
        await asyncio.wait(clients, timeout=QUIET_S)
        await pass_time(QUIET_S)
        self.check(clients)
        await world.close()

    def strike(self) -> None:
        """Kills an agent, or the process `south` and its readers with it."""
        world = self.world
        if self.seed % 4 and "south" in world.nodes and self.dice.random() < 0.3:
            world.kill("south")
            return
        cells = [cell for node in world.living for cell in node.runtime.cells.values() if cell.behavior is not None]
        if cells:
            self.dice.choice(cells).kill("by the test")

    def check(self, clients: list[asyncio.Task[None]]) -> None:
        for client in clients:
            self.expect(client.done(), "a reader still reads")
            if not client.cancelled() and (error := client.exception()) is not None:
                raise error
        left = {number: count for number, count in self.running.items() if count}
        self.expect(not left, f"turns still emit: {left}")
        for node in self.world.living:
            self.expect(node.runtime.streams.is_idle, f"{node.host} still carries streams")
            self.expect(node.reasons().get("no_such_agent", 0) == 0, f"{node.host}: {node.dead}")
            parts = [letter for letter in node.dead if isinstance(letter[1], tuple)]
            self.expect(not parts, f"parts are no letters: {parts}")
        ends = Counter(story.end for story in self.stories)
        self.expect(ends["reply"] >= 3, f"hardly anything came through: {ends}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_streams_come_whole_or_end_with_a_reason_and_never_more_than_a_window_waits(seed: int) -> None:
    run_virtual(_play(seed))


async def _play(seed: int) -> None:
    await Game(seed).play()
