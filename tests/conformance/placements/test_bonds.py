"""Monitors, links and the order of what agents tell each other (SEMANTICS 3)."""

from __future__ import annotations

import asyncio

import pytest

from regrow import AskFailed
from tests.conformance.placements.overseer import Renew
from tests.conformance.placements.player import (
    Burst,
    Crash,
    Finish,
    Life,
    Link,
    Note,
    Send,
    Trap,
    Unlink,
    Unwatch,
    Watch,
)
from tests.conformance.placements.stage import Stage
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

MANY = 300
"""More than fit into one frame of a link."""


async def test_monitors_stack(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    for _ in range(3):
        await ann.ask(Watch(of=bob))
    await ann.tell(Send(to=bob, message=Crash()))

    assert await stage.until_seen("ann", "down bob crashed", 3) == ["down bob crashed"] * 3


async def test_a_monitor_of_the_dead_says_noproc(stage: Stage) -> None:
    (ann,) = await stage.fresh("ann")

    await ann.ask(Watch(of=stage.ref("nobody")))

    assert await stage.until_seen("ann", "down nobody noproc") == ["down nobody noproc"]


async def test_a_monitor_that_is_taken_back_says_nothing(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    kept, taken_back = await ann.ask(Watch(of=bob)), await ann.ask(Watch(of=bob))
    await ann.tell(Unwatch(number=taken_back))
    await ann.tell(Send(to=bob, message=Crash()))
    await stage.until_seen("ann", "down bob crashed")
    await bob.ask(Life())

    await ann.tell(Send(to=bob, message=Burst(to=ann, count=1)))

    assert await stage.until_seen("ann", "0") == ["down bob crashed", "0"], "what bob sends is behind all Downs"
    assert kept != taken_back


async def test_a_down_that_is_queued_is_removed_when_its_monitor_is_taken_back(stage: Stage) -> None:
    ann, bob, amy = await stage.fresh("ann", "bob", "amy")
    number = await ann.ask(Watch(of=bob))
    await amy.ask(Watch(of=bob))
    await bob.ask(Life())
    gate, waiting = await stage.held(ann)
    await ann.tell(Unwatch(number=number))  # it comes before the Down, and is handled when that is in the mailbox
    await bob.tell(Burst(to=ann, count=1, crashes=True))
    await stage.until_seen("amy", "down bob crashed")
    await until(lambda: _waiting(stage, "ann", 3), "the order, the note and the Down are in the mailbox of ann")
    await bob.tell(Burst(to=ann, count=2))
    await bob.ask(Life())

    gate.touch()
    await waiting

    assert await stage.until_seen("ann", "1") == ["at the gate", "through", "0", "0", "1"]


async def test_down_comes_after_the_last_message(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    await ann.ask(Watch(of=bob))
    await bob.ask(Life())

    await bob.tell(Burst(to=ann, count=MANY, crashes=True))

    seen = await stage.until_seen("ann", "down bob crashed")
    assert seen == [*map(str, range(MANY)), "down bob crashed"]


async def test_a_trapped_exit_comes_after_the_last_message(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    await ann.tell(Trap())
    await ann.tell(Link(to=bob))
    await ann.ask(Life())
    await bob.ask(Life())

    await bob.tell(Burst(to=ann, count=MANY, crashes=True))

    assert await stage.until_seen("ann", "exit bob crashed") == [*map(str, range(MANY)), "exit bob crashed"]


async def test_messages_of_each_pair_keep_their_order(stage: Stage) -> None:
    ann, bob, ben = await stage.fresh("ann", "bob", "ben")

    await asyncio.gather(*(one.tell(Burst(to=ben, count=MANY)) for one in (ann, bob)))
    await ann.ask(Life())
    for number in range(MANY):
        await ben.tell(Note(text=f"mine {number}"))

    seen = await stage.until_seen("ben", str(MANY - 1), 2)
    await stage.until_seen("ben", f"mine {MANY - 1}")
    assert [text for text in stage.record.seen("ben") if text.startswith("mine")] == [f"mine {n}" for n in range(MANY)]
    places: dict[str, list[int]] = {}
    for place, text in enumerate(seen):
        places.setdefault(text, []).append(place)
    assert all(len(places[str(n)]) == 2 for n in range(MANY)), "each once of both"
    assert [min(places[str(n)]) for n in range(MANY)] == sorted(min(places[str(n)]) for n in range(MANY))
    assert [max(places[str(n)]) for n in range(MANY)] == sorted(max(places[str(n)]) for n in range(MANY))


async def test_a_link_takes_the_other_side_along_with_the_same_reason(stage: Stage) -> None:
    ann, bob, amy = await stage.fresh("ann", "bob", "amy")
    await ann.tell(Link(to=bob))
    await amy.ask(Watch(of=ann))
    before = await ann.ask(Life())
    await ann.tell(Send(to=bob, message=Crash()))

    await stage.until_seen("amy", "down ann crashed")
    assert await ann.ask(Life()) > before


async def test_a_link_is_symmetric(stage: Stage) -> None:
    ann, bob, amy = await stage.fresh("ann", "bob", "amy")
    await ann.tell(Link(to=bob))
    await amy.ask(Watch(of=bob))
    before = await bob.ask(Life())
    await ann.ask(Life())

    await ann.tell(Crash())

    assert await stage.until_seen("amy", "down bob crashed") == ["down bob crashed"]
    assert await bob.ask(Life()) > before


async def test_a_kill_reaches_linked_agents_as_killed_and_goes_on_through_chains(stage: Stage) -> None:
    ann, bob, amy = await stage.fresh("ann", "bob", "amy")
    await amy.tell(Trap())
    await ann.tell(Link(to=bob))
    await amy.tell(Link(to=ann))
    await amy.ask(Life())
    await ann.ask(Life())
    await ann.ask(Watch(of=bob))  # behind the link, on its way to bob
    await bob.ask(Life())

    await bob.stop(grace_s=0)

    assert await stage.until_seen("amy", "exit ann killed") == ["exit ann killed"]


async def test_who_traps_exits_lives_on(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    before = await ann.ask(Life())
    await ann.tell(Trap())
    await ann.tell(Link(to=bob))
    await ann.tell(Send(to=bob, message=Crash()))

    assert await stage.until_seen("ann", "exit bob crashed") == ["exit bob crashed"]
    assert await ann.ask(Life()) == before


async def test_a_normal_end_leaves_linked_agents_alone(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    before = await ann.ask(Life())
    await ann.tell(Link(to=bob))
    await ann.ask(Watch(of=bob))
    await ann.tell(Send(to=bob, message=Finish()))

    assert await stage.until_seen("ann", "down bob normal") == ["down bob normal"]
    assert await ann.ask(Life()) == before


async def test_a_link_made_twice_is_one_and_undone_once(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    before = await ann.ask(Life())
    await ann.tell(Link(to=bob))
    await ann.tell(Link(to=bob))
    await ann.ask(Watch(of=bob))
    await ann.tell(Unlink(to=bob))
    await ann.tell(Send(to=bob, message=Crash()))

    assert await stage.until_seen("ann", "down bob crashed") == ["down bob crashed"]
    assert await ann.ask(Life()) == before


async def test_an_exit_that_is_not_trapped_overtakes_what_is_queued(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    await ann.tell(Link(to=bob))
    await ann.ask(Life())
    gate, waiting = await stage.held(ann)
    await bob.tell(Burst(to=ann, count=3))
    await until(lambda: _waiting(stage, "ann", 3), "the notes are in the mailbox of ann")

    await bob.tell(Crash())

    with pytest.raises(AskFailed) as failed:
        await waiting
    assert failed.value.reason.kind == "crashed"
    assert await stage.until_seen("ann", "2") == ["at the gate", "started", "0", "1", "2"]
    assert not gate.exists()


async def test_a_parent_knows_of_an_end_when_its_watchers_are_told(stage: Stage) -> None:
    """Else it would take the child that has ended for one that runs, and refuse to start it again."""
    (eve,) = await stage.fresh("eve")
    (transient,) = await stage.fresh_group("types", "transient")
    before = await transient.ask(Life())
    await eve.ask(Watch(of=transient))
    await eve.tell(Renew())
    await eve.tell(Send(to=transient, message=Finish()))

    assert await stage.until_seen("eve", "renewed") == ["down types/transient normal", "renewed"]
    assert await transient.ask(Life()) > before


async def _waiting(stage: Stage, id: str, number: int) -> bool:
    return await stage.mailbox(id) == number
