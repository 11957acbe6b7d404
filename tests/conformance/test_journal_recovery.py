"""What the owner of a partition serves and people decide: timers, waits, quarantine, over every journal."""

from __future__ import annotations

import pytest

from regrow.runtime.address import ActorId
from regrow.runtime.journal_answers import (
    AnswerVerdict,
    Assume,
    EnqueueVerdict,
    FireVerdict,
    SettleVerdict,
    StepVerdict,
    TurnVerdict,
)
from regrow.runtime.journal_entries import (
    Incoming,
    JournalLimits,
    Outcome,
    SetTimer,
    StepKey,
    StepState,
    Writes,
)
from tests.conformance.journals import CLERK, HERE, Holder, Stand, command_at

KEPT_MS = 1_000
FAR = 10**9
APPROVAL = StepKey(name="wait Approval", occurrence=0, digest="d1")
MAIL = StepKey(name="mail", occurrence=0, digest="d1")


@pytest.fixture
def limits(request: pytest.FixtureRequest) -> JournalLimits:
    kept_ms = KEPT_MS if request.node.get_closest_marker("slow") else 86_400_000
    return JournalLimits(mailbox=2, waits=1, quarantined=1, message_bytes=50, note_bytes=50, result_ttl_ms=kept_ms)


async def set_timer(stand: Stand, holder: Holder, due_ms: int, timer: str = "tea") -> None:
    command = await holder.receive()
    writes = Writes(timers=(SetTimer(timer=timer, due_ms=due_ms, schedule=b"daily"),))
    assert (await holder.commit(command, writes=writes)).verdict is TurnVerdict.DONE


async def tick(stand: Stand, holder: Holder, body: bytes = b"tick") -> Incoming:
    return Incoming(agent=CLERK, command=await stand.command(), body=body, epoch=holder.epoch)


@pytest.mark.slow
async def test_when_a_result_is_forgotten_its_id_is_too_old(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    message = Incoming(agent=CLERK, command=command, body=b"x")
    await holder.commit(command)
    (known,) = await stand.journal.enqueue([message])

    await stand.elapse(KEPT_MS)

    (forgotten,) = await stand.journal.enqueue([message])
    assert [known.verdict, forgotten.verdict] == [EnqueueVerdict.DUPLICATE, EnqueueVerdict.TOO_OLD]


@pytest.mark.slow
async def test_the_result_of_an_id_from_a_clock_that_runs_ahead_is_kept_as_much_longer(stand: Stand) -> None:
    holder = await stand.hold()
    message = Incoming(agent=CLERK, command=command_at(await stand.now_ms() + 60_000), body=b"x")
    await stand.journal.enqueue([message])
    await holder.commit(message.command)

    await stand.elapse(KEPT_MS)

    (answer,) = await stand.journal.enqueue([message])
    assert answer.verdict is EnqueueVerdict.DUPLICATE


async def test_timers_are_due_by_the_clock_of_the_store(stand: Stand) -> None:
    holder = await stand.hold()
    now_ms = await stand.now_ms()
    await set_timer(stand, holder, now_ms - 5, "past")
    await set_timer(stand, holder, now_ms + FAR, "future")

    due = await stand.journal.due(HERE)

    assert [(timer.agent, timer.timer, timer.due_ms, timer.schedule) for timer in due.timers] == [
        (CLERK, "past", now_ms - 5, b"daily")
    ]
    assert due.next_ms == now_ms + FAR


async def test_a_timer_fires_once_for_each_due_time_and_is_set_to_the_next(stand: Stand) -> None:
    holder = await stand.hold()
    due_ms = await stand.now_ms() - 5
    await set_timer(stand, holder, due_ms)
    message = await tick(stand, holder)

    fired = [
        await stand.journal.fire("tea", message, due_ms=due_ms, next_due_ms=due_ms + FAR),
        await stand.journal.fire("tea", message, due_ms=due_ms, next_due_ms=due_ms + FAR),
        await stand.journal.fire("tea", await tick(stand, holder), due_ms=due_ms),
        await stand.journal.fire("tea", await tick(stand, holder), due_ms=due_ms + FAR),
    ]

    assert fired[0] == fired[1]
    assert [answer.verdict for answer in fired[1:]] == [FireVerdict.FIRED, FireVerdict.NOT_DUE, FireVerdict.NOT_DUE]
    assert await holder.pending() == [message.command]
    assert (await stand.journal.due(HERE)).next_ms == due_ms + FAR


async def test_a_timer_without_a_next_time_ends(stand: Stand) -> None:
    holder = await stand.hold()
    due_ms = await stand.now_ms() - 5
    await set_timer(stand, holder, due_ms)

    await stand.journal.fire("tea", await tick(stand, holder), due_ms=due_ms)

    due = await stand.journal.due(HERE)
    assert (due.timers, due.next_ms) == ((), None)


async def test_a_timer_stays_due_while_the_mailbox_is_full_or_another_holds_the_agent(stand: Stand) -> None:
    first = await stand.hold()
    due_ms = await stand.now_ms() - 5
    await set_timer(stand, first, due_ms)
    holder = await stand.hold(host=first.host, previous=first.owner)
    await holder.receive()
    left = await holder.receive()

    stale = await stand.journal.fire("tea", await tick(stand, first), due_ms=due_ms)
    full = await stand.journal.fire("tea", message := await tick(stand, holder), due_ms=due_ms)
    await holder.commit(left)
    fired = await stand.journal.fire("tea", message, due_ms=due_ms)

    assert [stale.verdict, full.verdict, fired.verdict] == [
        FireVerdict.STALE_EPOCH,
        FireVerdict.FULL,
        FireVerdict.FIRED,
    ]


async def test_a_timer_of_a_deleted_agent_ends(stand: Stand) -> None:
    holder = await stand.hold()
    due_ms = await stand.now_ms() - 5
    await set_timer(stand, holder, due_ms)
    await holder.commit(await holder.receive(), writes=Writes(delete=True))

    fired = await stand.journal.fire("tea", await tick(stand, holder), due_ms=due_ms, next_due_ms=due_ms + 1)

    assert fired.verdict is FireVerdict.DELETED
    assert (await stand.journal.due(HERE)).timers == ()


async def test_a_message_that_waits_is_out_of_the_mailbox_and_others_are_served(stand: Stand) -> None:
    holder = await stand.hold()
    waits, other = await holder.receive(b"waits"), await holder.receive()

    ended = await holder.park(waits, APPROVAL)

    assert [message.command for message in ended.following] == [other]
    (waiting,) = await stand.journal.waiting(HERE)
    assert (waiting.agent, waiting.command, waiting.wait, waiting.deadline_ms) == (CLERK, waits, APPROVAL, None)
    (known,) = await stand.journal.enqueue([Incoming(agent=CLERK, command=waits, body=b"x")])
    assert known.verdict is EnqueueVerdict.PENDING


async def test_an_answer_brings_the_message_back_with_the_state_it_began_with(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive(b"waits")
    await stand.journal.start_step(holder.hand(command), MAIL)
    await holder.park(command, APPROVAL)

    answer = await stand.journal.answer(CLERK, command, APPROVAL, body=b"yes", operation=stand.operation())

    assert answer.verdict is AnswerVerdict.RESUMED
    (taken,) = await holder.taken()
    assert (taken.seq, taken.command, taken.body, taken.begun) == (answer.seq, command, b"waits", b"began with this")
    records = {record.key: (record.state, record.result) for record in await stand.journal.steps(CLERK, command)}
    assert records == {MAIL: (StepState.STARTED, b""), APPROVAL: (StepState.DONE, b"yes")}
    assert (await holder.commit(command)).verdict is TurnVerdict.DONE
    assert await stand.journal.waiting(HERE) == ()


async def test_the_first_answer_stays_and_its_repetition_is_told_the_same(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    await holder.park(command, APPROVAL)
    operation = stand.operation()

    first = await stand.journal.answer(CLERK, command, APPROVAL, body=b"yes", operation=operation)
    other = await stand.journal.answer(CLERK, command, APPROVAL, body=b"no", operation=stand.operation())
    await holder.commit(command)
    again = await stand.journal.answer(CLERK, command, APPROVAL, body=b"yes", operation=operation)

    assert first == again
    assert other.verdict is AnswerVerdict.NO_WAIT


async def test_a_late_answer_to_one_wait_does_not_end_the_next(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    await holder.park(command, APPROVAL)
    await stand.journal.answer(CLERK, command, APPROVAL, body=b"yes", operation=stand.operation())
    second = StepKey(name=APPROVAL.name, occurrence=1, digest="d1")
    await holder.park(command, second)

    late = await stand.journal.answer(CLERK, command, APPROVAL, body=b"no", operation=stand.operation())

    assert late.verdict is AnswerVerdict.NO_WAIT
    assert [waiting.wait for waiting in await stand.journal.waiting(HERE)] == [second]


async def test_a_wait_times_out_only_after_its_deadline(stand: Stand) -> None:
    holder = await stand.hold()
    early, late = await holder.receive(), await holder.receive()
    await holder.park(early, APPROVAL, deadline_ms=await stand.now_ms() + FAR)

    too_early = await stand.journal.answer(CLERK, early, APPROVAL, body=None, operation=stand.operation())
    await stand.journal.answer(CLERK, early, APPROVAL, body=b"yes", operation=stand.operation())
    await holder.park(late, APPROVAL, deadline_ms=await stand.now_ms() - 1)
    due = await stand.journal.due(HERE)
    over = await stand.journal.answer(CLERK, late, APPROVAL, body=None, operation=stand.operation())

    assert [too_early.verdict, over.verdict] == [AnswerVerdict.TOO_EARLY, AnswerVerdict.RESUMED]
    assert [waiting.command for waiting in due.waits] == [late]
    (record,) = await stand.journal.steps(CLERK, late)
    assert record.state is StepState.TIMED_OUT


async def test_waits_are_bounded_and_their_answers_too(stand: Stand) -> None:
    holder = await stand.hold()
    first, second = await holder.receive(), await holder.receive()
    await holder.park(first, APPROVAL)

    assert (await holder.park(second, APPROVAL)).verdict is TurnVerdict.WAITS_FULL
    large = await stand.journal.answer(CLERK, first, APPROVAL, body=b"x" * 51, operation=stand.operation())
    assert large.verdict is AnswerVerdict.TOO_LARGE


async def test_quarantine_sets_a_message_aside_with_its_history(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive(b"poison")
    await stand.journal.count_attempt(CLERK, command, epoch=holder.epoch, note=b"ValueError")
    await stand.journal.start_step(holder.hand(command), MAIL)
    hand = holder.hand(command)

    ended = [await stand.journal.quarantine(hand, b"three crashes") for _ in range(2)]

    assert ended[0] == ended[1]
    assert (ended[0].verdict, ended[0].version, await holder.pending()) == (TurnVerdict.DONE, 0, [])
    (listed,) = await stand.journal.quarantined(HERE)
    shown = await stand.journal.show_quarantined(CLERK, command)
    assert shown is not None
    assert (listed.agent, listed.command, listed.at_ms) == (CLERK, command, shown.at_ms)
    assert (shown.body, shown.reason, shown.attempts) == (b"poison", b"three crashes", 1)
    assert [(note.epoch, note.text) for note in shown.notes] == [(holder.epoch, b"ValueError")]
    assert [record.key for record in shown.steps] == [MAIL]


async def test_a_duplicate_of_a_message_in_quarantine_learns_that_it_is_there(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    await stand.journal.quarantine(holder.hand(command), b"why")

    (answer,) = await stand.journal.enqueue([Incoming(agent=CLERK, command=command, body=b"x")])

    assert answer.verdict is EnqueueVerdict.DUPLICATE
    assert answer.stored is not None
    assert (answer.stored.outcome, answer.stored.result) == (Outcome.QUARANTINED, b"why")


@pytest.mark.parametrize(
    ("assume", "states"),
    [(None, [StepState.STARTED]), (Assume.DONE, [StepState.ASSUMED]), (Assume.UNDONE, [])],
    ids=["open", "done", "undone"],
)
async def test_requeue_settles_open_steps_and_counts_attempts_anew(
    stand: Stand, assume: Assume | None, states: list[StepState]
) -> None:
    holder = await stand.hold()
    command = await holder.receive(b"poison")
    await stand.journal.count_attempt(CLERK, command, epoch=holder.epoch, note=b"")
    await stand.journal.start_step(holder.hand(command), MAIL)
    await stand.journal.quarantine(holder.hand(command), b"why")
    operation = stand.operation()

    settled = [
        await stand.journal.requeue(CLERK, command, operation=operation, assume=assume),
        await stand.journal.requeue(CLERK, command, operation=operation, assume=assume),
        await stand.journal.requeue(CLERK, command, operation=stand.operation()),
    ]

    assert settled == [SettleVerdict.SETTLED, SettleVerdict.SETTLED, SettleVerdict.NOT_QUARANTINED]
    (taken,) = await holder.taken()
    assert (taken.command, taken.body, taken.attempts) == (command, b"poison", 0)
    assert taken.failed_in == holder.epoch
    assert [record.state for record in await stand.journal.steps(CLERK, command)] == states
    assert await stand.journal.quarantined(HERE) == ()


async def test_a_step_that_was_assumed_to_be_done_may_still_be_finished_with_a_result(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive(b"poison")
    await stand.journal.start_step(holder.hand(command), MAIL)
    await stand.journal.quarantine(holder.hand(command), b"why")
    await stand.journal.requeue(CLERK, command, operation=stand.operation(), assume=Assume.DONE)

    begun = await stand.journal.start_step(holder.hand(command), MAIL)
    finished = await stand.journal.finish_step(holder.hand(command), MAIL, b"result")

    assert begun.verdict is StepVerdict.KNOWN
    assert finished.verdict is StepVerdict.RECORDED
    [record] = await stand.journal.steps(CLERK, command)
    assert (record.state, record.result) == (StepState.DONE, b"result")


async def test_a_message_keeps_its_deadline_while_it_waits_and_has_none_when_it_is_requeued(stand: Stand) -> None:
    holder = await stand.hold()
    waits, requeued = await stand.command(), await stand.command()
    expires_ms = await stand.now_ms() + 60_000
    for command in (waits, requeued):
        await stand.journal.enqueue([Incoming(agent=CLERK, command=command, body=b"x", expires_ms=expires_ms)])
    await stand.journal.quarantine(holder.hand(requeued), b"why")
    await holder.park(waits, APPROVAL)

    await stand.journal.requeue(CLERK, requeued, operation=stand.operation())
    await stand.journal.answer(CLERK, waits, APPROVAL, body=b"yes", operation=stand.operation())

    deadlines = {message.command: message.expires_ms for message in await holder.taken()}
    assert deadlines == {requeued: None, waits: expires_ms}


async def test_a_message_that_was_dropped_is_gone_and_its_id_known(stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    await stand.journal.quarantine(holder.hand(command), b"why")
    operation = stand.operation()

    dropped = [await stand.journal.drop(CLERK, command, operation=operation) for _ in range(2)]

    assert dropped == [SettleVerdict.SETTLED] * 2
    assert await stand.journal.show_quarantined(CLERK, command) is None
    (answer,) = await stand.journal.enqueue([Incoming(agent=CLERK, command=command, body=b"x")])
    assert answer.stored is not None
    assert answer.stored.outcome is Outcome.QUARANTINED


async def test_quarantine_is_bounded(stand: Stand) -> None:
    holder = await stand.hold()
    first, second = await holder.receive(), await holder.receive()
    await stand.journal.quarantine(holder.hand(first), b"")

    full = await stand.journal.quarantine(holder.hand(second), b"")

    assert full.verdict is TurnVerdict.QUARANTINE_FULL
    assert await holder.pending() == [second]


async def test_nothing_is_quarantined_by_an_earlier_incarnation(stand: Stand) -> None:
    first = await stand.hold()
    command = await first.receive()
    await stand.hold(host=first.host, previous=first.owner)

    assert (await stand.journal.quarantine(first.hand(command), b"")).verdict is TurnVerdict.STALE_EPOCH
    assert await stand.journal.show_quarantined(ActorId("desk/nobody"), command) is None
