"""The guardian's hand on the journal, on a real Redis: numbers, deaths, and a store that has gone back."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis import Redis

from regrow.cluster import journal_owner
from regrow.cluster.config import HistorySettings, RedisSettings
from regrow.cluster.errors import RedisUnavailable
from regrow.cluster.high_water import HighWater
from regrow.cluster.journal_owner import STOCK, WRITTEN_WITHIN_S, JournalOwner
from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime.durability import LEASE_TTL_MS
from regrow.runtime.journal_answers import Revocation
from regrow.runtime.journal_entries import HostEpoch
from regrow.runtime.journal_errors import JournalRestored
from tests.conformance.redis_servers import embedded_program, started
from tests.integration.waiting import PATIENCE_S

pytestmark = [pytest.mark.redis, pytest.mark.slow]

SHORT_TTL_MS = 300
LIVES_ON_LIMIT_S = 30.0
A_WHILE_S = 0.5


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server of this test's own."""
    with started(embedded_program(), tmp_path / "redis", "port 0"):
        yield f"unix://{tmp_path}/redis/redis.sock"


@asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[JournalOwner]:
    owner = JournalOwner(
        "desk", folder, RedisSettings(), HistorySettings(), is_durable=lambda actor: actor == "desk/clerk"
    )
    try:
        await owner.open(url)
        yield owner
    finally:
        await owner.aclose()


@asynccontextmanager
async def journal_at(url: str) -> AsyncIterator[RedisJournal]:
    journal = RedisJournal.from_url(url, app="desk")
    try:
        yield journal
    finally:
        await journal.aclose()


async def test_each_host_gets_a_number_of_its_own(url: str, tmp_path: Path) -> None:
    async with opened(url, tmp_path) as owner:
        epochs = [(await owner.order()).epoch for _ in range(3 * STOCK)]

    assert epochs == sorted(set(epochs))


async def test_an_owner_gives_its_own_lease_back_when_it_lets_go(url: str, tmp_path: Path) -> None:
    with Redis.from_url(url) as client:
        async with opened(url, tmp_path):
            assert list(client.scan_iter(match="*:lease:*"))

        assert list(client.scan_iter(match="*:lease:*")) == []


async def test_a_host_whose_process_is_gone_is_revoked_though_its_lease_holds(url: str, tmp_path: Path) -> None:
    async with opened(url, tmp_path) as owner, journal_at(url) as journal:
        host = HostEpoch((await owner.order()).epoch)
        await owner.joined(host, os.getpid())
        await journal.renew(host, ttl_ms=LEASE_TTL_MS)

        was_revoked = await owner.bury(host, reaped=True)

        assert not was_revoked
        assert await journal.revoked(host)
    assert not (tmp_path / "journal" / "desk.hosts").exists()


async def test_a_host_that_nobody_has_seen_gone_is_not_revoked_while_its_lease_holds(url: str, tmp_path: Path) -> None:
    async with opened(url, tmp_path) as owner, journal_at(url) as journal:
        host = HostEpoch((await owner.order()).epoch)
        await journal.renew(host, ttl_ms=LEASE_TTL_MS)

        await owner.bury(host, reaped=False)

        assert not await journal.revoked(host)


async def test_a_host_that_was_found_dead_and_lives_on_gets_its_lease_no_more_and_is_revoked_when_that_ends(
    url: str, tmp_path: Path
) -> None:
    async with opened(url, tmp_path) as owner, journal_at(url) as journal:
        host = HostEpoch((await owner.order()).epoch)
        await journal.renew(host, ttl_ms=SHORT_TTL_MS)

        async def lives_on() -> None:
            while await journal.renew(host, ttl_ms=SHORT_TTL_MS):
                pass

        async with asyncio.timeout(LIVES_ON_LIMIT_S):
            _, was_revoked = await asyncio.gather(lives_on(), owner.bury(host, reaped=False))
            while not await journal.revoked(host):
                pass

        assert not was_revoked


async def test_a_host_that_died_since_it_was_revoked_is_told_from_others(url: str, tmp_path: Path) -> None:
    async with opened(url, tmp_path) as owner, journal_at(url) as journal:
        host = HostEpoch((await owner.order()).epoch)
        await journal.revoke(host)

        assert await owner.bury(host, reaped=True)


async def test_a_host_that_was_not_revoked_is_not_told_as_if_it_were_where_the_store_has_lost_its_scripts(
    url: str, tmp_path: Path
) -> None:
    async with opened(url, tmp_path) as owner:
        host = HostEpoch((await owner.order()).epoch)
        assert not await owner.journal.revoked(host)
        with Redis.from_url(url) as admin:
            admin.script_flush()

        was_revoked = await owner.bury(host, reaped=True)

        assert not was_revoked
        assert await owner.journal.revoked(host)


async def test_a_new_life_of_the_guardian_revokes_the_dead_hosts_of_the_one_before(url: str, tmp_path: Path) -> None:
    async with opened(url, tmp_path) as owner, journal_at(url) as journal:
        dead, living = [HostEpoch((await owner.order()).epoch) for _ in range(2)]
        for host in (dead, living):
            await owner.joined(host, os.getpid())
            await journal.renew(host, ttl_ms=LEASE_TTL_MS)
    file = tmp_path / "journal" / "desk.hosts"
    noted = json.loads(file.read_text())
    noted[str(dead)][1] = "1"  # when another process of its number was started
    file.write_text(json.dumps(noted))

    async with opened(url, tmp_path), journal_at(url) as journal:
        assert await journal.revoked(dead)
        assert await journal.revoke(living) is Revocation.LEASE_HELD

    assert list(json.loads(file.read_text())) == [str(living)]


async def test_a_store_that_was_wiped_is_refused_by_the_next_start(url: str, tmp_path: Path) -> None:
    async with opened(url, tmp_path):
        pass  # its own lease has raised the mark
    with Redis.from_url(url) as admin:
        admin.flushall()

    with pytest.raises(JournalRestored, match=r"desk.water and start anew"):
        async with opened(url, tmp_path):
            pass


async def test_a_host_that_is_made_after_a_store_was_wiped_refuses_it(url: str, tmp_path: Path) -> None:
    async with opened(url, tmp_path) as owner:
        await owner.order()  # more numbers are drawn with its own, for hosts that are made while Redis is away
        with Redis.from_url(url) as admin:
            admin.flushall()
        order = await owner.order()
        journal = RedisJournal.from_url(url, app="desk", water=HighWater(seen=order.mark))

        with pytest.raises(JournalRestored):
            await journal.renew(HostEpoch(order.epoch), ttl_ms=LEASE_TTL_MS)

        await journal.aclose()


async def test_a_folder_that_can_not_be_written_is_named(url: str, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()

    with pytest.raises(RedisUnavailable, match=r"taken/journal can not be written .* set another data_dir"):
        async with opened(url, tmp_path / "taken"):
            pass


async def test_only_deaths_of_hosts_with_durable_agents_wait(url: str, tmp_path: Path) -> None:
    async with opened(url, tmp_path) as owner:
        assert owner.holds_any(["desk/plain", "desk/clerk"])  # type: ignore[list-item]
        assert not owner.holds_any(["desk/plain"])  # type: ignore[list-item]


@asynccontextmanager
async def disk_that_hangs(file: Path) -> AsyncIterator[None]:
    """Whoever writes that file waits until this is left."""
    draft = file.with_name(f"{file.name}.new")
    os.mkfifo(draft)  # to be opened for writing, it waits for somebody who reads
    try:
        yield
    finally:
        reader = os.open(draft, os.O_RDONLY | os.O_NONBLOCK)
        draft.unlink()
        os.close(reader)


async def renewed(owner: JournalOwner) -> None:
    """The mark rises, and its write comes to where it hangs; who has asked for it goes."""
    renewing = asyncio.create_task(owner.journal.renew(await owner.journal.new_host_epoch(), ttl_ms=LEASE_TTL_MS))
    for _ in range(1_500):
        if not await owner.is_written(within_s=0.0):
            break
        await asyncio.wait([renewing], timeout=0.02)
    assert not renewing.done()
    renewing.cancel()


async def noted(owner: JournalOwner) -> None:
    """A host is noted, and that hangs."""
    noting = asyncio.ensure_future(owner.joined(1, os.getpid()))
    noting.add_done_callback(lambda ended: ended.exception())  # what is no file can not be forced to the disk
    await asyncio.sleep(0)


@pytest.mark.parametrize(("file", "write"), [("desk.water", renewed), ("desk.hosts", noted)])
async def test_an_owner_that_lets_go_leaves_no_write_behind_that_a_second_one_would_meet(
    url: str,
    tmp_path: Path,
    file: str,
    write: Callable[[JournalOwner], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_owner, "WRITTEN_WITHIN_S", 2 * PATIENCE_S)  # so that it ends for no other reason
    async with opened(url, tmp_path) as owner:
        async with disk_that_hangs(tmp_path / "journal" / file):
            await write(owner)
            closing = asyncio.create_task(owner.aclose())
            ended, _ = await asyncio.wait([closing], timeout=A_WHILE_S)
            assert not ended
        ended, _ = await asyncio.wait([closing], timeout=PATIENCE_S)

        assert ended


@pytest.mark.parametrize(("file", "write"), [("desk.water", renewed), ("desk.hosts", noted)])
async def test_a_disk_that_hangs_holds_up_no_owner_that_lets_go_and_is_named_by_the_next_start(
    url: str, tmp_path: Path, file: str, write: Callable[[JournalOwner], Awaitable[None]]
) -> None:
    async with opened(url, tmp_path) as owner:
        async with disk_that_hangs(tmp_path / "journal" / file):
            await write(owner)
            await asyncio.wait_for(owner.aclose(), WRITTEN_WITHIN_S + PATIENCE_S)
            with pytest.raises(RedisUnavailable, match=r"journal has not taken a note for 2 s and more"):
                await owner.open(url)
        await owner.aclose()

        await owner.open(url)
