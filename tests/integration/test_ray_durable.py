"""Durable agents on Ray and on a real Redis: whatever is killed, what was accepted is done once."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis import Redis

from regrow import ActorRef, Running
from regrow.actors.durable_errors import InQuarantine
from regrow.cluster.answers import approved, waits
from regrow.cluster.app import EngineName
from regrow.cluster.config import RedisSettings, Settings
from regrow.cluster.control_client import EXIT_REFUSED, exit_code_of
from regrow.cluster.errors import RedisUnavailable
from regrow.cluster.past_turns import turns_of
from regrow.cluster.redis_journal import RedisJournal
from regrow.cluster.set_aside import Decision, decided, listed
from regrow.runtime import ActorId, ContactLost
from regrow.runtime.command_ids import new_command_id
from regrow.runtime.durability import LEASE_TTL_MS, PARK_AFTER_S
from regrow.runtime.journal_answers import Assume, ClaimVerdict, Revocation
from regrow.runtime.journal_entries import OperationId
from regrow.runtime.journal_errors import JournalRestored
from tests.conformance.redis_servers import embedded_program, started
from tests.integration.apps import ledger
from tests.integration.apps.ledger import Add, AddLater, AddSlowly, Entry, Mail, Pass, Ping, Remind, Seen, Total, Where
from tests.integration.belongings import alive, app_processes, send
from tests.integration.conftest import Start, nothing_left
from tests.integration.killing import kill
from tests.integration.lives import lives, restarted
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.redis, pytest.mark.asyncio(loop_scope="module")]

TELLS = 300
KILLS = 6
PATIENCE_S = 60.0
"""For one message, on a busy machine."""


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray is there a process to kill."""
    return "ray"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    """The app, started once: it has to survive everything that these tests do to it."""
    with nothing_left(root):
        async with start(ledger.app) as app:
            yield app


@pytest.mark.parametrize("id", ["book", "packed"])
async def test_the_state_of_a_durable_agent_outlives_the_kill_of_its_host(running: Running, id: str) -> None:
    book = running.ref(id)
    before = await book.ask(Add(number=3))
    pid = await book.ask(Where())

    await kill(running, f"ledger/{id}")

    assert await book.ask(Add(number=4)) == before + 4
    assert await book.ask(Where()) != pid


async def test_an_ask_that_is_being_handled_at_the_kill_is_answered_by_the_next_life_and_then_from_its_record(
    running: Running, tmp_path: Path
) -> None:
    book, command = running.ref("book"), new_command_id()
    before = await book.ask(Add(number=0))
    slow = AddSlowly(number=5, begun=str(tmp_path / "begun"), go=str(tmp_path / "go"))
    asking = asyncio.create_task(book.ask(slow, timeout_s=PATIENCE_S, command_id=command))
    await until((tmp_path / "begun").exists, "the turn has begun")

    await kill(running, "ledger/book")
    await until(lambda: _lines(tmp_path / "begun") == 2, "the next life has begun it again")
    (tmp_path / "go").touch()

    assert await asking == before + 5
    assert await book.ask(Add(number=1)) == before + 6
    assert await book.ask(slow, command_id=command) == before + 5, "the record, not a third run"
    assert _lines(tmp_path / "begun") == 2


async def test_a_step_that_was_begun_at_the_kill_and_may_not_be_repeated_sets_its_message_aside(
    running: Running, tmp_path: Path
) -> None:
    book, command = running.ref("book"), new_command_id()
    before = await book.ask(Add(number=0))
    mail = Mail(text="paid", file=str(tmp_path / "mails"), go=str(tmp_path / "go"))
    asking = asyncio.create_task(book.ask(mail, timeout_s=PATIENCE_S, command_id=command))
    await until((tmp_path / "mails").exists, "the mail is under way")

    await kill(running, "ledger/book")
    with pytest.raises(InQuarantine):
        await asking

    assert _lines(tmp_path / "mails") == 1
    assert await book.ask(Add(number=0)) == before
    with pytest.raises(InQuarantine):
        await book.ask(mail, command_id=command)


async def test_a_message_in_quarantine_is_listed_and_requeued_by_a_person(running: Running, tmp_path: Path) -> None:
    book, command = running.ref("book"), new_command_id()
    before = await book.ask(Add(number=0))
    mail = Mail(text="paid", file=str(tmp_path / "mails"), go=str(tmp_path / "go"))
    asking = asyncio.create_task(book.ask(mail, timeout_s=PATIENCE_S, command_id=command))
    await until((tmp_path / "mails").exists, "the mail is under way")
    await kill(running, "ledger/book")
    with pytest.raises(InQuarantine):
        await asking
    id = f"ledger/book@{command}"

    rows = (await listed(running, ""))["messages"]
    shown = await decided(running, id, Decision.SHOW, None)
    await decided(running, id, Decision.REQUEUE, Assume.DONE)

    assert id in [row["id"] for row in rows]
    assert (shown["fields"]["text"], shown["open_steps"]) == ("paid", 1)

    async def is_added() -> bool:
        return await book.ask(Add(number=0)) == before + 1

    await until(is_added, "it was handled again")
    assert await book.ask(mail, command_id=command) == before + 1
    assert _lines(tmp_path / "mails") == 1


async def test_the_history_of_an_agent_is_told_while_it_runs_and_outlives_the_kill_of_its_host(
    running: Running,
) -> None:
    book, commands = running.ref("book"), [new_command_id() for _ in range(2)]
    await book.ask(Add(number=1), command_id=commands[0])
    await kill(running, "ledger/book")
    await book.ask(Add(number=2), command_id=commands[1])

    before, after = (await turns_of(running, "ledger/book", 2))["turns"]

    assert [turn["command"] for turn in (before, after)] == commands
    assert [(turn["fields"], turn["outcome"]) for turn in (before, after)] == [
        ({"number": 1}, "committed"),
        ({"number": 2}, "committed"),
    ]
    assert before["epoch"] < after["epoch"]
    assert before["incarnation"] < after["incarnation"]
    assert before["began"] <= before["ended"] <= after["began"] <= after["ended"]


async def test_tells_that_were_acknowledged_are_done_once_and_in_order_across_kills(running: Running) -> None:
    book = running.ref("packed")

    for number in range(TELLS):
        await book.tell(Entry(number=number), send_timeout_s=PATIENCE_S)
        if number % (TELLS // KILLS) == 0:
            before = await lives(running)
            await kill(running, "ledger/packed")
            for more in range(3):  # into the death, while nobody knows of it
                await book.tell(Entry(number=TELLS + number * 3 + more), send_timeout_s=PATIENCE_S)
            await until(lambda before=before: restarted(running, before, "packed"), "it is back")  # type: ignore[misc]

    seen: tuple[int, ...] = await book.ask(Seen(), timeout_s=PATIENCE_S)
    assert [number for number in seen if number < TELLS] == list(range(TELLS))
    assert len(seen) == len(set(seen)) == TELLS + 3 * KILLS


@pytest.mark.again  # the simulation holds it
async def test_what_a_turn_tells_arrives_once_though_both_ends_are_killed(running: Running) -> None:
    book, copy = running.ref("book"), running.ref("copy")

    for number in range(100):
        await book.tell(Pass(number=number), send_timeout_s=PATIENCE_S)
        if number in (30, 60):
            await kill(running, "ledger/book" if number == 30 else "ledger/copy")

    async def arrived() -> bool:
        seen: tuple[int, ...] = await copy.ask(Seen(), timeout_s=PATIENCE_S)
        return len(seen) >= 100

    await until(arrived, "all have arrived", within_s=PATIENCE_S)
    assert await copy.ask(Seen()) == tuple(range(100))


@pytest.mark.again
async def test_an_app_whose_guardian_is_killed_has_lost_nothing_durable(running: Running, tmp_path: Path) -> None:
    book, packed = running.ref("book"), running.ref("packed")
    before, entries = await book.ask(Add(number=0)), await packed.ask(Seen())
    slow = AddSlowly(number=7, begun=str(tmp_path / "begun"), go=str(tmp_path / "go"))
    asking = asyncio.create_task(book.ask(slow, timeout_s=2 * PATIENCE_S))
    await until((tmp_path / "begun").exists, "the turn has begun")

    await kill(running, "ledger")
    (tmp_path / "go").touch()

    assert await asking == before + 7
    assert await packed.ask(Seen(), timeout_s=PATIENCE_S) == entries


@pytest.mark.again  # the simulation holds it
@pytest.mark.parametrize(
    "victim", [pytest.param("ledger/book", id="its host"), pytest.param("ledger", id="the guardian and Redis")]
)
async def test_a_reminder_comes_though_what_would_bring_it_is_killed(running: Running, victim: str) -> None:
    book, number = running.ref("book"), 70_000 + len(victim)
    await book.ask(Remind(number=number, after_s=1.0), timeout_s=PATIENCE_S)

    await kill(running, victim)

    async def has_come() -> bool:
        return number in await book.ask(Seen(), timeout_s=PATIENCE_S)

    await until(has_come, "it has come", within_s=PATIENCE_S)
    assert (await book.ask(Seen())).count(number) == 1


@pytest.mark.again  # consent waits through a kill in test_ray_tools, too
async def test_a_turn_waits_through_kills_of_its_host_and_the_guardian_and_is_approved(
    running: Running, tmp_path: Path
) -> None:
    book, command, notes = running.ref("book"), new_command_id(), tmp_path / "notes"
    before = await book.ask(Add(number=0), timeout_s=PATIENCE_S)
    asking = asyncio.create_task(book.ask(AddLater(file=str(notes)), timeout_s=3 * PATIENCE_S, command_id=command))
    await until(lambda: _waits(running, 1), "it waits")
    id = f"ledger/book@{command}"

    for victim in ("ledger/book", "ledger"):
        await kill(running, victim)
        assert await book.ask(Add(number=1), timeout_s=PATIENCE_S) > before
        await until(lambda: _waits(running, 1), "it waits still")
    told = await approved(running, id, None, ["number=5"])

    assert told["answer"] == {"number": 5}
    assert await asking == before + 2 + 5
    assert await book.ask(AddLater(file=str(notes)), command_id=command) == before + 2 + 5
    assert _lines(notes) == 1
    assert await _waits(running, 0)


async def test_a_host_that_was_stopped_beyond_its_lease_and_replaced_commits_nothing_and_ends(
    running: Running, settings: Settings, tmp_path: Path
) -> None:
    book, id = running.ref("book"), ActorId("ledger/book")
    before = await book.ask(Add(number=0))
    pid = await book.ask(Where())
    slow = AddSlowly(number=9, begun=str(tmp_path / "begun"), go=str(tmp_path / "go"))
    asking = asyncio.create_task(_asked_on(book, slow))
    await until((tmp_path / "begun").exists, "the turn has begun")
    journal = await _journal(settings)
    row = await journal.read(id)
    holder = row.host
    assert holder is not None

    send(pid, signal.SIGSTOP)
    other = await journal.new_host_epoch()
    await until(lambda: _revoked(journal, holder), "its lease is over")
    await journal.renew(other, ttl_ms=LEASE_TTL_MS * 6)
    claim = await journal.claim(id, other, previous=row.owner, operation=OperationId("the replacement"))
    assert claim.verdict is ClaimVerdict.CLAIMED
    (tmp_path / "go").touch()
    send(pid, signal.SIGCONT)
    await until(lambda: not alive(pid), "it ends by itself")

    now = await journal.read(id)
    assert (now.version, now.epoch) == (row.version, claim.row.epoch)
    assert await journal.release(id, claim.row.epoch)
    assert await asking == before + 9
    assert await book.ask(Add(number=0), timeout_s=PATIENCE_S) == before + 9
    await journal.aclose()


async def test_a_redis_that_is_killed_ends_nobody_and_nothing_is_lost(running: Running, root: Path) -> None:
    book, packed = running.ref("book"), running.ref("packed")
    before = await book.ask(Add(number=0))
    entries = await packed.ask(Seen())
    alive_before = await lives(running)
    [redis] = [process for process in app_processes(root) if "redis-server" in process.title]

    redis.kill()
    for number in range(50):
        await packed.tell(Entry(number=10_000 + number), send_timeout_s=PATIENCE_S)
    assert await book.ask(Add(number=1), timeout_s=PATIENCE_S) == before + 1

    assert await packed.ask(Seen(), timeout_s=PATIENCE_S) == (*entries, *range(10_000, 10_050))
    assert await lives(running) == alive_before


async def test_plain_agents_and_what_only_reads_go_on_while_redis_is_stopped_and_others_wait(
    running: Running, root: Path
) -> None:
    book = running.ref("book")
    before = await book.ask(Add(number=0), timeout_s=PATIENCE_S)
    alive_before = await lives(running)
    [redis] = [process for process in app_processes(root) if "redis-server" in process.title]

    send(redis.pid, signal.SIGSTOP)
    try:
        adding = asyncio.create_task(book.ask(Add(number=1), timeout_s=2 * PATIENCE_S))
        done, _ = await asyncio.wait([adding], timeout=PARK_AFTER_S + 1)
        totals = [await book.ask(Total(), timeout_s=20) for _ in range(10)]
        pings = [await running.ref("plain").ask(Ping(number=number), timeout_s=20) for number in range(10)]
        assert not done
        assert not adding.done()
    finally:
        send(redis.pid, signal.SIGCONT)

    assert totals == 10 * [before]
    assert pings == list(range(10))  # who is not durable goes on as if nothing were
    assert await adding == before + 1
    assert await book.ask(Total()) == before + 1
    assert await lives(running) == alive_before


async def test_a_redis_that_forgets_is_refused_at_the_start_and_so_is_one_that_was_wiped(
    local_ray: Path, root: Path, tmp_path: Path
) -> None:
    folder, url = tmp_path / "redis", SecretStr(f"unix://{tmp_path}/redis/redis.sock")
    settings = Settings(data_dir=Path(tempfile.mkdtemp(prefix="data-far-", dir=root)), redis=RedisSettings(url=url))
    with started(embedded_program(), folder, "port 0"):
        with pytest.raises(RedisUnavailable, match=r"appendonly no.*set appendonly yes") as forgets:
            await ledger.again.start(engine="ray", settings=settings)
    with started(embedded_program(), folder, "port 0", "appendonly yes", "appendfsync always"):
        async with ledger.again.start(engine="ray", settings=settings) as first:
            assert await first.ref("book").ask(Add(number=2)) == 2
        with Redis(unix_socket_path=str(folder / "redis.sock")) as admin:
            admin.flushall()
        with pytest.raises(JournalRestored, match=r"wiped or restored from an older copy") as wiped:
            await ledger.again.start(engine="ray", settings=settings)

    assert exit_code_of(forgets.value) == exit_code_of(wiped.value) == EXIT_REFUSED


@pytest.mark.again  # the owner's tests and those of claims hold it
async def test_a_redis_that_is_wiped_below_a_running_app_is_not_begun_anew_by_its_next_host(
    local_ray: Path, root: Path, tmp_path: Path
) -> None:
    folder, url = tmp_path / "redis", SecretStr(f"unix://{tmp_path}/redis/redis.sock")
    settings = Settings(data_dir=Path(tempfile.mkdtemp(prefix="data-far-", dir=root)), redis=RedisSettings(url=url))
    with started(embedded_program(), folder, "port 0", "appendonly yes", "appendfsync always"):
        async with ledger.again.start(engine="ray", settings=settings) as app:
            assert await app.ref("book").ask(Add(number=2), timeout_s=PATIENCE_S) == 2
            with Redis(unix_socket_path=str(folder / "redis.sock")) as admin:
                admin.flushall()
                await kill(app, "again/book")
                reason = await asyncio.wait_for(app.wait_ended(), PATIENCE_S)
                written = [key for key in admin.scan_iter() if b":row:" in key]

    assert "wiped or restored from an older copy" in str(reason)
    assert written == []


@pytest.mark.again  # each of the two alone stays by day
async def test_an_app_that_grows_back_waits_for_a_redis_that_is_away(
    local_ray: Path, root: Path, tmp_path: Path
) -> None:
    folder, url = tmp_path / "redis", SecretStr(f"unix://{tmp_path}/redis/redis.sock")
    data = Path(tempfile.mkdtemp(prefix="data-away-", dir=root))
    settings = Settings(data_dir=data, redis=RedisSettings(url=url))
    keeps = ("port 0", "appendonly yes", "appendfsync always")
    with ExitStack() as servers:
        servers.enter_context(started(embedded_program(), folder, *keeps))
        async with ledger.again.start(engine="ray", settings=settings) as running:
            book = running.ref("book")
            assert await book.ask(Add(number=2)) == 2
            servers.close()

            await kill(running, "again")
            asking = asyncio.create_task(book.ask(Add(number=3), timeout_s=PATIENCE_S))
            assert await asyncio.wait([asking], timeout=3) == (set(), {asking})
            servers.enter_context(started(embedded_program(), folder, *keeps))

            assert await asking == 5


async def test_the_state_outlives_a_stop_of_the_app_and_the_next_start_finds_it_at_once(root: Path) -> None:
    settings = Settings(data_dir=Path(tempfile.mkdtemp(prefix="data-again-", dir=root)))

    async with ledger.again.start(engine="ray", settings=settings) as first:
        assert await first.ref("book").ask(Add(number=2)) == 2
    async with ledger.again.start(engine="ray", settings=settings) as second:
        assert await second.ref("book").ask(Add(number=3)) == 5


async def _waits(running: Running, count: int) -> bool:
    return len((await waits(running, "ledger/book"))["waits"]) == count


async def _asked_on(book: ActorRef, request: AddSlowly) -> int:
    """An ask that is repeated under its id as often as contact is lost, as a program would do."""
    command = new_command_id()
    while True:
        with suppress(ContactLost):
            return await book.ask(request, timeout_s=2 * PATIENCE_S, command_id=command)


async def _journal(settings: Settings) -> RedisJournal:
    """The journal of the app, as somebody else sees it."""
    told = json.loads((settings.data_dir_of("ledger") / "redis" / "server.json").read_text())
    return RedisJournal.from_url(f"redis://:{told['password']}@127.0.0.1:{told['port']}/0", app="ledger")


async def _revoked(journal: RedisJournal, host: object) -> bool:
    return await journal.revoke(host) is Revocation.REVOKED  # type: ignore[arg-type]


def _lines(file: Path) -> int:
    return len(file.read_text().splitlines())
