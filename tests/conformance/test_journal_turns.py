"""The ends of turns: one outcome for each message, changed state only with it, once; over every journal."""

from __future__ import annotations

import pytest

from regrow.runtime.address import ActorId
from regrow.runtime.journal_answers import StepVerdict, TurnVerdict
from regrow.runtime.journal_entries import (
    CancelTimer,
    Commit,
    JournalLimits,
    Outcome,
    Outgoing,
    Park,
    SetTimer,
    StepKey,
    StepState,
    Writes,
)
from regrow.runtime.journal_errors import InvalidEntry, JournalRestored, SchemaNewer
from regrow.runtime.journal_fit import check_schema
from tests.conformance.journals import CLERK, HERE, Stand

MAIL = StepKey(name="mail", occurrence=0, digest="d1")


@pytest.fixture
def limits() -> JournalLimits:
    return JournalLimits(state_bytes=1_000, result_bytes=100, step_bytes=50, blob_bytes=50, outbox=2, timers=2, steps=2)


async def test_a_commit_acknowledges_its_input_and_writes_the_new_state(stand: Stand) -> None:
    holder = await stand.hold()
    first, second = await holder.receive(), await holder.receive()

    ended = await holder.commit(first, writes=Writes(state=b"\x00one", schema=3))

    assert (ended.verdict, ended.version) == (TurnVerdict.DONE, 1)
    assert [message.command for message in ended.following] == [second]
    row = await stand.journal.read(CLERK)
    assert (row.state, row.schema, row.version) == (b"\x00one", 3, 1)


async def test_a_commit_without_a_state_keeps_the_one_there_is(stand: Stand) -> None:
    holder = await stand.hold()
    await holder.commit(await holder.receive(), writes=Writes(state=b"kept", schema=2))

    await holder.commit(await holder.receive())

    row = await stand.journal.read(CLERK)
    assert (row.state, row.schema, row.version) == (b"kept", 2, 2)


async def test_a_commit_that_is_repeated_changes_nothing_and_answers_the_same(stand: Stand) -> None:
    holder = await stand.hold()
    sent = Outgoing(target=ActorId("desk/mail"), command=await stand.command(), body=b"m")
    command = await holder.receive()
    commit = Commit(
        hand=holder.hand(command),
        outcome=Outcome.COMMITTED,
        result=b"r",
        writes=Writes(state=b"s", outgoing=(sent,)),
    )

    answers = [await stand.journal.commit(commit) for _ in range(3)]

    assert answers == [answers[0]] * 3
    assert answers[0].verdict is TurnVerdict.DONE
    assert len(await stand.journal.outbox(HERE)) == 1
    assert (await stand.journal.read(CLERK)).version == 1


async def test_a_repeated_commit_answers_the_same_after_others_and_after_a_takeover(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    commit = Commit(hand=holder.hand(command), outcome=Outcome.COMMITTED, result=b"r", writes=Writes(state=b"s"))
    first = await stand.journal.commit(commit)
    holder.version = first.version
    await holder.commit(await holder.receive(), writes=Writes(state=b"later"))
    await stand.hold(host=holder.host, previous=holder.owner)

    again = await stand.journal.commit(commit)

    assert again == first
    assert (await stand.journal.read(CLERK)).state == b"later"


async def test_a_commit_of_an_earlier_incarnation_is_stale(stand: Stand) -> None:
    first = await stand.hold()
    command = await first.receive()
    second = await stand.hold(host=first.host, previous=first.owner)

    stale = await first.commit(command, writes=Writes(state=b"stale"))

    assert stale.verdict is TurnVerdict.STALE_EPOCH
    assert (await stand.journal.read(CLERK)).state is None
    assert await second.pending() == [command]


async def test_who_has_not_read_the_newest_version_can_not_write(stand: Stand) -> None:
    holder = await stand.hold()
    first, second = await holder.receive(), await holder.receive()
    await holder.commit(first)
    holder.version = 0

    conflict = await holder.commit(second)

    assert (conflict.verdict, conflict.version) == (TurnVerdict.VERSION_CONFLICT, 1)


async def test_a_command_with_an_outcome_is_not_committed_again(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    await holder.commit(command, result=b"first")

    second = await holder.commit(command, result=b"second")

    assert second.verdict is TurnVerdict.DUPLICATE
    assert second.stored is not None
    assert second.stored.result == b"first"


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.EXPIRED])
async def test_a_message_that_was_refused_or_expired_changes_no_state(stand: Stand, outcome: Outcome) -> None:
    holder = await stand.hold()
    command = await holder.receive()

    ended = await holder.commit(command, outcome=outcome, result=b"why")

    assert (ended.verdict, ended.version) == (TurnVerdict.DONE, 0)
    with pytest.raises(InvalidEntry, match=outcome):
        Commit(hand=holder.hand(command), outcome=outcome, result=b"", writes=Writes(state=b"s"))


async def test_only_a_message_in_the_mailbox_can_be_committed(stand: Stand) -> None:
    holder = await stand.hold()

    assert (await holder.commit(await stand.command())).verdict is TurnVerdict.NOT_PENDING


@pytest.mark.parametrize(
    ("result", "writes"), [(b"x" * 101, Writes()), (b"", Writes(state=b"x" * 1_001))], ids=["result", "state"]
)
async def test_what_is_too_large_is_not_committed(stand: Stand, result: bytes, writes: Writes) -> None:
    holder = await stand.hold()
    command = await holder.receive()

    assert (await holder.commit(command, result=result, writes=writes)).verdict is TurnVerdict.TOO_LARGE
    assert await holder.pending() == [command]


async def test_messages_leave_with_the_commit_in_their_order(stand: Stand) -> None:
    holder = await stand.hold()
    sent = tuple(
        [Outgoing(target=ActorId("desk/mail"), command=await stand.command(), body=body) for body in (b"1", b"2")]
    )

    await holder.commit(await holder.receive(), writes=Writes(outgoing=sent))

    rows = await stand.journal.outbox(HERE)
    assert [(row.agent, row.target, row.command, row.body) for row in rows] == [
        (CLERK, message.target, message.command, message.body) for message in sent
    ]
    assert [row.body for row in await stand.journal.outbox(HERE, after=rows[0].id)] == [b"2"]


async def test_relayed_messages_leave_the_outbox_once_and_make_room(stand: Stand) -> None:
    holder = await stand.hold()
    sent = tuple([Outgoing(target=CLERK, command=await stand.command(), body=b"x") for _ in range(2)])
    await holder.commit(await holder.receive(), writes=Writes(outgoing=sent))
    command = await holder.receive()

    full = await holder.commit(command, writes=Writes(outgoing=sent[:1]))
    ids = [row.id for row in await stand.journal.outbox(HERE)]
    gone = [await stand.journal.relayed(CLERK, ids) for _ in range(2)]

    assert full.verdict is TurnVerdict.OUTBOX_FULL
    assert gone == [2, 0]
    assert (await holder.commit(command, writes=Writes(outgoing=sent))).verdict is TurnVerdict.DONE


async def test_timers_are_bounded_and_setting_one_anew_needs_no_room(stand: Stand) -> None:
    holder = await stand.hold()
    far = await stand.now_ms() + 10**9
    two = tuple(SetTimer(timer=name, due_ms=far) for name in "ab")
    await holder.commit(await holder.receive(), writes=Writes(timers=two))
    command = await holder.receive()

    third = await holder.commit(command, writes=Writes(timers=(SetTimer(timer="c", due_ms=far),)))
    swapped = await holder.commit(
        command, writes=Writes(timers=(CancelTimer(timer="a"), SetTimer(timer="c", due_ms=far - 1), two[1]))
    )

    assert third.verdict is TurnVerdict.TIMERS_FULL
    assert swapped.verdict is TurnVerdict.DONE
    assert (await stand.journal.due(HERE)).next_ms == far - 1


async def test_taking_back_a_timer_that_is_not_set_is_harmless(stand: Stand) -> None:
    holder = await stand.hold()

    ended = await holder.commit(await holder.receive(), writes=Writes(timers=(CancelTimer(timer="none"),)))

    assert ended.verdict is TurnVerdict.DONE


async def test_a_step_is_recorded_as_started_and_then_with_its_result(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()

    started = await stand.journal.start_step(holder.hand(command), MAIL)
    done = await stand.journal.finish_step(holder.hand(command), MAIL, b"sent")

    assert (started.verdict, started.record and started.record.state) == (StepVerdict.RECORDED, StepState.STARTED)
    assert (done.verdict, done.record and done.record.state) == (StepVerdict.RECORDED, StepState.DONE)
    (record,) = await stand.journal.steps(CLERK, command)
    assert (record.key, record.epoch, record.result) == (MAIL, holder.epoch, b"sent")


async def test_the_next_incarnation_finds_the_records_of_the_message(stand: Stand) -> None:
    first = await stand.hold()
    command = await first.receive()
    await stand.journal.start_step(first.hand(command), MAIL)
    second = await stand.hold(host=first.host, previous=first.owner)

    known = await stand.journal.start_step(second.hand(command), MAIL)
    stale = await stand.journal.finish_step(first.hand(command), MAIL, b"late")

    assert (known.verdict, known.record and known.record.epoch) == (StepVerdict.KNOWN, first.epoch)
    assert stale.verdict is StepVerdict.STALE_EPOCH


async def test_steps_that_are_repeated_change_nothing_and_answer_the_same(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    start, finish = holder.hand(command), holder.hand(command)

    started = [await stand.journal.start_step(start, MAIL) for _ in range(2)]
    finished = [await stand.journal.finish_step(finish, MAIL, b"sent") for _ in range(2)]
    other = await stand.journal.finish_step(holder.hand(command), MAIL, b"other")

    assert started[0] == started[1]
    assert finished[0] == finished[1]
    assert (other.verdict, other.record and other.record.result) == (StepVerdict.KNOWN, b"sent")


async def test_a_step_with_other_arguments_diverges(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    await stand.journal.start_step(holder.hand(command), MAIL)
    other = StepKey(name=MAIL.name, occurrence=MAIL.occurrence, digest="d2")

    answers = (
        await stand.journal.start_step(holder.hand(command), other),
        await stand.journal.finish_step(holder.hand(command), other, b""),
    )

    assert [(answer.verdict, answer.record and answer.record.key) for answer in answers] == [
        (StepVerdict.DIVERGED, MAIL)
    ] * 2


async def test_steps_are_bounded_in_number_and_size_and_belong_to_a_message_in_hand(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    keys = [StepKey(name="mail", occurrence=number, digest="d") for number in range(3)]

    verdicts = [(await stand.journal.start_step(holder.hand(command), key)).verdict for key in keys]

    assert verdicts == [StepVerdict.RECORDED, StepVerdict.RECORDED, StepVerdict.FULL]
    assert (await stand.journal.finish_step(holder.hand(command), keys[0], b"x" * 51)).verdict is StepVerdict.TOO_LARGE
    assert (await stand.journal.finish_step(holder.hand(command), keys[2], b"")).verdict is StepVerdict.NOT_STARTED
    absent = await stand.journal.start_step(holder.hand(await stand.command()), MAIL)
    assert absent.verdict is StepVerdict.NOT_PENDING


async def test_the_records_of_a_message_go_with_its_outcome(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    await stand.journal.start_step(holder.hand(command), MAIL)

    await holder.commit(command)

    assert await stand.journal.steps(CLERK, command) == ()


async def test_a_park_that_is_repeated_changes_nothing_and_answers_the_same(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    park = Park(hand=holder.hand(command), wait=MAIL, begun=b"b", deadline_ms=None, writes=Writes(state=b"s"))

    answers = [await stand.journal.park(park) for _ in range(3)]

    assert answers == [answers[0]] * 3
    assert (answers[0].verdict, answers[0].version) == (TurnVerdict.DONE, 1)
    assert len(await stand.journal.waiting(HERE)) == 1


async def test_a_store_that_has_less_than_was_read_from_it_is_refused_and_not_written_to(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    holder.version = 5  # as after the restore of an older copy

    with pytest.raises(JournalRestored, match=r"version 0 of desk/clerk, and version 5 was read.*older copy"):
        await holder.commit(command, writes=Writes(state=b"new"))

    assert (await stand.journal.read(CLERK)).state is None


async def test_a_state_of_a_newer_schema_is_refused_by_an_older_host(stand: Stand) -> None:
    holder = await stand.hold()
    await holder.commit(await holder.receive(), writes=Writes(state=b"new", schema=3))
    row = await stand.journal.read(CLERK)

    check_schema(CLERK, row, known=3)
    with pytest.raises(
        SchemaNewer, match=r"desk/clerk has schema 3, and this host knows up to 2; run the newer"
    ) as told:
        check_schema(CLERK, row, known=2)

    assert (told.value.schema, told.value.known) == (3, 2)
