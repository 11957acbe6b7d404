"""Who holds an agent: leases, tombstones, claims and the fence of the epoch, over every journal."""

from __future__ import annotations

from regrow.runtime.journal_answers import ClaimVerdict, Revocation
from regrow.runtime.journal_entries import NEVER_CLAIMED, Epoch, Owner, Row
from tests.conformance.journals import CLERK, FAR_MS, Stand

SHORT_MS = 30


async def test_each_life_of_a_host_has_a_higher_epoch(stand: Stand) -> None:
    drawn = [await stand.journal.new_host_epoch() for _ in range(3)]

    assert drawn == sorted(set(drawn))


async def test_a_lease_that_holds_keeps_its_host_from_being_revoked(stand: Stand) -> None:
    host = await stand.host()

    assert await stand.journal.revoke(host) is Revocation.LEASE_HELD
    assert not await stand.journal.revoked(host)


async def test_a_lease_ends_by_the_clock_of_the_store(stand: Stand) -> None:
    host = await stand.host()
    assert await stand.journal.renew(host, ttl_ms=SHORT_MS)

    await stand.elapse(SHORT_MS)

    assert await stand.journal.revoke(host) is Revocation.REVOKED


async def test_a_reaped_host_is_revoked_without_waiting_for_its_lease(stand: Stand) -> None:
    host = await stand.host()

    assert await stand.journal.revoke(host, reaped=True) is Revocation.REVOKED


async def test_a_revoked_host_never_renews_again(stand: Stand) -> None:
    host = await stand.host()
    await stand.journal.revoke(host, reaped=True)

    renewed = [await stand.journal.renew(host, ttl_ms=FAR_MS) for _ in range(2)]

    assert renewed == [False, False]
    assert await stand.journal.revoke(host) is Revocation.REVOKED


async def test_an_agent_that_never_was_has_an_empty_row(stand: Stand) -> None:
    row = await stand.journal.read(CLERK)

    assert row == Row(epoch=Epoch(0), version=0, schema=0, state=None, host=None, deleted=False)
    assert row.owner == NEVER_CLAIMED


async def test_a_claim_gives_the_next_epoch(stand: Stand) -> None:
    first = await stand.hold()
    second = await stand.hold(host=first.host, previous=first.owner)

    assert (first.epoch, second.epoch) == (1, 2)


async def test_of_two_that_claim_the_second_learns_who_won(stand: Stand) -> None:
    winner, loser = await stand.hold(), await stand.host()

    claim = await stand.journal.claim(CLERK, loser, previous=NEVER_CLAIMED, operation=stand.operation())

    assert (claim.verdict, claim.row.owner) == (ClaimVerdict.HELD, winner.owner)


async def test_an_agent_is_not_taken_from_a_host_that_is_not_revoked(stand: Stand) -> None:
    old, host = await stand.hold(), await stand.host()

    refused = await stand.journal.claim(CLERK, host, previous=old.owner, operation=stand.operation())
    await stand.journal.revoke(old.host, reaped=True)
    taken = await stand.journal.claim(CLERK, host, previous=old.owner, operation=stand.operation())

    assert refused.verdict is ClaimVerdict.NOT_REVOKED
    assert (taken.verdict, taken.row.epoch) == (ClaimVerdict.CLAIMED, old.epoch + 1)


async def test_a_claim_that_is_repeated_gives_the_same_epoch(stand: Stand) -> None:
    host, operation = await stand.host(), stand.operation()

    claims = [await stand.journal.claim(CLERK, host, previous=NEVER_CLAIMED, operation=operation) for _ in range(2)]

    assert claims[0] == claims[1]
    assert claims[0].row.epoch == 1


async def test_a_claim_that_comes_late_does_not_end_the_life_that_followed(stand: Stand) -> None:
    first = await stand.hold()
    second = await stand.hold(host=first.host, previous=first.owner)

    late = await stand.journal.claim(CLERK, first.host, previous=first.owner, operation=stand.operation())

    assert (late.verdict, late.row.owner) == (ClaimVerdict.HELD, second.owner)


async def test_a_claim_that_comes_late_does_not_take_what_was_given_back_since(stand: Stand) -> None:
    host, operation = await stand.host(), stand.operation()
    claim = await stand.journal.claim(CLERK, host, previous=NEVER_CLAIMED, operation=operation)
    await stand.journal.release(CLERK, claim.row.epoch)

    late = await stand.journal.claim(CLERK, host, previous=NEVER_CLAIMED, operation=operation)

    assert (late.verdict, late.row.owner) == (ClaimVerdict.HELD, Owner(host=None, epoch=claim.row.epoch))


async def test_whoever_has_read_that_an_agent_was_given_back_may_claim_it(stand: Stand) -> None:
    first, host = await stand.hold(), await stand.host()
    await stand.journal.release(CLERK, first.epoch)
    free = (await stand.journal.read(CLERK)).owner

    claim = await stand.journal.claim(CLERK, host, previous=free, operation=stand.operation())

    assert (claim.verdict, claim.row.epoch) == (ClaimVerdict.CLAIMED, first.epoch + 1)


async def test_a_released_agent_is_free_for_all_and_its_epoch_still_grows(stand: Stand) -> None:
    first = await stand.hold()

    released = [await stand.journal.release(CLERK, first.epoch) for _ in range(2)]
    second = await stand.hold()

    assert released == [True, True]
    assert second.epoch == first.epoch + 1
    assert not await stand.journal.release(CLERK, first.epoch)


async def test_who_released_an_agent_writes_no_more(stand: Stand) -> None:
    holder = await stand.hold()
    await holder.receive()

    await stand.journal.release(CLERK, holder.epoch)

    assert (await stand.journal.take(CLERK, holder.epoch)).messages is None
