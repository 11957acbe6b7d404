"""The history of an agent: how its turns ended, for people to see and for nobody else; over every journal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from regrow.runtime.address import ActorId
from regrow.runtime.journal_answers import Assume, Ending, PastTurn
from regrow.runtime.journal_entries import CommandId, Commit, Hand, JournalLimits, Outcome, Park, StepKey
from regrow.runtime.journal_errors import JournalRestored
from tests.conformance.journals import CLERK, Holder, Stand

KEPT_MS = 1_000
MAIL = StepKey(name="mail", occurrence=0, digest="d1")
APPROVAL = StepKey(name="wait Approval", occurrence=0, digest="d1")


@pytest.fixture
def limits(request: pytest.FixtureRequest) -> JournalLimits:
    kept_ms = KEPT_MS if request.node.get_closest_marker("slow") else 604_800_000
    return JournalLimits(history_turns=3, history_bytes=10, history_ttl_ms=kept_ms)


async def told(stand: Stand, agent: ActorId = CLERK) -> list[tuple[CommandId, Ending]]:
    return [(turn.command, turn.ending) for turn in await stand.journal.history(agent)]


def about(holder: Holder, command: CommandId, text: bytes, *, begun_ms: int | None = None) -> Hand:
    return replace(holder.hand(command), about=text, begun_ms=begun_ms)


async def only_turn(stand: Stand) -> PastTurn:
    (turn,) = await stand.journal.history(CLERK)
    return turn


async def test_history_tells_how_the_turns_ended_newest_last(stand: Stand) -> None:
    holder = await stand.hold()
    first, second, third = [await holder.receive() for _ in range(3)]
    await holder.commit(first)
    await holder.commit(second, outcome=Outcome.REFUSED)
    await holder.commit(third, outcome=Outcome.EXPIRED)

    assert await told(stand) == [(first, Ending.COMMITTED), (second, Ending.REFUSED), (third, Ending.EXPIRED)]
    assert [turn.command for turn in await stand.journal.history(CLERK, limit=2)] == [second, third]
    assert await told(stand, ActorId("desk/nobody")) == []


async def test_a_turn_is_told_with_what_it_was_about_and_who_ran_it_from_when_to_when(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    begun_ms = await stand.now_ms() - 5
    await stand.journal.count_attempt(CLERK, command, epoch=holder.epoch, note=b"ValueError")
    hand = about(holder, command, b"Hello", begun_ms=begun_ms)

    await stand.journal.commit(Commit(hand=hand, outcome=Outcome.COMMITTED, result=b""))

    turn = await only_turn(stand)
    assert (turn.about, turn.epoch, turn.failed, turn.begun_ms) == (b"Hello", holder.epoch, 1, begun_ms)
    assert begun_ms < turn.ended_ms <= await stand.now_ms()


async def test_no_turn_began_after_its_end_though_the_clock_of_its_host_runs_ahead(stand: Stand) -> None:
    holder = await stand.hold()
    hand = about(holder, await holder.receive(), b"", begun_ms=await stand.now_ms() + 60_000)

    await stand.journal.commit(Commit(hand=hand, outcome=Outcome.COMMITTED, result=b""))

    turn = await only_turn(stand)
    assert turn.begun_ms is not None
    assert turn.begun_ms <= turn.ended_ms <= await stand.now_ms()


async def test_an_end_that_is_sent_again_or_changed_nothing_is_in_the_history_once_or_not_at_all(stand: Stand) -> None:
    holder = await stand.hold()
    command, other = await holder.receive(), await holder.receive()
    commit = Commit(hand=holder.hand(command), outcome=Outcome.COMMITTED, result=b"")
    holder.version = (await stand.journal.commit(commit)).version

    await stand.journal.commit(commit)
    await holder.commit(command)
    holder.version += 1
    with pytest.raises(JournalRestored):
        await holder.commit(other)

    assert await told(stand) == [(command, Ending.COMMITTED)]


async def test_a_turn_that_waits_is_told_as_parked_and_then_by_its_own_end(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    ended = await stand.journal.park(
        Park(hand=about(holder, command, b"asks"), wait=APPROVAL, begun=b"b", deadline_ms=None)
    )
    holder.version = ended.version
    await stand.journal.answer(CLERK, command, APPROVAL, body=b"yes", operation=stand.operation())
    await holder.commit(command)

    assert await told(stand) == [(command, Ending.PARKED), (command, Ending.COMMITTED)]
    assert (await stand.journal.history(CLERK))[0].about == b"asks"


@pytest.mark.parametrize("decision", [Ending.REQUEUED, Ending.DROPPED])
async def test_what_people_decide_is_told_once_with_what_the_message_was(stand: Stand, decision: Ending) -> None:
    holder = await stand.hold()
    command, operation = await holder.receive(), stand.operation()
    await stand.journal.quarantine(about(holder, command, b"poison"), b"why")
    for _ in range(2):
        if decision is Ending.REQUEUED:
            await stand.journal.requeue(CLERK, command, operation=operation, assume=Assume.DONE, by="user:ada")
        else:
            await stand.journal.drop(CLERK, command, operation=operation, by="user:ada")

    aside, decided = await stand.journal.history(CLERK)

    assert [aside.ending, decided.ending] == [Ending.QUARANTINED, decision]
    assert (aside.epoch, decided.epoch, decided.begun_ms) == (holder.epoch, None, None)
    assert aside.about == decided.about == b"poison"
    assert (aside.by, decided.by) == ("", "user:ada")


async def test_history_keeps_the_newest_turns_and_no_more_than_its_limit(stand: Stand) -> None:
    holder = await stand.hold()
    commands = [await holder.receive() for _ in range(5)]
    for command in commands:
        await holder.commit(command)

    kept = [turn.command for turn in await stand.journal.history(CLERK, limit=100)]

    assert kept == commands[-3:]
    assert (await stand.journal.read(CLERK)).version == 5


@pytest.mark.slow
async def test_history_forgets_what_is_older_than_its_limit(stand: Stand) -> None:
    holder = await stand.hold()
    await holder.commit(await holder.receive())
    await stand.elapse(KEPT_MS)
    command = await holder.receive()

    forgotten = await told(stand)
    await holder.commit(command)

    assert forgotten == []
    assert await told(stand) == [(command, Ending.COMMITTED)]


async def test_what_a_turn_was_about_is_left_out_where_it_passes_its_limit(stand: Stand) -> None:
    holder = await stand.hold()
    hand = about(holder, await holder.receive(), b"x" * 11)

    await stand.journal.commit(Commit(hand=hand, outcome=Outcome.COMMITTED, result=b""))

    assert (await only_turn(stand)).about == b""


async def test_a_step_counts_the_incarnations_that_have_begun_it(stand: Stand) -> None:
    first = await stand.hold()
    command = await first.receive()
    await stand.journal.start_step(first.hand(command), MAIL)
    second = await stand.hold(host=first.host, previous=first.owner)
    begun = [await stand.journal.start_step(second.hand(command), MAIL) for _ in range(2)]
    done = await stand.journal.finish_step(second.hand(command), MAIL, b"sent")

    again = await stand.journal.start_step(second.hand(command), MAIL)

    assert [each.record and each.record.attempts for each in (*begun, done, again)] == [2] * 4
    assert [record.attempts for record in await stand.journal.steps(CLERK, command)] == [2]
