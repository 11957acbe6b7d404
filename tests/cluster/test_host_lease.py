"""The lease of a process: renewed while it can be, and over for a reason."""

from __future__ import annotations

import asyncio

from regrow.cluster.host_lease import LEASE_TTL_S, RENEW_EVERY_S, LeaseEnd, keep_lease
from regrow.runtime.durability import PARK_AFTER_S
from regrow.runtime.errors import Bug
from regrow.runtime.journal_entries import HostEpoch
from regrow.runtime.journal_errors import JournalRefused, JournalRestored, JournalUnknown
from regrow.runtime.memory_journal import MemoryJournal
from tests.supervisors.stage import pass_time, virtual


class Store(MemoryJournal):
    """A journal that can be away, or refuse."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(now_ms=lambda: int(loop.time() * 1000))
        self.error: Exception | None = None

    async def renew(self, host: HostEpoch, *, ttl_ms: int) -> bool:
        if self.error is not None:
            raise self.error
        return await super().renew(host, ttl_ms=ttl_ms)


class Holder:
    """A process with a lease, and what it has heard of it."""

    def __init__(self, store: Store, host: HostEpoch) -> None:
        self.renewals: list[float] = []
        self.refusals: list[JournalRefused] = []
        self._loop = asyncio.get_running_loop()
        self.guardian_heard_s = self._loop.time()
        self.host = host
        self.end = asyncio.create_task(
            keep_lease(
                store,
                host,
                renewed=self.renewals.append,
                refused=self.refusals.append,
                guardian_silent_s=lambda: self._loop.time() - self.guardian_heard_s,
            )
        )

    @classmethod
    async def on(cls, store: Store) -> Holder:
        return cls(store, await store.new_host_epoch())


@virtual
async def test_a_lease_is_renewed_twice_before_turns_would_be_parked() -> None:
    began_s = asyncio.get_running_loop().time()
    holder = await Holder.on(Store())

    await pass_time(PARK_AFTER_S - 0.1)

    assert holder.renewals == [began_s, began_s + RENEW_EVERY_S]
    holder.end.cancel()


@virtual
async def test_a_process_that_was_revoked_learns_it_at_its_next_renewal() -> None:
    store = Store()
    holder = await Holder.on(store)
    await pass_time(1)

    await store.revoke(holder.host, reaped=True)

    assert await asyncio.wait_for(holder.end, RENEW_EVERY_S) is LeaseEnd.REVOKED


@virtual
async def test_a_store_that_is_away_ends_nobody_whose_guardian_is_heard() -> None:
    store = Store()
    holder = await Holder.on(store)
    store.error = JournalUnknown("the connection was cut")
    for _ in range(120):
        holder.guardian_heard_s = asyncio.get_running_loop().time()
        await pass_time(1)
    assert not holder.end.done()

    before = len(holder.renewals)
    store.error = None
    await pass_time(1)

    assert len(holder.renewals) == before + 1
    holder.end.cancel()


@virtual
async def test_a_process_that_hears_neither_store_nor_guardian_for_the_time_of_a_lease_ends() -> None:
    store = Store()
    holder = await Holder.on(store)
    await pass_time(RENEW_EVERY_S / 2)
    store.error = JournalUnknown("the connection was cut")

    await pass_time(LEASE_TTL_S)
    assert not holder.end.done()

    assert await asyncio.wait_for(holder.end, RENEW_EVERY_S) is LeaseEnd.CUT_OFF


@virtual
async def test_a_process_that_was_stopped_itself_tries_again_before_it_ends() -> None:
    store = Store()
    holder = await Holder.on(store)
    await pass_time(RENEW_EVERY_S / 2)
    holder.guardian_heard_s -= 1_000  # as after a pause: nothing was heard for long
    store.error = JournalUnknown("the connection was cut meanwhile")
    await pass_time(RENEW_EVERY_S)

    store.error = None
    await pass_time(1)

    assert len(holder.renewals) == 2
    holder.end.cancel()


@virtual
async def test_what_the_store_refuses_is_told() -> None:
    store = Store()
    holder = await Holder.on(store)
    store.error = JournalRestored("it was wiped")

    await pass_time(RENEW_EVERY_S)

    assert [str(refusal) for refusal in holder.refusals][:1] == ["it was wiped"]
    holder.end.cancel()


@virtual
async def test_an_answer_that_nobody_knows_ends_no_lease() -> None:
    store = Store()
    holder = await Holder.on(store)
    await pass_time(0.1)

    store.error = Bug("the server said: script killed by user")
    await pass_time(RENEW_EVERY_S)
    store.error = None
    await pass_time(RENEW_EVERY_S)

    assert not holder.end.done() and len(holder.renewals) > 1
    holder.end.cancel()
