"""When the owner of an app on Ray counts as gone, in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from regrow.cluster.owner_lease import RENEWALS, OwnerLease
from regrow.runtime.testing import pass_time, virtual

if TYPE_CHECKING:
    from regrow.runtime.testing import VirtualLoop

TTL_S = 15.0
EVERY_S = TTL_S / RENEWALS


async def lives(lease: OwnerLease, *, for_s: float) -> None:
    """The owner renews its lease, until it dies."""
    for _ in range(round(for_s / EVERY_S)):
        await pass_time(EVERY_S)
        lease.renew()


@virtual
async def test_a_lease_lasts_as_long_as_its_owner_lives_and_its_time_more() -> None:
    loop = asyncio.get_running_loop()
    lease, begun_s = OwnerLease(TTL_S, clock=loop.time), loop.time()

    owner = asyncio.create_task(lives(lease, for_s=60.0))
    await lease.over()

    assert owner.done()
    assert 60.0 + TTL_S - EVERY_S <= loop.time() - begun_s <= 60.0 + TTL_S + 2 * EVERY_S
    assert lease.silence >= 1 - 1 / RENEWALS


@virtual
async def test_a_guardian_that_was_held_up_for_longer_than_the_lease_hears_first_what_came_meanwhile() -> None:
    loop: VirtualLoop = asyncio.get_running_loop()  # type: ignore[assignment] # `virtual` made it
    lease = OwnerLease(TTL_S, clock=loop.time)
    over = asyncio.create_task(lease.over())
    await lives(lease, for_s=3.0)

    loop.now_s += 4 * TTL_S  # as of a machine that sleeps
    await lives(lease, for_s=30.0)

    assert not over.done()
    over.cancel()
