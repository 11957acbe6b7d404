"""Messages of one trace: where it begins, which turns have spans, and what becomes of one that is sent again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from regrow.runtime import telemetry
from regrow.runtime.errors import AskFailed, Refused
from regrow.runtime.message import Message
from regrow.runtime.sampling import Sampling
from regrow.runtime.testing import pass_time, run_virtual
from tests.runtime.recorded import Recorded, Traced, attributes, id_of, is_below, linked, recording, trace_of
from tests.runtime.scripted import Boom, Echo, Note, Process

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    with recording(monkeypatch) as recorded:
        yield recorded


async def front(message: Message, ctx: CellContext) -> str:
    await ctx.tell("desk/scribe", Note(n=1))
    with ctx.span("think"):
        return await ctx.ask("desk/back", Echo())


def test_an_ask_from_outside_begins_a_trace_in_which_all_that_it_causes_stands(recorded: Recorded) -> None:
    async def run() -> None:
        process = Process()
        for name, behavior in (("front", Traced(front)), ("back", Traced()), ("scribe", Traced())):
            await process.start(f"desk/{name}", behavior)
        await process.ref("desk/front").ask(Echo())
        await pass_time(0.01)

    run_virtual(run())

    root, turn = recorded.one("send desk/front"), recorded.one("invoke_agent desk/front")
    assert root.parent is None
    assert is_below(turn, root)
    assert is_below(recorded.one("process desk/scribe"), turn)
    assert is_below(recorded.one("think"), turn)
    assert is_below(recorded.one("invoke_agent desk/back"), recorded.one("think"))
    assert {trace_of(span) for span in recorded.spans} == {trace_of(root)}
    assert attributes(turn) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "desk/front",
        "regrow.agent.id": "desk/front",
        "regrow.agent.incarnation": 1,
        "messaging.system": "regrow",
        "messaging.destination.name": "desk/front",
        "regrow.message.type": "Echo",
    }


def test_a_tell_from_outside_begins_a_trace(recorded: Recorded) -> None:
    async def run() -> None:
        process = Process()
        await process.start("desk/scribe", Traced())
        await process.ref("desk/scribe").tell(Note())
        process.ref("desk/scribe").tell_nowait(Note())
        await pass_time(0.01)

    run_virtual(run())

    roots, turns = recorded.named("send desk/scribe"), recorded.named("process desk/scribe")
    assert [is_below(turn, root) for turn, root in zip(turns, roots, strict=True)] == [True, True]


def test_a_trace_that_is_not_recorded_has_no_span_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Sampling(0.1)  # one, and no more within ten seconds

    async def run() -> None:
        process = Process()
        for name, behavior in (("front", Traced(front)), ("back", Traced()), ("scribe", Traced())):
            await process.start(f"desk/{name}", behavior)
        for _ in range(3):
            await process.ref("desk/front").ask(Echo())

    with recording(monkeypatch, sampling=sampling) as recorded:
        run_virtual(run())

    assert len({trace_of(span) for span in recorded.spans}) == 1
    assert len(recorded.named("think")) == 1
    assert sampling.traces_left_out == 2


def test_turns_beyond_the_limit_of_a_second_have_no_span_and_their_trace_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sampling = Sampling(1_000, spans_at_once=1)

    async def run() -> None:
        process = Process()
        for name, behavior in (("front", Traced(front)), ("back", Traced()), ("scribe", Traced())):
            await process.start(f"desk/{name}", behavior)
        await process.ref("desk/front").ask(Echo())
        await pass_time(0.01)

    with recording(monkeypatch, sampling=sampling) as recorded:
        run_virtual(run())

    assert sorted(span.name for span in recorded.spans) == ["invoke_agent desk/front", "send desk/front", "think"]
    assert sampling.spans_left_out == 2


def test_what_is_no_agent_has_no_span_of_its_turns_and_hands_the_trace_on(recorded: Recorded) -> None:
    async def run() -> None:
        process = Process()
        await process.start("desk/service", front)
        await process.start("desk/back", Traced())
        await process.start("desk/scribe", Traced())
        await process.ref("desk/service").ask(Echo())

    run_virtual(run())

    assert not recorded.named("invoke_agent desk/service")
    assert is_below(recorded.one("invoke_agent desk/back"), recorded.one("think"))
    assert is_below(recorded.one("think"), recorded.one("send desk/service"))


def test_a_tick_of_an_agent_that_nobody_asked_begins_a_trace(recorded: Recorded) -> None:
    async def started(ctx: CellContext) -> None:
        ctx.after(5, Note())

    async def run() -> None:
        process = Process()
        await process.start("desk/watch", Traced(started=started))
        await pass_time(6)

    run_virtual(run())

    assert recorded.one("process desk/watch").parent is None


def test_a_turn_tells_what_it_ended_with(recorded: Recorded) -> None:
    async def refuse(message: Message, ctx: CellContext) -> str:
        raise Refused("not today, with key sk-abcdefghijklmnopqrstuvwx")

    async def crash(message: Message, ctx: CellContext) -> str:
        raise Boom("broken")

    async def run() -> None:
        process = Process()
        await process.start("desk/sulk", Traced(refuse))
        await process.start("desk/bomb", Traced(crash))
        with pytest.raises(Refused):
            await process.ref("desk/sulk").ask(Echo())
        with pytest.raises(AskFailed):
            await process.ref("desk/bomb").ask(Echo())

    run_virtual(run())

    sulk, bomb = recorded.one("invoke_agent desk/sulk"), recorded.one("invoke_agent desk/bomb")
    assert (attributes(sulk)["error.type"], sulk.status.description) == (
        "Refused",
        "Refused: not today, with key [redacted]",
    )
    assert (attributes(bomb)["error.type"], bomb.status.description) == ("Boom", "Boom: broken")
    assert attributes(recorded.one("send desk/bomb"))["error.type"] == "AskFailed"


def test_an_ask_that_nobody_took_is_told_on_the_span_of_who_asked(recorded: Recorded) -> None:
    async def lost(message: Message, ctx: CellContext) -> str:
        with pytest.raises(AskFailed):
            await ctx.ask("desk/nobody", Echo())
        return ""

    async def run() -> None:
        process = Process()
        await process.start("desk/front", Traced(lost))
        await process.ref("desk/front").ask(Echo())

    run_virtual(run())

    (event,) = recorded.one("invoke_agent desk/front").events
    assert event.name == telemetry.ASK_FAILED
    assert (event.attributes or {})["regrow.agent.id"] == "desk/nobody"


def test_what_is_asked_again_under_its_command_id_stays_in_its_trace_with_the_ask_before_linked(
    recorded: Recorded,
) -> None:
    fails = [True]

    async def crash_once(message: Message, ctx: CellContext) -> str:
        if fails.pop():
            raise Boom
        return ""

    async def run() -> None:
        process = Process()
        await process.start("desk/bomb", Traced(crash_once))
        with pytest.raises(AskFailed):
            await process.ref("desk/bomb").ask(Echo(), command_id="0001")
        fails.append(False)
        process.runtime.forget(process.cell("desk/bomb").actor)
        await pass_time(1)
        await process.start("desk/bomb", Traced(crash_once))
        await process.ref("desk/bomb").ask(Echo(), command_id="0001")

    run_virtual(run())

    first, second = recorded.named("send desk/bomb")
    assert is_below(second, first)
    assert linked(second) == [id_of(first)]
    turns = recorded.named("invoke_agent desk/bomb")
    assert [is_below(turn, send) for turn, send in zip(turns, (first, second), strict=True)] == [True, True]
    assert attributes(second)["messaging.message.id"] == "0001"


def test_nothing_has_a_span_where_tracing_is_off() -> None:
    assert telemetry.spans.sampling is None

    came_with: list[str] = []

    async def look(message: Message, ctx: CellContext) -> str:
        came_with.append(ctx.origin().trace)
        return ""

    async def run() -> None:
        process = Process()
        await process.start("desk/front", Traced(look))
        await process.ref("desk/front").ask(Echo())

    run_virtual(run())

    assert came_with == [""]
