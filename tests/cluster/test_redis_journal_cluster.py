"""The journal on a real Redis Cluster of three masters with a replica each: slots that move, and masters that die."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import TypeVar

import pytest
from redis.crc import key_slot

from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime.address import ActorId
from regrow.runtime.journal_answers import TurnVerdict
from regrow.runtime.journal_entries import Commit, Outcome, Writes, partition_of
from regrow.runtime.journal_errors import JournalAway, JournalUnknown
from tests.conformance.journals import CLERK, HERE, Holder, Stand
from tests.conformance.redis_servers import (
    MASTERS,
    ClusterNode,
    redis_7_program,
    started_cluster,
    url_of,
    wait_promoted,
)

pytestmark = [pytest.mark.redis, pytest.mark.slow]

NODE_TIMEOUT_MS = 1_000
LIMIT_TRIES = 1_000
AGENTS = [ActorId(f"pool/{number}") for number in range(48)]
BATCH = 100
Answer = TypeVar("Answer")


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ClusterNode]]:
    with started_cluster(redis_7_program(), tmp_path_factory.mktemp("moving")) as nodes:
        yield nodes


@pytest.fixture
def doubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ClusterNode]]:
    """Three masters with a replica each, of this test's own, since it kills some."""
    folder = tmp_path_factory.mktemp("doubled")
    with started_cluster(redis_7_program(), folder, replicas=1, node_timeout_ms=NODE_TIMEOUT_MS) as nodes:
        yield nodes


async def no_pause(ms: int) -> None:
    raise AssertionError("no test here waits for the store's clock")


@pytest.fixture
async def stand(moving: list[ClusterNode]) -> AsyncIterator[Stand]:
    journal = RedisJournal.from_url(url_of(moving[0]), app=f"app-{uuid.uuid4().hex}", cluster=True)
    yield Stand(journal, no_pause)
    await journal.aclose()


@pytest.fixture
async def copied(doubled: list[ClusterNode]) -> AsyncIterator[Stand]:
    """Asks a node that no test kills for the way to the others."""
    journal = RedisJournal.from_url(url_of(doubled[1]), app="desk", cluster=True, replicas=1)
    yield Stand(journal, no_pause)
    await journal.aclose()


SLOT = key_slot(f"{{{HERE}}}".encode())


def keys_left(node: ClusterNode) -> int:
    """How many keys of the slot of CLERK that server has."""
    told = node.client.execute_command("CLUSTER COUNTKEYSINSLOT", SLOT)
    assert isinstance(told, int)
    return told


class Move:
    """The slot of CLERK on its way from one master to another."""

    def __init__(self, nodes: list[ClusterNode]) -> None:
        self.source = next(node for node in nodes if keys_left(node))
        self.target = next(node for node in nodes if node is not self.source)
        self._all = nodes

    def begin(self) -> None:
        self.target.client.execute_command("CLUSTER SETSLOT", SLOT, "IMPORTING", self.source.id)
        self.source.client.execute_command("CLUSTER SETSLOT", SLOT, "MIGRATING", self.target.id)

    def carry(self, number: int = BATCH) -> int:
        """Moves up to so many keys; how many there were."""
        keys = self.source.client.execute_command("CLUSTER GETKEYSINSLOT", SLOT, number)
        assert isinstance(keys, list)
        if keys:
            self.source.client.execute_command("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5_000, "KEYS", *keys)
        return len(keys)

    def end(self) -> None:
        while self.carry():
            pass
        for node in (self.target, self.source, *self._all):
            node.client.execute_command("CLUSTER SETSLOT", SLOT, "NODE", self.target.id)


async def until_answered(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Makes the same call again until the store answers, as a host does."""
    last: Exception | None = None
    for _ in range(LIMIT_TRIES):
        try:
            return await call()
        except (JournalAway, JournalUnknown) as error:
            last = error
            await asyncio.get_running_loop().run_in_executor(None, pause)
    raise AssertionError("the store does not come back") from last


def pause() -> None:
    signal.sigtimedwait([], 0.01)


async def written(holder: Holder, body: bytes) -> Commit:
    hand = holder.hand(await holder.receive())
    return Commit(hand=hand, outcome=Outcome.COMMITTED, result=body, writes=Writes(state=body))


async def test_a_slot_that_has_moved_is_followed_and_nothing_of_it_is_lost(
    stand: Stand, moving: list[ClusterNode]
) -> None:
    holder = await stand.hold()
    await holder.commit(await holder.receive(), writes=Writes(state=b"before"))
    commit = await written(holder, b"after")
    move = Move(moving)

    move.begin()
    move.end()
    ended = await stand.journal.commit(commit)

    assert (ended.verdict, ended.version) == (TurnVerdict.DONE, 2)
    assert (await stand.journal.read(CLERK)).state == b"after"
    assert keys_left(move.target) > 0


async def test_an_agent_whose_keys_lie_on_two_servers_is_away_and_half_of_a_commit_is_never_written(
    stand: Stand, moving: list[ClusterNode]
) -> None:
    holder = await stand.hold()
    commit = await written(holder, b"new")
    move = Move(moving)

    move.begin()
    for left in reversed(range(keys_left(move.source))):  # after each key that went
        move.carry(1)
        with pytest.raises(JournalAway, match=r"asked again|ask later"):
            await stand.journal.commit(commit)
        assert keys_left(move.source) == left
    move.end()

    assert (await until_answered(lambda: stand.journal.commit(commit))).verdict is TurnVerdict.DONE
    row = await stand.journal.read(CLERK)
    assert (row.version, row.state, await holder.pending()) == (1, b"new", [])


async def test_a_row_that_has_gone_ahead_is_read_where_it_is(stand: Stand, moving: list[ClusterNode]) -> None:
    holder = await stand.hold()
    await holder.commit(await holder.receive(), writes=Writes(state=b"here"))
    move = Move(moving)

    move.begin()
    while move.carry():
        pass
    row = await stand.journal.read(CLERK)  # by ASK: the slot is not given over yet
    move.end()

    assert row.state == b"here"


async def test_commits_that_were_answered_outlive_the_kill_of_their_master(
    copied: Stand, doubled: list[ClusterNode]
) -> None:
    victim = doubled[0]
    holders = await asyncio.gather(*(copied.hold(agent) for agent in AGENTS))
    commits = [await written(holder, holder.agent.encode()) for holder in holders]
    first = [await copied.journal.commit(commit) for commit in commits[::2]]

    victim.process.send_signal(signal.SIGKILL)
    resent = asyncio.gather(*(until_answered(partial(copied.journal.commit, commit)) for commit in commits[1::2]))
    await asyncio.to_thread(wait_promoted, doubled[MASTERS])
    with victim.start():  # as a replica of its replica; before that, the new master has nobody who copies it
        second = await resent
        # Each server learns by itself that the cluster is whole again, so one of them may still call it down.
        rows = [await until_answered(partial(copied.journal.read, agent)) for agent in AGENTS]

    assert {ended.verdict for ended in (*first, *second)} == {TurnVerdict.DONE}
    assert [(row.version, row.state) for row in rows] == [(1, agent.encode()) for agent in AGENTS]
    hit = {key_slot(f"{{{partition_of(agent)}}}".encode()) < 16_384 // MASTERS for agent in AGENTS[::2]}
    assert hit == {True, False}  # some of those that were answered before the kill lay on the victim


async def test_what_the_replica_has_not_got_is_unknown_and_is_done_once_when_it_follows_again(
    copied: Stand, doubled: list[ClusterNode]
) -> None:
    holder = await copied.hold()
    commit = await written(holder, b"state")
    replicas = doubled[MASTERS:]

    for replica in replicas:
        replica.process.send_signal(signal.SIGSTOP)
    with pytest.raises(JournalUnknown, match="0 of 1 replicas"):
        await copied.journal.commit(commit)
    for replica in replicas:
        replica.process.send_signal(signal.SIGCONT)

    assert (await until_answered(lambda: copied.journal.commit(commit))).verdict is TurnVerdict.DONE
    assert (await copied.journal.read(CLERK)).version == 1
