"""Answers that are read part by part, in one process (SEMANTICS 4)."""

# pyright: reportUnusedClass=false
# Classes of these tests are refused before anybody could use them.

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.errors import (
    AskFailed,
    AskTimeout,
    CallingSelf,
    Closed,
    InvalidMessage,
    Misuse,
    Refused,
)
from regrow.runtime.lifecycle import Crashed, Killed, NoProc
from regrow.runtime.message import StreamRequest
from regrow.runtime.stream_window import MAX_PART_BYTES, PARTS_IN_A_ROW, Batch, Window
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Boom, Echo, Note, Process, Scripted, for_ever, settle
from tests.runtime.streaming import Tell, Teller, Token, Told, read, read_through

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext
    from regrow.runtime.message import Message

SMALL = Window(parts=4)


async def teller(process: Process, before: Any = None) -> tuple[Any, Teller]:
    behavior = Teller(before)
    return await process.start("desk/teller", behavior), behavior


# ---- order, and one end --------------------------------------------------------------------------


@virtual
async def test_parts_come_in_order_and_behind_the_last_one_is_the_reply() -> None:
    ref, _ = await teller(Process())

    async with ref.stream(Tell(parts=5_000)) as stream:
        numbers = await read(stream)

    assert numbers == list(range(5_000))
    assert stream.reply == Told(parts=5_000)


@virtual
async def test_an_answer_without_parts_is_a_stream_that_ends_at_once() -> None:
    ref, _ = await teller(Process())

    async with ref.stream(Tell(parts=0)) as stream:
        assert await read(stream) == []

    assert stream.reply == Told(parts=0)


@virtual
async def test_asked_for_its_reply_alone_a_handler_that_emits_pays_nothing_and_waits_for_nobody() -> None:
    ref, behavior = await teller(Process())

    assert await ref.ask(Tell(parts=10_000)) == Told(parts=10_000)
    await ref.tell(Tell(parts=10_000))
    await ref.ask(Echo())

    assert behavior.emitted == 20_000


@virtual
async def test_emitting_to_nobody_lets_others_run_once_a_batch() -> None:
    ref, behavior = await teller(Process())
    asked = asyncio.create_task(ref.ask(Tell(parts=100_000)))
    seen: list[int] = []

    while not asked.done():
        await asyncio.sleep(0)
        seen.append(behavior.emitted)

    gaps = [later - earlier for earlier, later in pairwise(seen)]
    assert behavior.emitted == 100_000
    assert max(gaps) == PARTS_IN_A_ROW


@virtual
async def test_a_crash_ends_a_stream_with_its_reason_behind_the_parts_that_had_come() -> None:
    process = Process()

    async def crash(message: Message, ctx: CellContext) -> object:
        await ctx.emit(Token(n=0))
        await ctx.emit(Token(n=1))
        raise Boom("in the middle")

    ref = await process.start("desk/teller", crash)
    numbers: list[int] = []

    with pytest.raises(AskFailed, match="in the middle") as failed:
        await read_through(ref.stream(Tell()), numbers)

    assert numbers == [0, 1]
    assert isinstance(failed.value.reason, Crashed)


@virtual
async def test_the_reason_that_ended_a_stream_is_also_that_of_its_reply() -> None:
    process = Process()

    async def refuse(message: Message, ctx: CellContext) -> object:
        raise Refused("not this one")

    ref = await process.start("desk/teller", refuse)

    async with ref.stream(Tell()) as stream:
        await settle()
        with pytest.raises(Refused, match="not this one"):
            _ = stream.reply


@virtual
async def test_a_kill_ends_a_stream_as_killed() -> None:
    process = Process()
    ref, _ = await teller(process, lambda n: for_ever() if n == 2 else asyncio.sleep(0))

    async with ref.stream(Tell()) as stream:
        assert await read(stream, 2) == [0, 1]
        process.cell("desk/teller").kill()
        with pytest.raises(AskFailed) as failed:
            await read(stream)

    assert isinstance(failed.value.reason, Killed)


@virtual
async def test_a_refusal_ends_a_stream_and_the_agent_lives() -> None:
    process = Process()

    async def refuse(message: Message, ctx: CellContext) -> object:
        if isinstance(message, Echo):
            return message.text
        await ctx.emit(Token(n=0))
        raise Refused("not this one")

    ref = await process.start("desk/teller", refuse)

    with pytest.raises(Refused, match="not this one"):
        await read_through(ref.stream(Tell()))

    assert await ref.ask(Echo(text="lives")) == "lives"


@virtual
async def test_a_stream_from_nobody_is_no_proc_at_once() -> None:
    with pytest.raises(AskFailed) as failed:
        await read_through(Process().ref("desk/nobody").stream(Tell(), timeout_s=600.0))

    assert failed.value.reason == NoProc()


@virtual
async def test_a_stream_ends_at_its_deadline_behind_what_had_come_and_its_handler_with_it() -> None:
    process, loop = Process(), asyncio.get_running_loop()
    ref, behavior = await teller(process, lambda n: pass_time(2.0))
    began_s = loop.time()
    numbers: list[int] = []

    with pytest.raises(AskTimeout, match="its turn is cancelled"):
        await read_through(ref.stream(Tell(parts=100), timeout_s=5.0), numbers)

    assert numbers == [0, 1]
    assert loop.time() - began_s == pytest.approx(5.0, abs=0.01)
    await settle()
    assert behavior.cancelled == 1
    assert await ref.ask(Echo(text="next")) == "next"


@virtual
async def test_a_process_that_stops_ends_its_streams() -> None:
    process = Process()
    ref, _ = await teller(process, lambda n: for_ever())

    with pytest.raises(Closed):
        await asyncio.gather(read_through(ref.stream(Tell())), process.runtime.aclose())


@virtual
async def test_an_agent_that_streams_from_itself_is_told_so() -> None:
    process = Process()

    async def stream_own(message: Message, ctx: CellContext) -> object:
        async with ctx.stream(ctx.self_ref, Tell()) as stream:
            return await read(stream)

    ref = await process.start("desk/clerk", stream_own)

    with pytest.raises(AskFailed, match="CallingSelf") as failed:
        await ref.ask(Echo())

    assert failed.value.type_name == CallingSelf.__name__


# ---- the window ----------------------------------------------------------------------------------


@virtual
async def test_a_reader_that_stops_reading_holds_up_its_own_producer_after_one_window() -> None:
    process = Process()
    ref, behavior = await teller(process)

    async with ref.stream(Tell(parts=1_000), window=SMALL) as stream:
        await settle()
        assert behavior.emitted == 4

        assert await read(stream, 2) == [0, 1]
        await settle()

        assert 4 < behavior.emitted <= 6


@virtual
async def test_bytes_are_bounded_too_and_a_part_beyond_the_whole_window_comes_alone() -> None:
    process = Process()
    most, unread = 0, 0

    async def tell(message: Message, ctx: CellContext) -> object:
        nonlocal most, unread
        for n in range(20):
            await ctx.emit(Token(n=n, text="x" * (400 if n % 5 else 5_000)))
            unread += 1
            most = max(most, unread)
        return Told(parts=20)

    ref = await process.start("desk/teller", tell)

    async with ref.stream(Tell(), window=Window(size_bytes=1_000)) as stream:
        async for token in stream:
            unread -= 1
            assert len(token.text) == (400 if token.n % 5 else 5_000)

    assert stream.reply == Told(parts=20)
    assert most <= 3


@virtual
async def test_a_reader_that_never_reads_again_keeps_its_producer_until_the_deadline_and_no_longer() -> None:
    process = Process()
    ref, behavior = await teller(process)

    async with ref.stream(Tell(parts=1_000), window=SMALL, timeout_s=5.0):
        await pass_time(4.9)
        assert (behavior.emitted, behavior.cancelled) == (4, 0)
        await pass_time(0.2)
        assert (behavior.emitted, behavior.cancelled) == (4, 1)


@virtual
async def test_parts_take_no_room_in_a_mailbox() -> None:
    process = Process()
    ref, _ = await teller(process)
    reader_got: list[int] = []

    async def handle(message: Message, ctx: CellContext) -> object:
        async with ctx.stream(ref, Tell(parts=500)) as stream:
            async for token in stream:
                assert len(process.cell("desk/reader").mailbox) == 0
                reader_got.append(token.n)
        return "read"

    reader = await process.start("desk/reader", handle)

    assert await reader.ask(Echo()) == "read"
    assert reader_got == list(range(500))


@virtual
async def test_parts_of_one_round_of_the_loop_go_together() -> None:
    process = Process()
    ref, _ = await teller(process, lambda n: asyncio.sleep(0) if n == 10 else _nothing())
    batches: list[int] = []

    async with ref.stream(Tell(parts=15)) as stream:
        arrived = stream.arrived

        def counted(batch: Batch) -> None:
            batches.append(len(batch.parts))
            arrived(batch)

        stream.arrived = counted
        await read(stream)

    assert batches == [10, 5]


async def _nothing() -> None:
    pass


# ---- a consumer that goes --------------------------------------------------------------------------


@virtual
async def test_leaving_the_block_early_cancels_the_handler_and_the_agent_serves_the_next_message() -> None:
    process = Process()
    ref, behavior = await teller(process, lambda n: pass_time(1.0))

    async with ref.stream(Tell(parts=100)) as stream:
        assert await read(stream, 2) == [0, 1]

    assert await ref.ask(Echo(text="next")) == "next"
    assert (behavior.emitted, behavior.cancelled) == (2, 1)
    assert process.dead == {}


@virtual
async def test_a_handler_that_waits_for_room_is_cancelled_as_well() -> None:
    process = Process()
    ref, behavior = await teller(process)

    async with ref.stream(Tell(parts=100), window=SMALL):
        await settle()

    assert await ref.ask(Echo(text="next")) == "next"
    assert (behavior.emitted, behavior.cancelled) == (4, 1)


@virtual
async def test_a_stream_that_is_left_before_its_turn_never_runs() -> None:
    process = Process()
    ref, behavior = await teller(process, lambda n: pass_time(1.0))
    await ref.tell(Tell(parts=1))

    async with ref.stream(Tell(parts=7)):
        await settle()

    assert await ref.ask(Echo(text="next")) == "next"
    assert behavior.emitted == 1


@virtual
async def test_the_end_of_a_reading_agent_cancels_the_handler_too() -> None:
    process = Process()
    ref, behavior = await teller(process, lambda n: pass_time(1.0))

    async def keep_open(message: Message, ctx: CellContext) -> object:
        stream = await ctx.stream(ref, Tell(parts=100), timeout_s=600.0).__aenter__()
        await read(stream, 2)
        return "left open"

    reader = await process.start("desk/reader", keep_open)
    await reader.ask(Echo())

    process.cell("desk/reader").kill()

    assert await ref.ask(Echo(text="next"), timeout_s=5.0) == "next"
    assert behavior.cancelled == 1


@virtual
async def test_a_reader_that_is_cancelled_in_its_loop_cancels_the_handler() -> None:
    process = Process()
    ref, behavior = await teller(process, lambda n: pass_time(1.0))

    async def reading() -> None:
        async with ref.stream(Tell(parts=100)) as stream:
            await read(stream)

    task = asyncio.create_task(reading())
    await pass_time(2.5)
    task.cancel()
    await asyncio.wait([task])

    assert await ref.ask(Echo(text="next"), timeout_s=5.0) == "next"
    assert (behavior.emitted, behavior.cancelled) == (2, 1)


@virtual
async def test_a_handler_that_goes_on_emitting_when_it_was_cancelled_harms_nobody() -> None:
    process, refused = Process(), 0

    async def stubborn(message: Message, ctx: CellContext) -> object:
        nonlocal refused
        if isinstance(message, Echo):
            return message.text
        for n in range(20):
            try:
                await ctx.emit(Token(n=n))
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                refused += 1
        return Told(parts=20)

    ref = await process.start("desk/stubborn", stubborn)

    async with ref.stream(Tell()) as stream:
        await read(stream, 2)

    async with asyncio.timeout(5.0):
        assert await ref.ask(Echo(text="next")) == "next"
    assert refused > 10
    assert process.dead == {"late_reply": 1}


@virtual
async def test_timeouts_of_later_turns_work_after_one_that_was_cancelled() -> None:
    process = Process()

    async def handle(message: Message, ctx: CellContext) -> object:
        if isinstance(message, Tell):
            await ctx.emit(Token(n=0))
            return await for_ever()
        try:
            async with asyncio.timeout(1.0):
                await for_ever()
        except TimeoutError:
            return "timed out"
        return ""

    ref = await process.start("desk/clerk", handle)
    async with ref.stream(Tell()) as stream:
        await read(stream, 1)

    assert await ref.ask(Echo()) == "timed out"


# ---- wrong use -------------------------------------------------------------------------------------


@virtual
async def test_a_part_of_another_type_is_named_and_ends_the_agent_asked_or_streamed() -> None:
    process = Process()

    async def wrong(message: Message, ctx: CellContext) -> object:
        await ctx.emit(Note(n=1))
        return Told(parts=1)

    ref = await process.start("desk/wrong", wrong, survives_exit=False)
    with pytest.raises(AskFailed, match="a part of Tell must be Token, not Note"):
        await read_through(ref.stream(Tell()))

    ref = await process.start("desk/wrong", wrong)
    with pytest.raises(AskFailed, match="a part of Tell must be Token, not Note"):
        await ref.ask(Tell())


@virtual
async def test_a_part_that_is_too_large_is_named() -> None:
    process = Process()

    async def large(message: Message, ctx: CellContext) -> object:
        await ctx.emit(Token(n=0, text="x" * (MAX_PART_BYTES + 1)))
        return Told(parts=1)

    ref = await process.start("desk/large", large)

    with pytest.raises(AskFailed, match="of more than 1,048,576 bytes, which no part may have"):
        await read_through(ref.stream(Tell()))


@virtual
async def test_emitting_where_nothing_is_streamed_says_what_to_do() -> None:
    process = Process()

    async def emit(message: Message, ctx: CellContext) -> object:
        await ctx.emit(Token(n=0))
        return ""

    ref = await process.start("desk/clerk", emit)

    with pytest.raises(AskFailed, match=r"only a StreamRequest is answered in parts") as failed:
        await ref.ask(Echo())
    assert failed.value.type_name == Misuse.__name__


@virtual
async def test_emitting_behind_the_end_of_a_turn_says_so() -> None:
    process, late = Process(), list[asyncio.Task[None]]()

    async def tell(message: Message, ctx: CellContext) -> object:
        async def emit() -> None:
            await pass_time(1.0)
            await ctx.emit(Token(n=0))

        late.append(asyncio.create_task(emit()))
        return Told(parts=0)

    ref = await process.start("desk/teller", tell)
    await read_through(ref.stream(Tell()))

    with pytest.raises(Misuse, match="desk/teller emits behind the end of its turn of Tell; wait in the handler for"):
        await late[0]


@virtual
@pytest.mark.parametrize("timeout_s", [None, "5", float("nan")])
async def test_what_is_no_time_to_wait_is_named_and_nothing_is_sent(timeout_s: Any) -> None:
    ref, behavior = await teller(Process())

    with pytest.raises(Misuse, match=f"timeout_s={timeout_s!r} is no time; give seconds"):
        ref.stream(Tell(), timeout_s=timeout_s)
    with pytest.raises(Misuse, match=f"timeout_s={timeout_s!r} is no time; give seconds"):
        await ref.ask(Tell(), timeout_s=timeout_s)
    await settle()

    assert behavior.emitted == 0


@virtual
async def test_setting_a_message_aside_behind_a_part_is_refused() -> None:
    process = Process()

    async def set_aside(message: Message, ctx: CellContext) -> object:
        await ctx.emit(Token(n=0))
        return ctx.stash()

    ref = await process.start("desk/clerk", set_aside)

    with pytest.raises(AskFailed, match=r"would get those parts twice"):
        await read_through(ref.stream(Tell()))


@virtual
async def test_a_request_without_parts_can_not_be_streamed() -> None:
    ref, _ = await teller(Process())

    with pytest.raises(Misuse, match=r"class Echo\(StreamRequest\[Part, Reply\]\), or use ask"):
        ref.stream(Echo())


@virtual
async def test_a_stream_that_was_not_opened_or_is_read_twice_says_so() -> None:
    ref, _ = await teller(Process(), lambda n: for_ever())
    stream = ref.stream(Tell())

    with pytest.raises(Misuse, match="async with"):
        await read(stream)
    with pytest.raises(Misuse, match="async with"):
        _ = stream.reply

    async with stream:
        with pytest.raises(Misuse, match="has not ended"):
            _ = stream.reply
        reading = asyncio.create_task(read(stream))
        await settle()
        with pytest.raises(Misuse, match="two tasks"):
            await read(stream)
        reading.cancel()
    with pytest.raises(Misuse, match="opened before"):
        await stream.__aenter__()


@pytest.mark.parametrize("given", [{"parts": 0}, {"size_bytes": 0}, {"parts": 2**20}, {"size_bytes": 2**40}])
def test_a_window_outside_of_its_limits_is_refused(given: dict[str, int]) -> None:
    with pytest.raises(Misuse, match="give 1 to"):
        Window(**given)


@pytest.mark.filterwarnings("ignore:Field name")
def test_a_stream_request_without_parts_or_with_a_field_of_that_name_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="rename it"):

        class _Named(StreamRequest[Token, Told]):
            part: int  # type: ignore[assignment] # that is what is wrong with it

    class Bare(StreamRequest):  # type: ignore[type-arg] # that is what is wrong with it
        pass

    with pytest.raises(InvalidMessage, match=r"class Bare\(StreamRequest\[Part, Reply\]\)"):
        Bare.part()


@virtual
async def test_a_request_that_leaves_its_parts_open_is_refused_before_it_is_sent() -> None:
    class Open(StreamRequest):  # type: ignore[type-arg] # that is what is wrong with it
        pass

    process = Process()
    ref, behavior = await teller(process)

    with pytest.raises(InvalidMessage, match="does not name its parts"):
        ref.stream(Open())
    assert behavior.emitted == 0


def test_parts_and_reply_may_be_named_by_what_is_defined_later() -> None:
    class Later(StreamRequest["Token", "Told"]):
        pass

    assert Later.part().accepts(Token(n=1))
    assert Later.reply().accepts(Told(parts=1))


@virtual
async def test_several_tasks_of_a_turn_may_emit() -> None:
    process = Process()

    async def tell(message: Message, ctx: CellContext) -> object:
        async with asyncio.TaskGroup() as group:
            for n in range(30):
                group.create_task(ctx.emit(Token(n=n)))
        return Told(parts=30)

    ref = await process.start("desk/teller", Scripted(tell))

    async with ref.stream(Tell(), window=SMALL) as stream:
        assert sorted(await read(stream)) == list(range(30))
