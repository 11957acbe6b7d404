"""Durable mailboxes: what is accepted, what is refused and why, and in what order it comes; over every journal."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from regrow.runtime.address import ActorId
from regrow.runtime.journal_answers import EnqueueVerdict, TurnVerdict
from regrow.runtime.journal_entries import (
    CommandId,
    Epoch,
    Incoming,
    JournalLimits,
    Outcome,
    Partition,
    Writes,
    partition_of,
)
from regrow.runtime.journal_errors import InvalidEntry
from tests.conformance.journals import CLERK, FAR_MS, HERE, Stand, command_at

KEPT_MS = 60_000


@pytest.fixture
def limits() -> JournalLimits:
    return JournalLimits(
        message_bytes=100,
        take_bytes=120,
        mailbox=4,
        batch_messages=4,
        batch_bytes=200,
        result_ttl_ms=KEPT_MS,
        ahead_ms=1_000,
        notes=2,
        note_bytes=8,
    )


async def verdicts(stand: Stand, *messages: Incoming, capacity: int | None = None) -> list[EnqueueVerdict]:
    return [answer.verdict for answer in await stand.journal.enqueue(messages, capacity=capacity)]


async def test_messages_come_in_the_order_in_which_they_were_enqueued(stand: Stand) -> None:
    holder = await stand.hold()
    commands = [await stand.command() for _ in range(4)]

    await stand.journal.enqueue([Incoming(agent=CLERK, command=command, body=b"x") for command in commands])

    taken = await holder.taken()
    assert [message.command for message in taken] == commands
    assert [message.seq for message in taken] == [1, 2, 3, 4]


async def test_anybody_is_told_how_many_messages_a_mailbox_has(stand: Stand) -> None:
    assert await stand.journal.depth(CLERK) == 0
    holder = await stand.hold()
    commands = [await stand.command() for _ in range(3)]
    await stand.journal.enqueue([Incoming(agent=CLERK, command=command, body=b"x") for command in commands])
    assert await stand.journal.depth(CLERK) == 3

    await holder.commit(commands[0])

    assert await stand.journal.depth(CLERK) == 2


async def test_a_message_comes_as_it_was_sent(stand: Stand) -> None:
    holder = await stand.hold()
    command = await stand.command()
    expires_ms = await stand.now_ms() + FAR_MS

    await stand.journal.enqueue([Incoming(agent=CLERK, command=command, body=b"\x00\xff\xc3", expires_ms=expires_ms)])

    (taken,) = await holder.taken()
    assert (taken.body, taken.expires_ms, taken.attempts, taken.begun) == (b"\x00\xff\xc3", expires_ms, 0, None)


async def test_what_was_taken_stays_until_its_outcome_is_recorded(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()

    before = [await holder.pending() for _ in range(2)]
    await holder.commit(command)

    assert before == [[command], [command]]
    assert await holder.pending() == []


async def test_take_goes_on_beyond_a_place_and_keeps_to_its_limits(stand: Stand) -> None:
    holder = await stand.hold()
    for _ in range(4):
        await holder.receive(b"x" * 50)

    few = await stand.journal.take(CLERK, holder.epoch, limit=1)
    bounded_by_bytes = await stand.journal.take(CLERK, holder.epoch)
    later = await stand.journal.take(CLERK, holder.epoch, after=3)

    assert [message.seq for message in few.messages or ()] == [1]
    assert [message.seq for message in bounded_by_bytes.messages or ()] == [1, 2]
    assert [message.seq for message in later.messages or ()] == [4]


async def test_take_by_an_earlier_incarnation_is_stale(stand: Stand) -> None:
    first = await stand.hold()
    await stand.hold(host=first.host, previous=first.owner)

    assert (await stand.journal.take(CLERK, first.epoch)).messages is None


async def test_an_id_that_is_in_the_mailbox_is_pending(stand: Stand) -> None:
    command = await stand.command()
    message = Incoming(agent=CLERK, command=command, body=b"x")

    assert await verdicts(stand, message, message) == [EnqueueVerdict.ACCEPTED, EnqueueVerdict.PENDING]


async def test_an_id_that_has_an_outcome_gets_it_back(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    await holder.commit(command, result=b"42")

    (answer,) = await stand.journal.enqueue([Incoming(agent=CLERK, command=command, body=b"again")])

    assert answer.verdict is EnqueueVerdict.DUPLICATE
    assert answer.stored is not None
    assert (answer.stored.outcome, answer.stored.version, answer.stored.result) == (Outcome.COMMITTED, 1, b"42")
    assert await holder.pending() == []


async def test_the_same_id_may_reach_two_agents(stand: Stand) -> None:
    command = await stand.command()
    other = ActorId("desk/other")

    sent = [Incoming(agent=agent, command=command, body=b"x") for agent in (CLERK, other)]

    assert [await verdicts(stand, message) for message in sent] == [[EnqueueVerdict.ACCEPTED]] * 2


async def test_an_id_older_than_results_are_kept_is_refused_and_a_younger_one_is_not(stand: Stand) -> None:
    old, young = await stand.command(ago_ms=KEPT_MS), await stand.command(ago_ms=KEPT_MS // 2)

    sent = [Incoming(agent=CLERK, command=command, body=b"x") for command in (old, young)]

    assert await verdicts(stand, *sent) == [EnqueueVerdict.TOO_OLD, EnqueueVerdict.ACCEPTED]


async def test_an_id_from_a_clock_far_ahead_is_refused(stand: Stand) -> None:
    ahead = command_at(await stand.now_ms() + FAR_MS)

    assert await verdicts(stand, Incoming(agent=CLERK, command=ahead, body=b"x")) == [EnqueueVerdict.AHEAD]


async def test_a_full_mailbox_refuses_and_takes_again_when_there_is_room(stand: Stand) -> None:
    holder = await stand.hold()
    first, second = await holder.receive(), await holder.receive()
    third = Incoming(agent=CLERK, command=await stand.command(), body=b"x")

    full = await verdicts(stand, third, capacity=2)
    await holder.commit(first)

    assert full == [EnqueueVerdict.FULL]
    assert await verdicts(stand, third, capacity=2) == [EnqueueVerdict.ACCEPTED]
    assert await holder.pending() == [second, third.command]


async def test_no_capacity_passes_the_limit_of_the_journal(stand: Stand) -> None:
    messages = [Incoming(agent=CLERK, command=await stand.command(), body=b"x") for _ in range(4)]
    await stand.journal.enqueue([Incoming(agent=CLERK, command=await stand.command(), body=b"x")])

    assert (await verdicts(stand, *messages, capacity=1_000))[-2:] == [EnqueueVerdict.ACCEPTED, EnqueueVerdict.FULL]


async def test_a_batch_takes_what_room_there_is_in_its_order_and_what_was_there_is_told_behind_a_refusal(
    stand: Stand,
) -> None:
    holder = await stand.hold()
    known = Incoming(agent=CLERK, command=await holder.receive(), body=b"x")
    new = [Incoming(agent=CLERK, command=await stand.command(), body=b"x") for _ in range(3)]

    told = await verdicts(stand, *new, known, capacity=3)

    accepted, full = EnqueueVerdict.ACCEPTED, EnqueueVerdict.FULL
    assert told == [accepted, accepted, full, EnqueueVerdict.PENDING]
    assert await holder.pending() == [known.command, new[0].command, new[1].command]


async def test_a_batch_is_within_its_bounds_and_of_one_agent_and_claim_or_is_told_so_and_not_stored(
    stand: Stand,
) -> None:
    holder = await stand.hold()
    ids = [await stand.command() for _ in range(5)]
    small = [Incoming(agent=CLERK, command=id, body=b"x") for id in ids]
    large = [replace(message, body=b"x" * 90) for message in small[:3]]
    too_large = replace(small[0], body=b"x" * 1_000)

    for batch in (small, large):
        with pytest.raises(InvalidEntry, match=rf"{len(batch)} messages .* enqueue the first {len(batch) - 1}"):
            await stand.journal.enqueue(batch)
    for other in (replace(small[1], agent=ActorId("desk/other")), replace(small[1], epoch=holder.epoch)):
        with pytest.raises(InvalidEntry, match="one agent under one claim"):
            await stand.journal.enqueue([small[0], other])

    assert await holder.pending() == []
    assert await verdicts(stand) == []
    assert await verdicts(stand, too_large, *large[1:]) == [EnqueueVerdict.TOO_LARGE, *[EnqueueVerdict.ACCEPTED] * 2]


async def test_a_message_over_its_limit_is_refused_and_its_neighbours_are_not(stand: Stand) -> None:
    bodies = (b"x", b"x" * 101, b"x" * 100)
    messages = [Incoming(agent=CLERK, command=await stand.command(), body=body) for body in bodies]

    assert await verdicts(stand, *messages) == [
        EnqueueVerdict.ACCEPTED,
        EnqueueVerdict.TOO_LARGE,
        EnqueueVerdict.ACCEPTED,
    ]


async def test_a_host_that_lost_the_agent_enqueues_nothing(stand: Stand) -> None:
    first = await stand.hold()
    second = await stand.hold(host=first.host, previous=first.owner)
    message = Incoming(agent=CLERK, command=await stand.command(), body=b"x", epoch=first.epoch)

    assert await verdicts(stand, message) == [EnqueueVerdict.STALE_EPOCH]
    assert await second.pending() == []


async def test_a_deleted_agent_takes_no_messages_and_those_it_has_can_only_be_refused(stand: Stand) -> None:
    holder = await stand.hold()
    last, left = await holder.receive(), await holder.receive()
    await holder.commit(last, writes=Writes(delete=True))

    assert await verdicts(stand, Incoming(agent=CLERK, command=await stand.command(), body=b"x")) == [
        EnqueueVerdict.DELETED
    ]
    assert (await holder.commit(left)).verdict is TurnVerdict.DELETED
    assert (await holder.commit(left, outcome=Outcome.REFUSED)).verdict is TurnVerdict.DONE
    row = await stand.journal.read(CLERK)
    assert (row.deleted, row.state, row.version) == (True, None, 1)


async def test_attempts_are_counted_once_for_each_incarnation_with_the_last_notes(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()

    counted = [
        await stand.journal.count_attempt(
            CLERK, command, epoch=Epoch(epoch), note=f"crash {epoch} of all".encode(), holder=holder.epoch
        )
        for epoch in (1, 1, 2, 3, 2)
    ]

    assert counted == [1, 1, 2, 3, 3]
    (taken,) = await holder.taken()
    assert taken.attempts == 3
    await stand.journal.quarantine(holder.hand(command), b"poison")
    shown = await stand.journal.show_quarantined(CLERK, command)
    assert shown is not None
    assert [(note.epoch, note.text) for note in shown.notes] == [(2, b"crash 2 "), (3, b"crash 3 ")]


async def test_who_has_lost_the_agent_counts_no_attempt(stand: Stand) -> None:
    before = await stand.hold()
    command = await before.receive()
    await stand.journal.release(CLERK, before.epoch)
    holder = await stand.hold()

    assert await stand.journal.count_attempt(CLERK, command, epoch=before.epoch, note=b"") is None
    assert (await stand.journal.count_attempt(CLERK, command, epoch=before.epoch, note=b"", holder=holder.epoch)) == 1


async def test_no_attempt_is_counted_for_a_message_that_is_not_in_the_mailbox(stand: Stand) -> None:
    command = await stand.command()

    assert await stand.journal.count_attempt(CLERK, command, epoch=Epoch(1), note=b"") is None


async def test_mailboxes_with_messages_are_found_by_their_partition(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()

    assert await stand.journal.mailboxes(HERE) == (CLERK,)
    assert await stand.journal.mailboxes(HERE, after=CLERK) == ()
    await holder.commit(command)
    assert await stand.journal.mailboxes(HERE) == ()


async def test_many_calls_at_once_reach_their_own_agents(stand: Stand) -> None:
    agents = [ActorId(f"pool/{number}") for number in range(40)]
    holders = await asyncio.gather(*(stand.hold(agent) for agent in agents))
    commands = await asyncio.gather(*(holder.receive(holder.agent.encode()) for holder in holders))

    ended = await asyncio.gather(
        *(
            holder.commit(command, writes=Writes(state=holder.agent.encode()))
            for holder, command in zip(holders, commands, strict=True)
        )
    )
    rows = await asyncio.gather(*(stand.journal.read(agent) for agent in agents))

    assert {answer.verdict for answer in ended} == {TurnVerdict.DONE}
    assert [row.state for row in rows] == [agent.encode() for agent in agents]


async def test_what_no_journal_can_keep_is_told_before_it_is_sent(stand: Stand) -> None:
    with pytest.raises(InvalidEntry, match="UUIDv7"):
        Incoming(agent=CLERK, command=CommandId("12345678-1234-4234-9234-123456789abc"), body=b"")
    with pytest.raises(InvalidEntry, match="agent id"):
        await stand.journal.read(ActorId("a\0b"))
    with pytest.raises(InvalidEntry, match="partition"):
        await stand.journal.mailboxes(Partition(4_096))


def test_partitions_of_agents_never_change() -> None:
    agents = ("desk/clerk", "desk/analyst", "shop:cart/user-42", "käse/日本")

    assert [partition_of(ActorId(agent)) for agent in agents] == [1919, 586, 4023, 1833]


def test_agents_are_spread_evenly_over_all_partitions() -> None:
    counts: dict[Partition, int] = {}
    for number in range(40_960):
        partition = partition_of(ActorId(f"clerk:user-{number}"))
        counts[partition] = counts.get(partition, 0) + 1

    assert len(counts) > 4_090
    assert max(counts.values()) < 30
