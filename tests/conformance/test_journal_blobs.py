"""Large results of steps: kept by digest beside their records, found there, and gone with them; over every journal."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime.blobs import blob_of, digest_of
from regrow.runtime.journal_answers import Assume, SettleVerdict, StepAnswer, StepVerdict, TurnVerdict
from regrow.runtime.journal_entries import CommandId, JournalLimits, Outcome, StepKey, StepState
from tests.conformance.journals import CLERK, Holder, Stand

FETCH = StepKey(name="fetch", occurrence=0, digest="d1")
AGAIN = StepKey(name="fetch", occurrence=1, digest="d2")
SMALL, LARGE, LARGER = b"s" * 50, b"\x00l" * 30, b"m" * 80


@pytest.fixture
def limits() -> JournalLimits:
    return JournalLimits(step_bytes=50, blob_bytes=80, blobs_bytes=150, steps=2)


async def finished(
    stand: Stand, holder: Holder, command: CommandId, result: bytes, step: StepKey = FETCH
) -> StepAnswer:
    """A step of that result, begun and finished."""
    await stand.journal.start_step(holder.hand(command), step)
    return await stand.journal.finish_step(holder.hand(command), step, result)


async def test_a_large_result_is_kept_by_digest_and_its_record_has_digest_and_size_alone(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()

    small = await finished(stand, holder, command, SMALL)
    large = await finished(stand, holder, command, LARGE, AGAIN)

    assert small.record is not None and (small.record.result, small.record.blob) == (SMALL, None)
    assert large.verdict is StepVerdict.RECORDED
    assert large.record is not None
    assert (large.record.state, large.record.result, large.record.blob) == (StepState.DONE, b"", blob_of(LARGE))
    assert await stand.journal.steps(CLERK, command) == (small.record, large.record)
    assert await stand.journal.blob(CLERK, command, digest_of(LARGE)) == LARGE


async def test_a_large_result_that_is_recorded_again_answers_the_same_and_another_one_does_not_take_its_place(
    stand: Stand,
) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    await stand.journal.start_step(holder.hand(command), FETCH)
    finish = holder.hand(command)

    answers = [await stand.journal.finish_step(finish, FETCH, LARGE) for _ in range(3)]
    other = await stand.journal.finish_step(holder.hand(command), FETCH, LARGER)

    assert answers == [answers[0]] * 3
    assert (other.verdict, other.record) == (StepVerdict.KNOWN, answers[0].record)
    assert await stand.journal.blob(CLERK, command, digest_of(LARGER)) is None


async def test_large_results_are_bounded_one_by_one_and_together_and_an_equal_one_takes_no_room(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()

    too_large = await finished(stand, holder, command, b"x" * 81)
    await stand.journal.finish_step(holder.hand(command), FETCH, LARGER)
    full = await finished(stand, holder, command, b"n" * 80, AGAIN)
    equal = await stand.journal.finish_step(holder.hand(command), AGAIN, LARGER)

    assert [too_large.verdict, full.verdict] == [StepVerdict.TOO_LARGE, StepVerdict.BLOBS_FULL]
    assert (equal.verdict, equal.record and equal.record.blob) == (StepVerdict.RECORDED, blob_of(LARGER))
    assert await stand.journal.blob(CLERK, command, digest_of(b"n" * 80)) is None


async def test_large_results_do_not_count_as_records(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()

    await finished(stand, holder, command, LARGE)
    second = await finished(stand, holder, command, LARGE, AGAIN)
    third = await stand.journal.start_step(holder.hand(command), StepKey(name="c", occurrence=0, digest="d"))

    assert [second.verdict, third.verdict] == [StepVerdict.RECORDED, StepVerdict.FULL]


async def test_the_next_incarnation_finds_a_large_result_and_an_earlier_one_can_not_leave_one(stand: Stand) -> None:
    first = await stand.hold()
    command = await first.receive()
    await finished(stand, first, command, LARGE)
    await stand.journal.start_step(first.hand(command), AGAIN)
    await stand.hold(host=first.host, previous=first.owner)

    late = await stand.journal.finish_step(first.hand(command), AGAIN, LARGER)

    assert late.verdict is StepVerdict.STALE_EPOCH
    assert await stand.journal.blob(CLERK, command, digest_of(LARGE)) == LARGE
    assert await stand.journal.blob(CLERK, command, digest_of(LARGER)) is None


@pytest.mark.parametrize("outcome", [Outcome.COMMITTED, Outcome.REFUSED, Outcome.EXPIRED])
async def test_a_large_result_goes_with_the_outcome_of_its_message_and_comes_back_by_no_late_call(
    stand: Stand, outcome: Outcome
) -> None:
    holder = await stand.hold()
    command, neighbour = await holder.receive(), await holder.receive()
    await finished(stand, holder, command, LARGE)
    await finished(stand, holder, neighbour, LARGE)

    await holder.commit(command, outcome=outcome)
    late = await finished(stand, holder, command, LARGE)

    assert late.verdict is StepVerdict.NOT_PENDING
    assert await stand.journal.blob(CLERK, command, digest_of(LARGE)) is None
    assert await stand.journal.blob(CLERK, neighbour, digest_of(LARGE)) == LARGE


async def test_a_large_result_stays_while_its_message_waits_and_while_it_is_in_quarantine(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    await finished(stand, holder, command, LARGE)
    wait = StepKey(name="~wait", occurrence=0, digest="-")

    await holder.park(command, wait)
    while_waiting = await stand.journal.blob(CLERK, command, digest_of(LARGE))
    await stand.journal.answer(CLERK, command, wait, body=b"yes", operation=stand.operation())
    ended = await stand.journal.quarantine(holder.hand(command), b"why")
    shown = await stand.journal.show_quarantined(CLERK, command)
    while_set_aside = await stand.journal.blob(CLERK, command, digest_of(LARGE))
    settled = await stand.journal.requeue(CLERK, command, operation=stand.operation(), assume=Assume.UNDONE)

    assert (while_waiting, while_set_aside) == (LARGE, LARGE)
    assert ended.verdict is TurnVerdict.DONE
    assert shown is not None and blob_of(LARGE) in [record.blob for record in shown.steps]
    assert settled is SettleVerdict.SETTLED
    assert await stand.journal.blob(CLERK, command, digest_of(LARGE)) == LARGE


async def test_a_large_result_goes_when_a_person_drops_its_message(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    await finished(stand, holder, command, LARGE)
    await stand.journal.quarantine(holder.hand(command), b"why")

    await stand.journal.drop(CLERK, command, operation=stand.operation())

    assert await stand.journal.blob(CLERK, command, digest_of(LARGE)) is None


@pytest.mark.redis
async def test_after_the_commit_no_key_of_records_or_large_results_is_left(
    embedded: str, limits: JournalLimits
) -> None:
    journal = RedisJournal.from_url(embedded, app="leaves-nothing", limits=limits)
    stand = Stand(journal, elapse=_nothing_passes)
    holder = await stand.hold()
    command = await holder.receive()
    await finished(stand, holder, command, LARGE)
    async with Redis.from_url(embedded) as client:
        before = await _keys(client)
        await holder.commit(command)
        after = await _keys(client)
    await journal.aclose()

    assert before == {"mail", "mark", "row", "steps"}
    assert after == {"mark", "past", "row"}


async def _nothing_passes(_ms: int) -> None:
    pass


async def _keys(client: Redis) -> set[str]:
    """The kinds of keys that there are of the agent."""
    return {key.decode().split(":")[3] async for key in client.scan_iter("regrow:leaves-nothing:*:desk/clerk*")}
