"""The twin and a real Redis beside each other: the same random calls get the same answers, also repeated ones.

Two hosts take the same agents from each other, replies are lost (the caller goes on with what it knew), and any
earlier call comes again, at once or late, as a cut connection leaves it in the net.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime.address import ActorId
from regrow.runtime.blobs import digest_of
from regrow.runtime.journal import Journal
from regrow.runtime.journal_answers import (
    Assume,
    Claim,
    ClaimVerdict,
    Due,
    PastTurn,
    Quarantined,
    QuarantineRow,
    Taken,
    TurnEnded,
    TurnVerdict,
)
from regrow.runtime.journal_entries import (
    NEVER_CLAIMED,
    CancelTimer,
    CommandId,
    Commit,
    Epoch,
    Hand,
    HostEpoch,
    Incoming,
    JournalLimits,
    OperationId,
    Outcome,
    Outgoing,
    Park,
    SetTimer,
    StepKey,
    Writes,
    partition_of,
)
from regrow.runtime.journal_errors import JournalRestored
from regrow.runtime.memory_journal import MemoryJournal
from tests.conformance.journals import command_at

AGENTS = [ActorId("desk/clerk"), ActorId("desk/analyst")]
PARTITIONS_OF_AGENTS = [partition_of(agent) for agent in AGENTS]
FRESH = 4
"""Of the places that choose an id, those below give a new one."""
LIMITS = JournalLimits(
    message_bytes=20,
    state_bytes=20,
    result_bytes=20,
    step_bytes=20,
    blob_bytes=30,
    blobs_bytes=50,
    note_bytes=5,
    notes=2,
    mailbox=4,
    outbox=3,
    timers=2,
    waits=1,
    quarantined=1,
    steps=2,
    take_messages=3,
    take_bytes=30,
    page=3,
    history_bytes=4,
    history_turns=3,
)
DAY_MS = 86_400_000
STEPS = [
    StepKey(name=name, occurrence=n, digest=digest)
    for name, n, digest in (("a", 0, "x"), ("a", 0, "y"), ("b", 1, "x"), ("c", 0, "x"))
]

agents = st.sampled_from(AGENTS)
bodies = st.sampled_from([b"", b"x", b"\x00\xff", b"x" * 19, b"x" * 20, b"x" * 21])
places = st.integers(0, 7)
results = bodies | st.sampled_from([b"y" * 22, b"z" * 30, b"x" * 31])  # some of them kept apart, not all at once
offsets = st.sampled_from([0] * 8 + [1, -1])  # mostly what the store has, sometimes what a late caller knew
timers = st.lists(
    st.tuples(st.sampled_from("abc"), st.none() | st.sampled_from([0, 0, 1, 2])),
    max_size=2,
    unique_by=lambda change: change[0],
)


@dataclass(frozen=True)
class Call:
    """A call that can be made again."""

    method: str
    args: tuple[Any, ...]
    options: dict[str, Any]


class Beside(RuleBasedStateMachine):
    """Makes each call to both journals."""

    def __init__(self, url: str, *, cluster: bool = False) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.twin = MemoryJournal(now_ms=lambda: int(time.time() * 1_000), limits=LIMITS)
        app = f"beside-{uuid.uuid4().hex}"
        self.redis = RedisJournal.from_url(url, app=app, cluster=cluster, limits=LIMITS)
        self.began_ms = int(time.time() * 1_000)
        # Far from every edge of time, so that the moment between the two calls does not matter.
        self.commands = [command_at(self.began_ms + age_ms) for age_ms in (-2 * DAY_MS, 2 * DAY_MS)]
        self.dues_ms = [self.began_ms - 10 * DAY_MS, self.began_ms - 9 * DAY_MS, self.began_ms + 9 * DAY_MS]
        self.hosts = [self.call("new_host_epoch") for _ in range(2)]
        self.owners = [NEVER_CLAIMED]
        self.made: list[tuple[Call, Any]] = []
        self.operations = 0
        for agent in AGENTS:  # so that most calls find a holder and a message
            self.change("claim", agent, self.hosts[0], previous=NEVER_CLAIMED, operation=self.operation())
            self.change("enqueue", [Incoming(agent=agent, command=self.command(0), body=b"x") for _ in range(2)])

    def teardown(self) -> None:
        """Both hold the same at the end, as at every step."""
        self.runner.run(self.redis.aclose())
        self.runner.close()

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """The answer of both; fails where they differ."""

        async def both() -> tuple[Any, Any]:
            return (
                await answer_or_refusal(getattr(self.twin, method)(*args, **options)),
                await answer_or_refusal(getattr(self.redis, method)(*args, **options)),
            )

        one, other = self.runner.run(both())
        assert timeless(one) == timeless(other), f"{method}{args}{options}"
        return one

    def change(self, method: str, *args: Any, **options: Any) -> Any:
        """A call that may come again."""
        answer = self.call(method, *args, **options)
        self.made.append((Call(method, args, options), answer))
        self.same_rows()
        return answer

    def same_rows(self) -> None:
        """Everything that can be read is the same in both."""

        async def rows(journal: Journal) -> list[Any]:
            found = await asyncio.gather(*(journal.read(agent) for agent in AGENTS))
            reads: list[Awaitable[Any]] = []
            for agent, row in zip(AGENTS, found, strict=True):
                reads += [journal.history(agent), journal.depth(agent)]
                reads += [journal.take(agent, row.epoch), *(journal.steps(agent, id) for id in self.commands[-5:])]
            contents = (b"x" * 21, b"y" * 22, b"z" * 30)
            for id in self.commands[-5:]:
                reads += [journal.blob(agent, id, digest_of(content)) for agent in AGENTS for content in contents]
            for partition in PARTITIONS_OF_AGENTS:
                reads += [journal.mailboxes(partition), journal.waiting(partition), journal.due(partition)]
                reads += [journal.quarantined(partition)]
            return [*found, *map(timeless, await asyncio.gather(*reads))]

        assert self.runner.run(rows(self.twin)) == self.runner.run(rows(self.redis))
        for partition in PARTITIONS_OF_AGENTS:
            self.rows_to_relay(partition)

    def command(self, place: int) -> CommandId:
        """Mostly a new id, else one of those that were used."""
        if place < FRESH:
            self.commands.append(command_at(self.began_ms, len(self.commands)))
        return self.commands[-1 - (place - FRESH) % len(self.commands)] if place > FRESH else self.commands[-1]

    def rows_to_relay(self, partition: Any) -> tuple[list[Any], list[Any]]:
        """The outbox of each; places are the store's own, all else is the same."""

        async def both() -> tuple[Any, Any]:
            return await self.twin.outbox(partition), await self.redis.outbox(partition)

        one, other = self.runner.run(both())
        assert [replace(row, id="") for row in one] == [replace(row, id="") for row in other]
        return [row.id for row in one], [row.id for row in other]

    def operation(self) -> OperationId:
        self.operations += 1
        return OperationId(f"op-{self.operations}")

    def hand(self, agent: ActorId, place: int, offset: int) -> Hand:
        row = self.call("read", agent)
        # A lost reply: the caller knows a version or an epoch that is not the store's.
        return Hand(
            agent=agent,
            epoch=Epoch(max(0, row.epoch + min(offset, 0))),
            version=max(0, row.version + offset),
            command=self.in_mailbox(agent, place),
            operation=self.operation(),
            begun_ms=self.began_ms if place % 2 else None,
            about=b"xxxxx"[: place % 6],
        )

    def in_mailbox(self, agent: ActorId, place: int) -> CommandId:
        """Mostly a message that is there, else any id."""
        row = self.call("read", agent)
        messages = self.call("take", agent, row.epoch).messages
        return messages[place % len(messages)].command if messages and place < 7 else self.command(place)

    @rule(agent=agents, places=st.lists(places, max_size=6), body=bodies, fenced=st.booleans(), offset=offsets)
    def enqueue(self, agent: ActorId, places: list[int], body: bytes, fenced: bool, offset: int) -> None:
        epoch = Epoch(max(0, self.call("read", agent).epoch + offset)) if fenced else None
        messages = [Incoming(agent=agent, command=self.command(n), body=body, epoch=epoch) for n in places]
        self.change("enqueue", messages, capacity=1 if offset else None)

    @rule(agent=agents, place=st.integers(0, 1), known=st.integers(0, 9))
    def claim(self, agent: ActorId, place: int, known: int) -> None:
        row = self.call("read", agent)
        previous = row.owner if known < 6 else self.owners[known % len(self.owners)]
        claim = self.change("claim", agent, self.hosts[place], previous=previous, operation=self.operation())
        self.owners.append(claim.row.owner)

    @rule(place=st.integers(0, 1), reaped=st.booleans())
    def renew_or_revoke(self, place: int, reaped: bool) -> None:
        host: HostEpoch = self.hosts[place]
        self.change("renew", host, ttl_ms=DAY_MS)
        self.change("revoke", host, reaped=reaped)
        if self.call("revoked", host):
            self.hosts[place] = self.call("new_host_epoch")

    @rule(agent=agents, offset=offsets, place=st.integers(0, 2))
    def release(self, agent: ActorId, offset: int, place: int) -> None:
        self.change("release", agent, Epoch(self.call("read", agent).epoch + offset))
        if place:  # else nobody holds it for a while
            owner = self.call("read", agent).owner
            self.change("claim", agent, self.hosts[place - 1], previous=owner, operation=self.operation())

    def writes(self, state: bytes | None, sent: int, timers: list[tuple[str, int | None]]) -> Writes:
        changes = tuple(
            CancelTimer(timer=name) if n is None else SetTimer(timer=name, due_ms=self.dues_ms[n], schedule=b"s")
            for name, n in timers
        )
        out = tuple(Outgoing(target=AGENTS[n % 2], command=self.command(0), body=b"out") for n in range(sent))
        return Writes(state=state, schema=2, outgoing=out, timers=changes)

    @rule(agent=agents, place=places, offset=offsets, state=st.none() | bodies, sent=st.integers(0, 2), timers=timers)
    def commit(
        self,
        agent: ActorId,
        place: int,
        offset: int,
        state: bytes | None,
        sent: int,
        timers: list[tuple[str, int | None]],
    ) -> None:
        hand, writes = self.hand(agent, place, offset), self.writes(state, sent, timers)
        commit = Commit(hand=hand, outcome=Outcome.COMMITTED, result=b"r", writes=writes)
        self.change("commit", commit, after=place, limit=3)

    @rule(
        agent=agents,
        place=places,
        offset=offsets,
        outcome=st.sampled_from([Outcome.REFUSED, Outcome.EXPIRED]),
        result=bodies,
    )
    def refuse(self, agent: ActorId, place: int, offset: int, outcome: Outcome, result: bytes) -> None:
        self.change("commit", Commit(hand=self.hand(agent, place, offset), outcome=outcome, result=result))

    @rule(agent=agents, place=places, sure=st.integers(0, 7))
    def delete(self, agent: ActorId, place: int, sure: int) -> None:
        if sure == 0:  # rarely, since nothing much happens to an agent after it
            writes = Writes(delete=True)
            self.change(
                "commit", Commit(hand=self.hand(agent, place, 0), outcome=Outcome.COMMITTED, result=b"", writes=writes)
            )

    @rule(
        agent=agents,
        place=places,
        offset=offsets,
        step=st.sampled_from(STEPS),
        due=st.none() | st.integers(0, 2),
        begun=bodies,
        timers=timers,
    )
    def park(
        self,
        agent: ActorId,
        place: int,
        offset: int,
        step: StepKey,
        due: int | None,
        begun: bytes,
        timers: list[tuple[str, int | None]],
    ) -> None:
        deadline_ms = None if due is None else self.dues_ms[due]
        hand, writes = self.hand(agent, place, offset), self.writes(None, 0, timers)
        self.change("park", Park(hand=hand, wait=step, begun=begun, deadline_ms=deadline_ms, writes=writes), limit=3)

    @rule(agent=agents, place=places, offset=offsets, reason=bodies)
    def quarantine(self, agent: ActorId, place: int, offset: int, reason: bytes) -> None:
        self.change("quarantine", self.hand(agent, place, offset), reason, limit=3)

    @rule(agent=agents, place=places, offset=offsets, step=st.sampled_from(STEPS), result=results, finish=st.booleans())
    def step(self, agent: ActorId, place: int, offset: int, step: StepKey, result: bytes, finish: bool) -> None:
        self.change("start_step", self.hand(agent, place, offset), step)
        if finish:
            self.change("finish_step", self.hand(agent, place, offset), step, result)

    @rule(agent=agents, place=places, offset=offsets)
    def count_attempt(self, agent: ActorId, place: int, offset: int) -> None:
        hand = self.hand(agent, place, offset)
        self.change("count_attempt", agent, hand.command, epoch=hand.epoch, note=b"a long note")

    @rule(agent=agents, any_wait=st.integers(0, 3), body=st.none() | bodies, fenced=st.booleans())
    def answer(self, agent: ActorId, any_wait: int, body: bytes | None, fenced: bool) -> None:
        if any_wait:
            self.change(
                "park", Park(hand=self.hand(agent, 0, 0), wait=STEPS[any_wait], begun=b"b", deadline_ms=self.dues_ms[0])
            )
        waiting = [row for row in self.call("waiting", partition_of(agent)) if row.agent == agent]
        command, wait = (waiting[0].command, waiting[0].wait) if waiting else (self.command(0), STEPS[any_wait])
        epoch = self.call("read", agent).epoch if fenced else None
        self.change("answer", agent, command, wait, body=body, operation=self.operation(), epoch=epoch)

    @rule(agent=agents, place=places, assume=st.none() | st.sampled_from(Assume), drops=st.booleans())
    def settle(self, agent: ActorId, place: int, assume: Assume | None, drops: bool) -> None:
        rows = [row for row in self.call("quarantined", partition_of(agent)) if row.agent == agent]
        command = rows[0].command if rows else self.command(place)
        self.call("show_quarantined", agent, command)
        if drops:
            self.change("drop", agent, command, operation=self.operation())
        else:
            self.change("requeue", agent, command, operation=self.operation(), assume=assume)

    @rule(
        agent=agents,
        timer=st.sampled_from("abc"),
        place=places,
        due=st.integers(0, 2),
        later=st.none() | st.integers(0, 2),
        body=bodies,
    )
    def fire(self, agent: ActorId, timer: str, place: int, due: int, later: int | None, body: bytes) -> None:
        if place % 2:
            writes = Writes(timers=(SetTimer(timer=timer, due_ms=self.dues_ms[due]),))
            self.change(
                "commit", Commit(hand=self.hand(agent, 0, 0), outcome=Outcome.COMMITTED, result=b"", writes=writes)
            )
        due_rows = [row for row in self.call("due", partition_of(agent)).timers if row.agent == agent]
        timer, due_ms = (due_rows[0].timer, due_rows[0].due_ms) if due_rows else (timer, self.dues_ms[due])
        next_due_ms = None if later is None else self.dues_ms[later]
        message = Incoming(agent=agent, command=self.command(place), body=body)
        self.change("fire", timer, message, due_ms=due_ms, next_due_ms=next_due_ms)

    @rule(agent=agents, number=st.integers(0, 3))
    def relayed(self, agent: ActorId, number: int) -> None:
        ids, others = self.rows_to_relay(partition_of(agent))

        async def both() -> tuple[int, int]:
            return (await self.twin.relayed(agent, ids[:number]), await self.redis.relayed(agent, others[:number]))

        one, other = self.runner.run(both())
        assert one == other
        self.same_rows()

    @precondition(lambda self: bool(self.made))
    @rule(back=st.integers(0, 3))
    def the_last_calls_come_again(self, back: int) -> None:
        call, first = self.made[-1 - back % len(self.made)]
        if back == 0 and isinstance(first, TurnEnded) and first.verdict is TurnVerdict.DONE:
            before = [self.call("read", agent) for agent in AGENTS]
            again = self.call(call.method, *call.args, **call.options)
            assert (again.verdict, again.version) == (first.verdict, first.version)
            assert [self.call("read", agent) for agent in AGENTS] == before
        else:
            self.call(call.method, *call.args, **call.options)
        self.same_rows()

    @precondition(lambda self: len(self.made) > 4)
    @rule(place=st.integers(0, 40))
    def an_old_end_of_a_turn_comes_again_and_changes_nothing(self, place: int) -> None:
        ends = [made for made in self.made if isinstance(made[1], TurnEnded) and made[1].verdict is TurnVerdict.DONE]
        if not ends:
            return
        call, _ = ends[place % len(ends)]
        before = [self.call("read", agent) for agent in AGENTS]
        self.call(call.method, *call.args, **call.options)
        assert [self.call("read", agent) for agent in AGENTS] == before
        self.same_rows()

    @precondition(lambda self: len(self.made) > 4)
    @rule(place=st.integers(0, 40))
    def an_old_claim_comes_again_and_changes_nothing(self, place: int) -> None:
        claims = [made for made in self.made if isinstance(made[1], Claim) and made[1].verdict is ClaimVerdict.CLAIMED]
        call, _ = claims[place % len(claims)]
        before = [self.call("read", agent) for agent in AGENTS]
        self.call(call.method, *call.args, **call.options)
        assert [self.call("read", agent) for agent in AGENTS] == before


async def answer_or_refusal(call: Awaitable[Any]) -> Any:
    """The answer, or what is said to a caller who knows a version that the store never had."""
    try:
        return await call
    except JournalRestored as error:
        return str(error)


def timeless(answer: Any) -> Any:
    """The answer without the moment at which it was given."""
    match answer:
        case Taken() | Due():
            return replace(answer, now_ms=0)
        case PastTurn():
            return replace(answer, ended_ms=0)
        case Quarantined() | QuarantineRow():
            return replace(answer, at_ms=0)
        case tuple():
            return tuple(map(timeless, answer))
        case _:
            return answer


RUNS_OF_EXAMPLES = 4
"""A random run of 50 calls takes as long as so many examples of other properties."""


@pytest.mark.slow
@pytest.mark.redis
@pytest.mark.parametrize(
    "server",
    [
        pytest.param("embedded", marks=pytest.mark.again),
        "redis_7",
        pytest.param("cluster", marks=pytest.mark.again),
    ],
)
def test_the_twin_and_redis_answer_alike_whatever_is_called_and_repeated(
    server: str, request: pytest.FixtureRequest
) -> None:
    url: str = request.getfixturevalue(server)
    run_state_machine_as_test(
        cast(
            "type[RuleBasedStateMachine]", lambda: Beside(url, cluster=server == "cluster")
        ),  # anything that makes one will do
        settings=settings(
            max_examples=settings().max_examples // RUNS_OF_EXAMPLES,
            stateful_step_count=50,
            phases=[Phase.reuse, Phase.generate, Phase.shrink],  # to explain a failure as well takes minutes
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
