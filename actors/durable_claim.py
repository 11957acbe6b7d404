"""How a life of a durable agent gets hold of it in the journal: nobody else may hold it from then on."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from regrow.actors.durable_errors import AgentHeld
from regrow.runtime.journal_answers import ClaimVerdict, Revocation
from regrow.runtime.journal_errors import JournalRefused, JournalUnknown
from regrow.runtime.journal_fit import check_epoch_not_behind, check_schema

if TYPE_CHECKING:
    from regrow.actors.durable_intake import DurableIntake
    from regrow.runtime.cell import Cell
    from regrow.runtime.durability import Durability
    from regrow.runtime.journal_answers import Claim
    from regrow.runtime.journal_entries import OperationId, Owner, Row

CLAIM_WITHIN_S = 30.0
"""How long a start waits until the process that held the agent is found dead."""
CLAIM_AGAIN_FIRST_S = 0.005
CLAIM_AGAIN_MAX_S = 0.5
"""Between two tries: a process that was killed is revoked within milliseconds, one that is away when its lease ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The agent's row, and who held it until now in a process that is dead; None where it was released."""

    row: Row
    dead: Owner | None


async def claimed(cell: Cell, durable: Durability, intake: DurableIntake, *, schema: int) -> Claimed:
    """Claims the agent for this process. A stop cuts that short: nothing has begun that it would have to wait for.

    Raises AgentHeld, SchemaNewer for a state above `schema`, and JournalRestored where the store has a lower epoch than
    this process has seen.
    """
    intake.claiming = asyncio.current_task()
    try:
        return await _claimed(cell, durable, intake, schema=schema)
    finally:
        intake.claiming = None


async def _claimed(cell: Cell, durable: Durability, intake: DurableIntake, *, schema: int) -> Claimed:
    agent, operation = cell.actor, durable.operation()
    deadline = cell.runtime.loop.time() + CLAIM_WITHIN_S
    row = await durable.surely(lambda: durable.journal.read(agent))
    check_epoch_not_behind(agent, row, seen=intake.seen_epoch)
    check_schema(agent, row, known=schema)
    pause_s = CLAIM_AGAIN_FIRST_S
    while True:
        await durable.wait_may_claim()
        previous = row.owner
        claim = await durable.surely(partial(_answered, cell, durable, intake, previous, operation))
        row = claim.row
        if claim.verdict is ClaimVerdict.CLAIMED:
            break
        if claim.verdict is ClaimVerdict.NOT_REVOKED and row.owner is not None:
            # Its supervisor wants it here, so that where the former host's lease is over it may be revoked.
            if await durable.surely(partial(durable.journal.revoke, row.owner.host)) is Revocation.REVOKED:
                continue  # whatever the time: the journal may have been away for most of it
        if cell.runtime.loop.time() > deadline:
            raise AgentHeld(
                f"{agent} is held by host {row.host} of the journal, which has not been found dead within "
                f"{CLAIM_WITHIN_S:g} s; is another app of this name running on the same Redis?"
            )
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, CLAIM_AGAIN_MAX_S)
    if row.deleted:
        raise AgentHeld(f"{agent} was deleted, and its id is never used again; give the child another id")
    return Claimed(row=row, dead=previous if previous is not None and previous.host != durable.host else None)


async def _answered(
    cell: Cell, durable: Durability, intake: DurableIntake, previous: Owner | None, operation: OperationId
) -> Claim:
    """The answer to one try to claim. A stop that comes before it leaves the agent as free as it was."""
    journal, agent = durable.journal, cell.actor
    trying = asyncio.ensure_future(journal.claim(agent, durable.host, previous=previous, operation=operation))
    try:
        return await asyncio.shield(trying)
    except asyncio.CancelledError:
        if cell.is_over:
            trying.cancel()
            raise
        # Cut here, nobody would know under which number this process has the agent, and so could not give it back.
        with suppress(JournalUnknown, JournalRefused):
            claim = await trying
            if claim.verdict is ClaimVerdict.CLAIMED:
                _ = cell.runtime.spawn_task(intake.release(claim.row.epoch))
        raise
