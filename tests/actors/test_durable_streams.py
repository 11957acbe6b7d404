"""Streams of durable agents: parts come at most once, the reply is committed, and no turn depends on who reads."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from regrow.actors import Agent, Context, DurableAgent, DurableContext, on
from regrow.actors.durable_context import READER_WAIT_S
from regrow.actors.durable_errors import InQuarantine
from regrow.runtime.address import ActorId
from regrow.runtime.command_ids import uuid7
from regrow.runtime.errors import AskFailed, PartsLost, Refused
from regrow.runtime.lifecycle import Crashed, Killed, Shutdown
from regrow.runtime.message import Message, Request, StreamRequest
from regrow.runtime.stream_window import Window
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import BEGUN_MS, Host, memory_journal, on_virtual_time
from tests.runtime.scripted import settle
from tests.simulation.durable_world import DurableWorld

TELLER = "desk/teller"
COMMAND = "019ab2d4-6c00-7000-8000-000000000001"
LOUD = "x" * 1_000_000
SMALL = Window(parts=4)


class Said(BaseModel):
    tokens: int = 0
    runs: int = 0


class Token(Message):
    n: int
    text: str = ""


class Tell(StreamRequest[Token, int]):
    """Expects so many tokens; the reply is how many were ever said."""

    parts: int
    how: str = ""


class Look(StreamRequest[Token, int]):
    """Only reads."""


class Total(Request[int]):
    pass


class Approval(Message):
    pass


class Outside:
    """What tests do to the teller's turns."""

    def __init__(self) -> None:
        self.runs = 0
        self.cancelled = 0
        self.lost: list[tuple[object, ...]] = []
        self.crashes_at: int | None = None
        self.hang_at: int | None = None
        self.go = asyncio.Event()


outside = Outside()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    outside.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agents know


class Teller(DurableAgent[Said]):
    @on
    async def tell(self, request: Tell, ctx: DurableContext) -> int:
        outside.runs += 1
        if request.how == "wait first":
            await ctx.wait_for(Approval)
        try:
            for n in range(request.parts):
                if n == outside.crashes_at:
                    outside.crashes_at = None
                    raise ValueError("as the test wants it")
                if n == outside.hang_at:
                    outside.hang_at = None
                    await outside.go.wait()
                await ctx.emit(Token(n=n))
        except asyncio.CancelledError:
            outside.cancelled += 1
            raise
        if request.how == "crash":
            raise ValueError("too much to say")
        if request.how == "wait last":
            await ctx.wait_for(Approval)
        self.state = Said(tokens=self.state.tokens + request.parts)
        return self.state.tokens

    @on
    async def total(self, request: Total) -> int:
        return self.state.tokens

    @on(read_only=True)
    async def look(self, request: Look, ctx: DurableContext) -> int:
        try:
            for n in range(self.state.tokens):
                await ctx.emit(Token(n=n))
                await pass_time(1.0)
        except asyncio.CancelledError:
            outside.cancelled += 1
            raise
        return self.state.tokens


async def read(stream: Any, limit: int | None = None) -> list[int]:
    numbers: list[int] = []
    async for token in stream:
        numbers.append(token.n)
        if len(numbers) == limit:
            break
    return numbers


async def _read_on(stream: Any, numbers: list[int]) -> None:
    async for token in stream:
        numbers.append(token.n)


async def _host() -> Host:
    host = await Host.on(memory_journal())
    assert await host.start(Teller, TELLER) is None
    return host


@on_virtual_time
async def test_the_reply_behind_the_parts_is_committed_and_asked_again_comes_with_word_that_they_are_lost() -> None:
    host = await _host()

    async with host.ref(TELLER).stream(Tell(parts=200), window=SMALL, command_id=COMMAND) as stream:
        assert await read(stream) == list(range(200))
    async with host.ref(TELLER).stream(Tell(parts=200), command_id=COMMAND) as again:
        with pytest.raises(
            PartsLost, match=r"answered Tell in 200 parts, and 0 of them came .* take stream\.reply"
        ) as lost:
            await read(again)

    assert (stream.reply, again.reply, lost.value.reply) == (200, 200, 200)
    assert await host.ref(TELLER).ask(Tell(parts=200), command_id=COMMAND) == 200
    assert outside.runs == 1


@on_virtual_time
async def test_an_answer_without_parts_is_whole_when_it_is_asked_again() -> None:
    host = await _host()
    await host.ref(TELLER).ask(Tell(parts=0), command_id=COMMAND)

    async with host.ref(TELLER).stream(Tell(parts=0), command_id=COMMAND) as again:
        assert await read(again) == []

    assert again.reply == 0


@on_virtual_time
async def test_who_asks_again_while_nothing_was_emitted_gets_all_parts() -> None:
    host = await _host()
    outside.hang_at = 0

    async with host.ref(TELLER).stream(Tell(parts=5), command_id=COMMAND):
        await settle()
    async with host.ref(TELLER).stream(Tell(parts=5), command_id=COMMAND) as again:
        await settle()
        outside.go.set()
        assert await read(again) == [0, 1, 2, 3, 4]

    assert again.reply == 5
    assert outside.runs == 1


@on_virtual_time
async def test_of_two_who_read_the_same_the_later_one_gets_the_parts_and_the_other_the_reply() -> None:
    host = await _host()
    outside.hang_at = 0

    async with (
        host.ref(TELLER).stream(Tell(parts=5), command_id=COMMAND) as first,
        host.ref(TELLER).stream(Tell(parts=5), command_id=COMMAND) as later,
    ):
        await settle()
        outside.go.set()
        assert await read(later) == [0, 1, 2, 3, 4]
        with pytest.raises(PartsLost, match="and 0 of them came"):
            await read(first)

    assert (first.reply, later.reply) == (5, 5)


@on_virtual_time
async def test_who_asks_again_behind_the_first_part_gets_the_reply_alone() -> None:
    host = await _host()
    outside.hang_at = 3

    async with host.ref(TELLER).stream(Tell(parts=5), command_id=COMMAND) as stream:
        assert await read(stream, 3) == [0, 1, 2]
    async with host.ref(TELLER).stream(Tell(parts=5), command_id=COMMAND) as again:
        await settle()
        outside.go.set()
        with pytest.raises(PartsLost, match="in 5 parts, and 0 of them came"):
            await read(again)

    assert again.reply == 5


@on_virtual_time
async def test_who_asks_again_for_what_waits_gets_all_parts_behind_the_wait() -> None:
    host = await _host()

    async with host.ref(TELLER).stream(Tell(parts=2, how="wait first"), command_id=COMMAND):
        await settle()
    async with host.ref(TELLER).stream(Tell(parts=2, how="wait first"), command_id=COMMAND) as again:
        await settle()
        await host.ref(TELLER).tell(Approval())
        assert await read(again) == [0, 1]

    assert again.reply == 2


@on_virtual_time
async def test_a_reader_that_leaves_ends_no_turn_that_was_accepted_and_its_parts_are_dropped() -> None:
    host = await _host()

    async with host.ref(TELLER).stream(Tell(parts=100), window=SMALL) as stream:
        assert await read(stream, 2) == [0, 1]

    assert await host.ref(TELLER).ask(Total()) == 100
    assert (outside.runs, outside.cancelled) == (1, 0)


@on_virtual_time
async def test_a_request_that_is_left_before_its_turn_has_an_outcome_all_the_same() -> None:
    host = await _host()
    outside.hang_at = 0
    await host.ref(TELLER).tell(Tell(parts=1))
    await settle()

    async with host.ref(TELLER).stream(Tell(parts=10)):
        await settle()
    outside.go.set()

    assert await host.ref(TELLER).ask(Total()) == 11


@on_virtual_time
async def test_a_turn_that_is_run_again_behind_its_first_part_ends_the_stream_with_the_reason() -> None:
    host = await _host()
    outside.crashes_at = 3
    numbers: list[int] = []

    async with host.ref(TELLER).stream(Tell(parts=10), command_id=COMMAND) as stream:
        with pytest.raises(AskFailed, match="its journal has it: ask under the same command id") as failed:
            await _read_on(stream, numbers)

    assert numbers == [0, 1, 2]
    assert isinstance(failed.value.reason, Crashed)
    assert await host.ref(TELLER).ask(Tell(parts=10), command_id=COMMAND) == 10
    assert outside.runs == 2


@on_virtual_time
async def test_a_turn_that_is_run_again_ahead_of_its_first_part_is_streamed_as_if_nothing_was() -> None:
    host = await _host()
    outside.crashes_at = 0

    async with host.ref(TELLER).stream(Tell(parts=10)) as stream:
        assert await read(stream) == list(range(10))

    assert stream.reply == 10
    assert outside.runs == 2


@on_virtual_time
async def test_a_stop_behind_the_first_part_ends_the_stream_with_the_reason_and_the_next_life_commits() -> None:
    host = await _host()
    outside.hang_at = 3
    numbers: list[int] = []

    async with host.ref(TELLER).stream(Tell(parts=10), command_id=COMMAND) as stream:
        reading = asyncio.ensure_future(_read_on(stream, numbers))
        await settle()
        host.runtime.cells[ActorId(TELLER)].stop(Shutdown(), 5.0)
        with pytest.raises(AskFailed, match="its journal has it: ask under the same command id"):
            await reading

    assert numbers == [0, 1, 2]
    assert await host.ref(TELLER).ask(Tell(parts=10), command_id=COMMAND) == 10
    assert outside.runs == 2


@on_virtual_time
async def test_a_message_that_always_crashes_ends_its_stream_and_goes_into_quarantine() -> None:
    host = await _host()
    numbers: list[int] = []

    async with host.ref(TELLER).stream(Tell(parts=3, how="crash"), command_id=COMMAND) as stream:
        with pytest.raises(AskFailed, match="too much to say"):
            await _read_on(stream, numbers)
    assert await host.ref(TELLER).ask(Total()) == 0
    async with host.ref(TELLER).stream(Tell(parts=3, how="crash"), command_id=COMMAND) as stream:
        with pytest.raises(InQuarantine):
            await _read_on(stream, numbers)

    assert numbers == [0, 1, 2]


@on_virtual_time
async def test_waiting_behind_a_part_is_refused_also_where_nobody_reads_it() -> None:
    host = await _host()

    async with host.ref(TELLER).stream(Tell(parts=2, how="wait last")) as stream:
        with pytest.raises(AskFailed, match="would get those parts twice"):
            await read(stream)
    with pytest.raises(InQuarantine, match="would get those parts twice"):
        await host.ref(TELLER).ask(Tell(parts=2, how="wait last"))


@on_virtual_time
async def test_parts_behind_a_wait_are_streamed() -> None:
    host = await _host()

    async with host.ref(TELLER).stream(Tell(parts=2, how="wait first")) as stream:
        await pass_time(1.0)
        await host.ref(TELLER).tell(Approval())
        assert await read(stream) == [0, 1]

    assert stream.reply == 2


@on_virtual_time
async def test_what_only_reads_is_streamed_too_and_cancelled_with_its_reader() -> None:
    host = await _host()
    await host.ref(TELLER).ask(Tell(parts=5))

    async with host.ref(TELLER).stream(Look()) as stream:
        assert await read(stream) == [0, 1, 2, 3, 4]
    async with host.ref(TELLER).stream(Look()) as left:
        assert await read(left, 2) == [0, 1]
    await settle()

    assert stream.reply == 5
    assert outside.cancelled == 1


@on_virtual_time
async def test_the_death_of_a_process_ends_its_stream_and_the_next_life_commits_the_turn() -> None:
    world = DurableWorld()
    here, there, _spare = [await world.host(name) for name in ("here", "there", "spare")]
    await world.start_durable(there, TELLER, Teller)
    outside.hang_at = 3
    numbers: list[int] = []

    async with here.ref(TELLER).stream(Tell(parts=10), command_id=_command(world)) as stream:
        assert await read(stream, 3) == [0, 1, 2]
        world.kill("there")
        with pytest.raises(AskFailed, match="its journal has it") as failed:
            await _read_on(stream, numbers)

    assert numbers == []
    assert isinstance(failed.value.reason, Killed)
    assert await here.ref(TELLER).ask(Tell(parts=10), command_id=_command(world), timeout_s=20.0) == 10
    assert await here.ref(TELLER).ask(Total(), timeout_s=20.0) == 10
    await world.close()


@on_virtual_time
async def test_a_turn_whose_reader_has_died_too_waits_for_it_a_moment_and_no_longer() -> None:
    world, loop = DurableWorld(), asyncio.get_running_loop()
    here, reading, telling, _spare = [await world.host(name) for name in ("here", "reading", "telling", "spare")]
    await world.start_durable(telling, TELLER, Teller)
    outside.hang_at = 0
    stream = reading.ref(TELLER).stream(Tell(parts=10), command_id=_command(world))

    await stream.__aenter__()
    await pass_time(0.1)
    world.kill("reading")
    world.kill("telling")
    killed_s = loop.time()

    assert await here.ref(TELLER).ask(Total(), timeout_s=20.0) == 10
    assert READER_WAIT_S <= loop.time() - killed_s < READER_WAIT_S + 2.0
    stream.leave()
    await world.close()


def _command(world: DurableWorld) -> str:
    return str(uuid7(BEGUN_MS + 1_000_000, 7))


# ---- streams that durable turns read -------------------------------------------------------------


class Relay(StreamRequest[Token, int]):
    """Hands on so many tokens of the teller; crashes behind them if it shall, or leaves after one."""

    parts: int
    how: str = ""


class Relayed(BaseModel):
    heard: list[int] = []


class Say(StreamRequest[Token, int]):
    """Asks the teller, and takes the reply where the parts are lost."""


class Heard(Request[tuple[int, ...]]):
    pass


class Relayer(DurableAgent[Relayed]):
    @on
    async def relay(self, request: Relay, ctx: DurableContext) -> int:
        heard: list[int] = []
        async with ctx.stream(TELLER, Tell(parts=request.parts)) as stream:
            async for token in stream:
                heard.append(token.n)
                await ctx.emit(token)
                if request.how == "leave":
                    break
        if outside.crashes_at == -1:
            outside.crashes_at = None
            raise ValueError("as the test wants it")
        self.state = Relayed(heard=[*self.state.heard, *heard])
        return -1 if request.how == "leave" else stream.reply

    @on
    async def say(self, request: Say, ctx: DurableContext) -> int:
        stream = ctx.stream(TELLER, Tell(parts=3))
        try:
            async with stream:
                await read(stream, 1)
                if outside.crashes_at == -1:
                    outside.crashes_at = None
                    outside.go.set()
                    raise ValueError("as the test wants it")
        except PartsLost as lost:
            outside.lost.append((lost.emitted, lost.read, lost.reply, stream.reply))
            if len(outside.lost) == 1:
                raise ValueError("as the test wants it") from lost
        return stream.reply

    @on
    async def heard(self, request: Heard) -> tuple[int, ...]:
        return tuple(self.state.heard)


async def _relaying() -> Host:
    host = await _host()
    assert await host.start(Relayer, "desk/relayer") is None
    return host


@on_virtual_time
async def test_a_durable_turn_hands_on_what_it_reads() -> None:
    host = await _relaying()

    async with host.ref("desk/relayer").stream(Relay(parts=50), window=SMALL) as stream:
        assert await read(stream) == list(range(50))

    assert stream.reply == 50
    assert await host.ref("desk/relayer").ask(Heard()) == tuple(range(50))


@on_virtual_time
async def test_a_turn_that_has_read_a_stream_to_its_end_reads_it_again_from_its_record() -> None:
    host = await _relaying()
    outside.crashes_at = -1

    assert await host.ref("desk/relayer").ask(Relay(parts=5)) == 5

    assert outside.runs == 1, "the teller was asked once"
    assert await host.ref("desk/relayer").ask(Heard()) == (0, 1, 2, 3, 4)


@on_virtual_time
async def test_a_turn_that_meets_lost_parts_meets_them_again_from_its_record() -> None:
    host = await _relaying()
    outside.hang_at, outside.crashes_at = 1, -1

    assert await host.ref("desk/relayer").ask(Say()) == 3

    assert outside.runs == 1
    assert outside.lost == [(3, 0, 3, 3)] * 2


@on_virtual_time
async def test_a_stream_that_a_turn_leaves_is_not_recorded_and_the_turn_ends() -> None:
    host = await _relaying()

    assert await host.ref("desk/relayer").ask(Relay(parts=500, how="leave")) == -1

    assert await host.ref("desk/relayer").ask(Heard()) == (0,)


@on_virtual_time
async def test_a_refusal_that_ends_a_stream_is_recorded_and_told_again() -> None:
    class Refuser(DurableAgent[Relayed]):
        @on
        async def tell(self, request: Tell, ctx: DurableContext) -> int:
            outside.runs += 1
            raise Refused("not a word")

    class Asker(DurableAgent[Relayed]):
        @on
        async def relay(self, request: Relay, ctx: DurableContext) -> int:
            try:
                async with ctx.stream("desk/refuser", Tell(parts=1)) as stream:
                    await read(stream)
            except Refused:
                if outside.crashes_at == -1:
                    outside.crashes_at = None
                    raise ValueError("as the test wants it") from None
                return -2
            return 0

    host = await _host()
    assert await host.start(Refuser, "desk/refuser") is None
    assert await host.start(Asker, "desk/asker") is None
    outside.crashes_at = -1

    assert await host.ref("desk/asker").ask(Relay(parts=1)) == -2
    assert outside.runs == 1


@on_virtual_time
async def test_a_stream_too_long_to_be_recorded_is_named() -> None:
    class Loud(Agent):
        @on
        async def tell(self, request: Tell, ctx: Context) -> int:
            for n in range(request.parts):
                await ctx.emit(Token(n=n, text=LOUD))
            return request.parts

    host = await Host.on(memory_journal())
    assert await host.start(Loud, TELLER) is None
    assert await host.start(Relayer, "desk/relayer") is None

    with pytest.raises(InQuarantine, match="pass the 16,777,216 bytes that a durable turn may read"):
        await host.ref("desk/relayer").ask(Relay(parts=20))


@on_virtual_time
async def test_what_only_reads_can_read_no_stream() -> None:
    class Peeker(DurableAgent[Relayed]):
        @on(read_only=True)
        async def relay(self, request: Relay, ctx: DurableContext) -> int:
            async with ctx.stream(TELLER, Tell(parts=1)) as stream:
                return len(await read(stream))

    host = await _host()
    assert await host.start(Peeker, "desk/peeker") is None

    with pytest.raises(AskFailed, match="takes steps in a handler that is @on\\(read_only=True\\)"):
        await host.ref("desk/peeker").ask(Relay(parts=1))
