"""What the journal in Redis says when the connection is cut, the server refuses, or it is too old."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from structlog.testing import capture_logs

from regrow.cluster.high_water import HighWater
from regrow.cluster.journal_refusals import check_version
from regrow.cluster.journal_scripts import SCRIPTS
from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime.address import ActorId
from regrow.runtime.errors import Closed
from regrow.runtime.journal_answers import EnqueueVerdict, TurnVerdict
from regrow.runtime.journal_entries import NEVER_CLAIMED, Commit, Incoming, Outcome, Park, SetTimer, StepKey, Writes
from regrow.runtime.journal_errors import (
    InvalidEntry,
    JournalDenied,
    JournalFull,
    JournalOutdated,
    JournalReadOnly,
    JournalRestored,
    JournalUnknown,
)
from tests.conformance.journals import CLERK, FAR_MS, HERE, Stand
from tests.conformance.redis_servers import embedded_program, redis_7_program, started

pytestmark = pytest.mark.redis

MAIL = StepKey(name="mail", occurrence=0, digest="d1")


class Wire:
    """A way to a server that can be cut at the next script: before it reaches the server, or before its answer."""

    def __init__(self, target: Path) -> None:
        self.cut = ""
        self._target = str(target)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request at a time."""
        far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        try:
            while request := await reader.read(1 << 20):
                script = b"EVAL" in request
                if script and self.cut == "before":
                    break
                far_writer.write(request)
                answer = await far_reader.read(1 << 20)
                if script and self.cut == "after" and b"NOSCRIPT" not in answer:
                    break
                writer.write(answer)
        finally:
            far_writer.close()
            writer.close()


@pytest.fixture(params=["6.2", "7"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server of this test's own, since it is made to refuse."""
    folder = tmp_path_factory.mktemp("own")
    program = embedded_program() if request.param == "6.2" else redis_7_program()
    with started(program, folder, "port 0"):
        yield folder / "redis.sock"


async def wait_a_moment(ms: int) -> None:
    raise AssertionError("no test here waits")


@pytest.fixture
async def stand(server: Path) -> AsyncIterator[Stand]:
    journal = RedisJournal.from_url(f"unix://{server}", app="desk")
    yield Stand(journal, wait_a_moment)
    await journal.aclose()


@pytest.fixture
async def wired(server: Path, tmp_path: Path) -> AsyncIterator[tuple[Wire, Stand]]:
    wire = Wire(server)
    near = tmp_path / "near.sock"
    async with await asyncio.start_unix_server(wire.carry, near):
        journal = RedisJournal.from_url(f"unix://{near}", app="desk")
        yield wire, Stand(journal, wait_a_moment)
        await journal.aclose()


async def cut_once(wire: Wire, where: str, call: Callable[[], Awaitable[object]]) -> None:
    wire.cut = where
    with pytest.raises(JournalUnknown, match=r"may have been done.*sent again"):
        await call()
    wire.cut = ""


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_commit_that_was_cut_is_unknown_and_is_done_once_when_sent_again(
    wired: tuple[Wire, Stand], where: str
) -> None:
    wire, stand = wired
    holder = await stand.hold()
    hand = holder.hand(await holder.receive())
    commit = Commit(hand=hand, outcome=Outcome.COMMITTED, result=b"r", writes=Writes(state=b"s"))

    await cut_once(wire, where, lambda: stand.journal.commit(commit))
    ended = await stand.journal.commit(commit)

    assert (ended.verdict, ended.version) == (TurnVerdict.DONE, 1)
    assert (await stand.journal.read(CLERK)).version == 1


@pytest.mark.parametrize(("where", "verdict"), [("before", EnqueueVerdict.ACCEPTED), ("after", EnqueueVerdict.PENDING)])
async def test_messages_whose_enqueuing_was_cut_are_in_the_mailbox_once_when_sent_again(
    wired: tuple[Wire, Stand], where: str, verdict: EnqueueVerdict
) -> None:
    wire, stand = wired
    holder = await stand.hold()
    messages = [Incoming(agent=CLERK, command=await stand.command(), body=b"x") for _ in range(3)]

    await cut_once(wire, where, lambda: stand.journal.enqueue(messages))
    answers = await stand.journal.enqueue(messages)

    assert [answer.verdict for answer in answers] == [verdict] * 3
    assert await holder.pending() == [message.command for message in messages]


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_claim_that_was_cut_gives_one_epoch_when_sent_again(wired: tuple[Wire, Stand], where: str) -> None:
    wire, stand = wired
    host, operation = await stand.host(), stand.operation()

    def claim() -> Awaitable[object]:
        return stand.journal.claim(CLERK, host, previous=NEVER_CLAIMED, operation=operation)

    await cut_once(wire, where, claim)
    await claim()

    assert (await stand.journal.read(CLERK)).epoch == 1


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("end", ["step", "park", "quarantine", "fire"])
async def test_whatever_else_was_cut_is_done_once_and_answers_alike_when_sent_again(
    wired: tuple[Wire, Stand], where: str, end: str
) -> None:
    wire, stand = wired
    holder = await stand.hold()
    hand = holder.hand(await holder.receive())
    due_ms = await stand.now_ms() - 1
    await holder.commit(await holder.receive(), writes=Writes(timers=(SetTimer(timer="tea", due_ms=due_ms),)))
    hand, tick = replace(hand, version=1), Incoming(agent=CLERK, command=await stand.command(), body=b"tick")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "step": lambda: stand.journal.start_step(hand, MAIL),
        "park": lambda: stand.journal.park(Park(hand=hand, wait=MAIL, begun=b"b", deadline_ms=None)),
        "quarantine": lambda: stand.journal.quarantine(hand, b"why"),
        "fire": lambda: stand.journal.fire("tea", tick, due_ms=due_ms),
    }

    await cut_once(wire, where, calls[end])
    answers = [await calls[end]() for _ in range(2)]

    assert answers[0] == answers[1]
    left = [message for message in (hand.command, tick.command) if message in await holder.pending()]
    assert left == {"step": [hand.command], "park": [], "quarantine": [], "fire": [hand.command, tick.command]}[end]
    assert len(await stand.journal.steps(CLERK, hand.command)) == (end == "step")


async def test_a_server_that_died_is_unknown_and_the_journal_closes_all_the_same(tmp_path: Path) -> None:
    with started(embedded_program(), tmp_path, "port 0"):
        journal = RedisJournal.from_url(f"unix://{tmp_path}/redis.sock", app="desk")
        await journal.read(CLERK)

    with pytest.raises(JournalUnknown):
        await journal.read(CLERK)
    await journal.aclose()
    with pytest.raises(Closed, match="open another"):
        await journal.read(CLERK)


async def test_a_full_server_is_named_and_nothing_is_written_in_part(server: Path, stand: Stand) -> None:
    holder = await stand.hold()
    command = await holder.receive()
    with Redis(unix_socket_path=str(server)) as admin:
        admin.config_set("maxmemory", 1)
        with pytest.raises(JournalFull, match="maxmemory"):
            await holder.commit(command, writes=Writes(state=b"new"))
        with pytest.raises(JournalFull):
            await holder.receive()
        before = ((await stand.journal.read(CLERK)).version, await holder.pending())
        admin.config_set("maxmemory", 0)

    assert before == (0, [command])
    assert (await holder.commit(command)).verdict is TurnVerdict.DONE


async def test_a_replica_that_takes_no_writes_is_named(server: Path, stand: Stand) -> None:
    await stand.journal.read(CLERK)
    with Redis(unix_socket_path=str(server)) as admin:
        admin.replicaof("127.0.0.1", "1")

        with pytest.raises(JournalReadOnly, match="primary"):
            await stand.host()


@pytest.mark.parametrize("copied", [True, False], ids=["older copy", "wiped"])
async def test_a_live_host_refuses_a_store_that_was_restored_from_an_older_copy_or_wiped(
    server: Path, stand: Stand, copied: bool
) -> None:
    host = await stand.host()
    holder = await stand.hold(host=host)
    command = await holder.receive()
    with Redis(unix_socket_path=str(server)) as admin:
        older = {key: admin.dump(key) or b"" for key in admin.scan_iter()} if copied else {}
        assert await stand.journal.renew(host, ttl_ms=FAR_MS)
        admin.flushall()
        for key, value in older.items():
            admin.restore(key, 0, value)

        for _ in range(3):
            with pytest.raises(JournalRestored, match=r"wiped or restored from an older copy"):
                await stand.journal.renew(host, ttl_ms=FAR_MS)
        with pytest.raises(JournalRestored):
            await holder.commit(command, writes=Writes(state=b"new"))

        assert admin.dbsize() == len(older)


async def test_the_high_water_file_refuses_an_older_copy_after_a_full_stop(server: Path, tmp_path: Path) -> None:
    file = tmp_path / "high-water"
    before = RedisJournal.from_url(f"unix://{server}", app="desk", water=HighWater(file))
    await before.renew(await before.new_host_epoch(), ttl_ms=FAR_MS)
    await before.aclose()
    with Redis(unix_socket_path=str(server)) as admin:
        admin.flushall()

    after = RedisJournal.from_url(f"unix://{server}", app="desk", water=HighWater(file))
    with pytest.raises(JournalRestored, match=r"high-water and start anew"):
        await after.new_host_epoch()
    await after.aclose()


def test_a_high_water_file_that_holds_something_else_is_named(tmp_path: Path) -> None:
    file = tmp_path / "high-water"
    file.write_text("a letter")

    with pytest.raises(InvalidEntry, match=r"a letter.*delete it"):
        HighWater(file)


async def test_a_mark_that_can_not_be_kept_holds_up_nobody_is_told_once_and_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    water = HighWater(folder / "high-water")

    with capture_logs() as logs:
        for mark in (5, 6):
            water.rise(mark, asked_at=mark - 1, address="redis")
            await water.keep()

    assert water.seen == 6
    (told,) = logs
    assert "can not be kept" in told["event"] and told["reason"] == "No such file or directory"
    folder.mkdir()
    water.rise(7, asked_at=6, address="redis")
    await water.keep()
    assert HighWater(folder / "high-water").seen == 7


def test_of_two_answers_the_later_may_be_taken_in_first() -> None:
    water = HighWater()
    water.rise(7, asked_at=5, address="redis")

    water.rise(6, asked_at=5, address="redis")

    assert water.seen == 7


async def test_a_refused_password_is_named_and_not_shown(server: Path) -> None:
    with Redis(unix_socket_path=str(server)) as admin:
        admin.config_set("requirepass", "right")
    journal = RedisJournal.from_url(f"unix://:wrong-secret@{server}", app="desk")

    with pytest.raises(JournalDenied, match="password") as caught:
        await journal.read(CLERK)

    assert "wrong-secret" not in str(caught.value)
    await journal.aclose()


async def test_a_server_that_forgot_the_scripts_gets_them_again(server: Path, stand: Stand) -> None:
    holder = await stand.hold()
    with Redis(unix_socket_path=str(server)) as admin:
        admin.script_flush()

    commands = [await holder.receive() for _ in range(3)]

    assert await holder.pending() == commands


@pytest.mark.parametrize("version", ["6.0.16", "5.0.7", ""])
def test_a_server_below_the_floor_is_refused_with_its_version(version: str) -> None:
    with pytest.raises(JournalOutdated, match=r"need 6\.2\.0 or newer") as caught:
        check_version(version, address="redis://db")

    assert (caught.value.version, caught.value.floor) == (version, "6.2.0")


async def test_many_commits_of_one_host_share_few_round_trips(server: Path, stand: Stand) -> None:
    agents = [ActorId(f"pool/{number}") for number in range(64)]
    holders = await asyncio.gather(*(stand.hold(agent) for agent in agents))
    commands = await asyncio.gather(*(holder.receive() for holder in holders))
    with Redis(unix_socket_path=str(server)) as admin:
        before = admin.info("stats")["total_reads_processed"]

        await asyncio.gather(*(holder.commit(command) for holder, command in zip(holders, commands, strict=True)))

        reads = admin.info("stats")["total_reads_processed"] - before
    assert reads < 10


async def test_a_caller_who_gives_up_does_not_end_the_calls_of_others(stand: Stand) -> None:
    first = asyncio.ensure_future(stand.journal.read(CLERK))
    second = asyncio.ensure_future(stand.journal.read(CLERK))
    await asyncio.sleep(0)

    first.cancel()

    assert (await second).version == 0
    assert first.cancelled() or first.done()


async def test_apps_that_share_a_server_do_not_see_each_other(server: Path, stand: Stand) -> None:
    other = RedisJournal.from_url(f"unix://{server}", app=f"other-{uuid.uuid4().hex}")
    holder = await stand.hold()
    await holder.receive()

    assert (await other.read(CLERK)).host is None
    assert await other.mailboxes(HERE) == ()
    await other.aclose()


def test_there_is_one_script_for_each_contract() -> None:
    local = {"enqueue", "take", "bury", "refuse", "aclose", "limits", "from_url"}
    contracts = {name for name in dir(RedisJournal) if not name.startswith("_")}

    assert contracts - local == set(SCRIPTS) - local
