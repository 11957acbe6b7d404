"""The bound of a mailbox, what happens at it, and what outlives an incarnation (SEMANTICS 4 and 5)."""

from __future__ import annotations

import asyncio

import pytest

from regrow import AskFailed, AskTimeout, MailboxFull
from tests.conformance.placements.caller import OfferNow
from tests.conformance.placements.player import (
    After,
    AskFor,
    Burst,
    Crash,
    Gate,
    Hold,
    Life,
    Note,
    Offer,
    Refuse,
    Watch,
)
from tests.conformance.placements.stage import Stage
from tests.conformance.placements.troupe import BOUND
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

SOON_S = 0.2
WITHIN_S = 10.0
SENT = 6
"""Twice the bound."""

CROWD = 500
IN_A_ROW = 64
"""After 32 messages others come between; a little more, since these may have more than one to handle."""


@pytest.mark.parametrize(
    ("policy", "kept", "reason"),
    [("drop_oldest", range(SENT - BOUND, SENT), "dropped_oldest"), ("drop_newest", range(BOUND), "dropped_newest")],
)
async def test_a_full_mailbox_drops_the_oldest_or_the_newest_and_counts_it(
    stage: Stage, policy: str, kept: range, reason: str
) -> None:
    (ref,) = await stage.fresh(policy)
    before = await stage.dead_letters(reason)
    gate, waiting = await stage.held(ref)

    for number in range(SENT):
        await ref.tell(Note(text=str(number)))
    gate.touch()

    assert await waiting == "open"
    seen = await stage.until_seen(policy, str(kept[-1]))
    assert seen == ["at the gate", "through", *map(str, kept)]
    await until(lambda: _counted(stage, reason, before + SENT - BOUND), "what it dropped is counted")


@pytest.mark.parametrize("policy", ["block", "reject"])
async def test_a_full_mailbox_refuses_and_its_sender_is_told(stage: Stage, policy: str) -> None:
    ann, ref = await stage.fresh("ann", policy)
    gate, waiting = await stage.held(ref)
    for number in range(BOUND):
        await ref.tell(Note(text=str(number)))

    with pytest.raises(MailboxFull):
        await ref.tell(Note(text="too much"), send_timeout_s=SOON_S)
    assert await ann.ask(Offer(to=ref, text="too much", within_s=SOON_S)) == "MailboxFull"
    gate.touch()

    assert await waiting == "open"
    await ref.ask(Life())
    assert stage.record.seen(policy) == ["at the gate", "through", *map(str, range(BOUND))]


@pytest.mark.parametrize("policy", ["block", "reject"])
async def test_who_tells_a_full_mailbox_without_waiting_is_told_at_once_in_its_process_only(
    stage: Stage, policy: str
) -> None:
    """Of the room in another process nobody knows without waiting: the message goes, and waits for room or is lost."""
    cal, ref = await stage.fresh("cal", policy)
    lost = await stage.dead_letters("mailbox_full")
    gate, waiting = await stage.held(ref)
    for number in range(BOUND):
        await ref.tell(Note(text=str(number)))

    told = await cal.ask(OfferNow(to=ref, text="too much"))

    kept = [*map(str, range(BOUND))]
    if not stage.placement.apart:
        assert told == "MailboxFull"
    elif policy == "reject":
        assert told == "sent"
        await until(lambda: _counted(stage, "mailbox_full", lost + 1), "it is counted")
    else:
        assert told == "sent"
        kept.append("too much")
    gate.touch()
    assert await waiting == "open"
    await stage.until_seen(policy, kept[-1])
    await ref.ask(Life())
    assert stage.record.seen(policy) == ["at the gate", "through", *kept]


async def test_the_deadline_of_an_ask_counts_while_it_waits_for_room(stage: Stage) -> None:
    ann, ref = await stage.fresh("ann", "block")
    gate, waiting = await stage.held(ref)
    for number in range(BOUND):
        await ref.tell(Note(text=str(number)))

    with pytest.raises(AskTimeout):
        await ref.ask(Life(), timeout_s=SOON_S)
    with pytest.raises(AskTimeout):
        await ann.ask(AskFor(to=ref, request=Refuse()), timeout_s=SOON_S)
    assert await ann.ask(Life(), timeout_s=WITHIN_S) > 0, "it waits no longer"
    gate.touch()

    assert await waiting == "open"
    await stage.until_seen("block", str(BOUND - 1))


async def test_the_bound_counts_all_senders_together(stage: Stage) -> None:
    ann, amy, ben, ref = await stage.fresh("ann", "amy", "ben", "reject")
    gate, waiting = await stage.held(ref)

    offers = [Offer(to=ref, text="of an agent", within_s=WITHIN_S if number < BOUND else SOON_S) for number in range(5)]
    told = [await one.ask(offer) for one, offer in zip((ann, amy, ben, ann, ben), offers, strict=True)]
    with pytest.raises(MailboxFull):
        await ref.tell(Note(text="of the driver"), send_timeout_s=SOON_S)
    gate.touch()

    assert told == ["taken"] * BOUND + ["MailboxFull"] * (5 - BOUND)
    assert await waiting == "open"
    await ref.ask(Life())
    assert stage.record.seen("reject") == ["at the gate", "through", *["of an agent"] * BOUND]


async def test_downs_and_ticks_take_no_room_from_messages(stage: Stage) -> None:
    ann, bob, ben, ref = await stage.fresh("ann", "bob", "ben", "block")
    for one in (bob, ben):
        await ref.ask(Watch(of=one))
    await ref.tell(After(delay_s=SOON_S, text="tick"))
    gate, waiting = await stage.held(ref)
    for one in (bob, ben):
        await one.tell(Crash())
        await one.ask(Life())
    await ann.tell(After(delay_s=2 * SOON_S, text="the tick is due by now"))
    await stage.until_seen("ann", "the tick is due by now")
    for number in range(BOUND):
        assert await ann.ask(Offer(to=ref, text=str(number), within_s=WITHIN_S)) == "taken"
    assert await ann.ask(Offer(to=ref, text="too much", within_s=SOON_S)) == "MailboxFull"
    gate.touch()

    assert await waiting == "open"
    await stage.until_seen("block", "tick")
    await stage.until_seen("block", "down ben crashed")
    assert sorted(stage.record.seen("block")) == sorted(
        ["at the gate", "through", *map(str, range(BOUND)), "down bob crashed", "down ben crashed", "tick"]
    )


async def test_a_sender_that_waits_gets_room_within_its_time_and_keeps_its_place(stage: Stage) -> None:
    (ref,) = await stage.fresh("block")
    gate, waiting = await stage.held(ref)
    tells = [asyncio.create_task(ref.tell(Note(text=str(n)), send_timeout_s=60.0)) for n in range(SENT)]
    await asyncio.wait(tells[:BOUND])
    assert not any(tell.done() for tell in tells[BOUND:])

    gate.touch()

    await asyncio.gather(*tells)
    assert await waiting == "open"
    assert await stage.until_seen("block", str(SENT - 1)) == ["at the gate", "through", *map(str, range(SENT))]


async def test_a_full_receiver_does_not_hold_up_the_others(stage: Stage) -> None:
    ann, full, other = await stage.fresh("ann", "block", "ben")
    gate, waiting = await stage.held(full)
    tells = [asyncio.create_task(full.tell(Note(text=str(n)), send_timeout_s=60.0)) for n in range(SENT)]
    await asyncio.wait(tells[:BOUND])

    assert await ann.ask(Offer(to=other, text="past it", within_s=60.0)) == "taken"
    await other.tell(Note(text="past it, too"), send_timeout_s=60.0)

    assert sorted(await stage.until_seen("ben", "past it, too")) == ["past it", "past it, too"]
    gate.touch()
    assert await waiting == "open"
    await asyncio.gather(*tells)


async def test_the_mailbox_outlives_a_crash_in_order_and_what_was_handled_is_lost(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")
    before = await stage.dead_letters("crashed")
    gate, waiting = await stage.held(bob)
    await bob.tell(Crash())
    for number in range(5):
        await bob.tell(Note(text=str(number)))

    gate.touch()

    assert await waiting == "open"
    seen = await stage.until_seen("bob", "4")
    assert seen == ["at the gate", "through", "started", "0", "1", "2", "3", "4"]
    await until(lambda: _counted(stage, "crashed", before + 1), "the one that was handled is counted")


async def test_a_stop_overtakes_what_is_queued_and_the_next_life_has_it(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")
    holding = asyncio.create_task(bob.ask(Hold(), timeout_s=600.0))
    await stage.until_seen("bob", "holds")
    for number in range(5):
        await bob.tell(Note(text=str(number)))

    await bob.stop(grace_s=60.0)

    with pytest.raises(AskFailed) as failed:
        await holding
    assert failed.value.reason.kind == "shutdown"
    assert await stage.until_seen("bob", "4") == ["holds", "stopping", "started", "0", "1", "2", "3", "4"]


async def test_a_dead_letter_is_counted_for_a_message_to_nobody(stage: Stage) -> None:
    (ann,) = await stage.fresh("ann")
    before = await stage.dead_letters("no_such_agent")

    await stage.ref("nobody").tell(Note(text="lost"))
    assert await ann.ask(Offer(to=stage.ref("nobody"), text="lost", within_s=60.0)) == "taken"

    async def counted() -> bool:
        return await stage.dead_letters("no_such_agent") == before + 2

    await until(counted, "both are counted")


async def test_the_latest_dead_letters_of_all_processes_can_be_looked_at(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")
    nobody = stage.ref("nobody in particular")
    await nobody.tell(Note(text="from outside"))
    await bob.ask(Offer(to=nobody, text="from an agent", within_s=60.0))

    async def senders() -> set[str]:
        letters = (await stage.running.dead_letters()).latest
        return {letter.sender for letter in letters if letter.receiver == nobody.id and "Note" in letter.message}

    async def both() -> bool:
        return len(await senders()) == 2

    await until(both, "both are among the latest")


async def test_an_agent_with_many_messages_lets_others_of_its_process_come_between(stage: Stage) -> None:
    busy, ben = await stage.fresh("busy", "ben")
    gate, waiting = await stage.held(busy)
    await busy.tell(Burst(to=ben, count=1))
    await asyncio.gather(*(busy.tell(Note(text=str(number))) for number in range(CROWD)))

    gate.touch()  # from here on it never waits

    assert await waiting == "open"
    await stage.until_seen("busy", str(CROWD - 1))
    seen = stage.record.story("busy", "ben")
    assert seen.index("ben 0") < seen.index(f"busy {IN_A_ROW}")


async def test_an_ask_in_the_mailbox_of_one_that_ends_for_good_fails_at_once(stage: Stage) -> None:
    (ref,) = await stage.fresh_group("types", "temporary")
    gate, waiting = await stage.held(ref)
    asking = asyncio.create_task(ref.ask(Gate(file=str(gate)), timeout_s=600.0))
    await until(lambda: _queued(stage, "types/temporary"), "the second ask waits in the mailbox")

    await ref.stop(grace_s=0)

    for ask in (waiting, asking):
        with pytest.raises(AskFailed) as failed:
            await ask
        assert failed.value.reason.kind in ("killed", "noproc")


async def _counted(stage: Stage, reason: str, number: int) -> bool:
    return await stage.dead_letters(reason) == number


async def _queued(stage: Stage, id: str) -> bool:
    nodes = [node for tree in await stage.running.tree() for _, node in tree.walk()]
    return any(node.id == f"stage/{id}" and node.mailbox for node in nodes)
