"""One deadline for many asks, and for each what came of it (SEMANTICS 4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime import ask_all as module
from regrow.runtime.ask_all import AskOutcome, NoReply, Replied, ask_all, paired
from regrow.runtime.errors import AskFailed, AskTimeout, CallingSelf, InvalidMessage, Misuse, NotAllowed, Refused
from regrow.runtime.message import Message
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Boom, Echo, Note, Process, Scripted, for_ever, settle
from tests.simulation.wires import World

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext


async def boom(message: Message, ctx: CellContext) -> str:
    raise Boom


async def refuse(message: Message, ctx: CellContext) -> str:
    raise Refused("no")


async def collected(process: Process, targets: list[Any], request: Any = None, timeout_s: float = 5.0) -> Any:
    runtime = process.runtime
    return await ask_all(runtime.asking, runtime.ref, paired(targets, request), timeout_s)


def told(outcomes: list[AskOutcome[str]]) -> list[str]:
    """Replies as they are, errors by their class."""
    return [each.reply if isinstance(each, Replied) else type(each.error).__name__ for each in outcomes]


@virtual
async def test_outcomes_stand_in_the_order_of_the_targets_and_no_error_ends_the_others() -> None:
    process = Process()
    for name, handle in (("slow", for_ever), ("bad", boom), ("no", refuse)):
        await process.start(f"desk/{name}", handle)
    await process.start("desk/good")

    outcomes = await collected(
        process, ["desk/slow", "desk/good", "desk/bad", "desk/nobody", "desk/no", Note], Echo(text="hello"), 2.0
    )

    assert told(outcomes) == ["AskTimeout", "hello", "AskFailed", "AskFailed", "Refused", "Misuse"]
    assert [each.agent for each in outcomes[:2]] == ["desk/slow", "desk/good"]
    assert len(process.runtime.asks) == 0


@virtual
async def test_each_target_may_have_a_request_of_its_own() -> None:
    process = Process()
    await process.start("desk/a")
    await process.start("desk/b")

    outcomes = await collected(process, [("desk/b", Echo(text="two")), ("desk/a", Echo(text="one"))])

    assert told(outcomes) == ["two", "one"]
    assert [each.result() for each in outcomes] == ["two", "one"]


@virtual
async def test_one_deadline_counts_for_all() -> None:
    process, loop = Process(), asyncio.get_running_loop()
    for name in "abc":
        await process.start(f"desk/{name}", for_ever)
    began_s = loop.time()

    outcomes = await collected(process, ["desk/a", "desk/b", "desk/c"], Echo(), 2.0)

    assert loop.time() - began_s == pytest.approx(2.0, abs=0.01)
    assert told(outcomes) == ["AskTimeout"] * 3
    with pytest.raises(AskTimeout, match="desk/a did not answer Echo within 2 s"):
        outcomes[0].result()


@virtual
async def test_a_collection_that_is_cancelled_cancels_all_its_asks() -> None:
    process = Process()
    await process.start("desk/busy", for_ever)
    await process.start("desk/idle", for_ever)
    asyncio.ensure_future(process.ref("desk/busy").ask(Echo(), timeout_s=1.0)).add_done_callback(
        lambda done: done.exception()
    )
    await settle()
    asking = asyncio.ensure_future(collected(process, ["desk/busy", "desk/idle", "desk/nobody"], Echo()))
    await settle()

    asking.cancel()
    await asyncio.wait([asking])

    assert asking.cancelled()
    assert len(process.runtime.asks) == 1
    assert len(process.cell("desk/busy").mailbox) == 0
    await pass_time(2.0)


@virtual
async def test_what_could_not_be_sent_is_an_outcome_too() -> None:
    process = Process()
    await process.start("desk/a")

    outcomes = await collected(process, [("desk/a", Note()), ("desk/a", Echo(text="fine"))])

    assert isinstance(outcomes[0], NoReply) and isinstance(outcomes[0].error, InvalidMessage)
    assert told(outcomes[1:]) == ["fine"]


@virtual
async def test_the_outcome_of_what_could_not_be_sent_names_the_agent_by_its_id_however_it_was_given() -> None:
    process, seen = Process(), list[str]()
    clerk = await process.start("desk/clerk")

    async def front(message: Message, ctx: CellContext) -> str:
        pairs: list[Any] = [("clerk", Note()), (clerk, Note()), (Note, Echo())]
        seen.extend(each.agent for each in await ctx.ask_all(pairs))
        return ""

    await process.start("desk/front", front)
    await process.ref("desk/front").ask(Echo())

    assert seen == ["desk/clerk", "desk/clerk", str(Note)]


@virtual
async def test_no_target_gives_no_outcome() -> None:
    process = Process()

    assert await collected(process, [], Echo()) == []


@virtual
async def test_more_targets_than_the_limit_and_what_is_no_pair_are_the_callers_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_TARGETS", 2)

    with pytest.raises(Misuse, match="ask_all got 3 targets, and 2 may be asked at once"):
        paired(["a", "b", "c"], Echo())
    with pytest.raises(Misuse, match="ask_all got 'a'; give targets and one request, or pairs"):
        paired(["a"], None)


@virtual
async def test_a_turn_asks_many_within_its_own_deadline_and_as_itself() -> None:
    process, seen = Process(), list[Any]()

    async def front(message: Message, ctx: CellContext) -> str:
        outcomes = await ctx.ask_all(["a", "b", ctx.self_ref], Echo(text="x"), timeout_s=60.0)
        seen.extend(told(outcomes))
        return "done"

    async def note_deadline(message: Message, ctx: CellContext) -> str:
        assert ctx.deadline is not None and ctx.sender is not None
        seen.append((ctx.deadline <= 3.0, ctx.sender.id))
        return "ok"

    await process.start("desk/front", front)
    await process.start("desk/a", note_deadline)
    await process.start("desk/b", refuse)

    assert await process.ref("desk/front").ask(Echo(), timeout_s=3.0) == "done"
    assert seen == [(True, "desk/front"), "ok", "Refused", CallingSelf.__name__]


@virtual
async def test_agents_of_several_processes_are_asked_together() -> None:
    world = World()
    here, there, third = world.node("here"), world.node("there"), world.node("third")
    await world.start(there, "desk/a", Scripted)
    await world.start(third, "desk/b", lambda: Scripted(for_ever))
    await world.start(here, "desk/c", Scripted)
    runtime = here.runtime
    asking = asyncio.ensure_future(
        ask_all(runtime.asking, runtime.ref, paired(["desk/a", "desk/b", "desk/c", "desk/d"], Echo(text="x")), 5.0)
    )
    await pass_time(1.0)

    world.kill("third")

    outcomes = await asking
    assert told(outcomes) == ["x", "AskFailed", "x", "AskFailed"]
    await world.close()


@virtual
async def test_a_capability_counts_for_each_target() -> None:
    process, seen = Process(), list[str]()

    async def front(message: Message, ctx: CellContext) -> str:
        seen.extend(told(await ctx.ask_all(["desk/a", "other/b"], Echo(text="x"))))
        return ""

    await process.start("desk/front", front)
    await process.start("desk/a")
    await process.start("other/b")
    process.runtime.origin = type(process.runtime.origin)(principal="guest", capability=("desk",))

    await process.ref("desk/front").ask(Echo())

    assert seen == ["x", NotAllowed.__name__]


@virtual
async def test_closing_ends_a_collection_with_an_outcome_for_each() -> None:
    process = Process()
    await process.start("desk/a", for_ever)
    asking = asyncio.ensure_future(collected(process, ["desk/a", "desk/a"], Echo()))
    await settle()

    await process.runtime.aclose()

    assert all(isinstance(each, NoReply) and not isinstance(each.error, AskFailed) for each in await asking)
