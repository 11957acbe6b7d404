"""How a life of a durable agent gets hold of it in the journal: nobody else may hold it from then on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from regrow.actors.durable_errors import AgentHeld
from regrow.runtime.journal_answers import ClaimVerdict, Revocation
from regrow.runtime.journal_errors import JournalRefused
from regrow.runtime.journal_fit import check_epoch_not_behind, check_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from regrow.actors.durable_intake import DurableIntake
    from regrow.runtime.address import ActorId
    from regrow.runtime.cell import Cell
    from regrow.runtime.durability import Durability
    from regrow.runtime.journal_answers import Claim
    from regrow.runtime.journal_entries import OperationId, Owner, Row

log = structlog.get_logger("regrow.durable")

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


async def claimed(
    cell: Cell, durable: Durability, intake: DurableIntake, *, schema: int, take_state: Callable[[Row], None]
) -> Claimed:
    """Claims the agent for this process. A stop cuts that short: nothing has begun that it would have to wait for.

    `take_state` is given the agent's row before anything is claimed, and again where that was not the last word on its
    state. As soon as the agent is claimed `intake` knows it, and gives it back when its cell goes, whatever fails then.

    Raises AgentHeld, SchemaNewer for a state above `schema`, JournalRestored where the store has a lower epoch than
    this process has seen, and what `take_state` raises.
    """
    intake.claiming = asyncio.current_task()
    try:
        agent = cell.actor
        row = await durable.surely(lambda: durable.journal.read(agent))
        check_epoch_not_behind(agent, row, seen=intake.seen_epoch)
        check_schema(agent, row, known=schema)
        _check_not_deleted(agent, row)
        take_state(row)
        claim = await _claimed(cell, durable, intake, row)
        intake.serves(claim.row.epoch)  # without a wait behind the claim, in which this life might end
    finally:
        intake.claiming = None
    _check_not_deleted(agent, claim.row)
    if claim.row.version != row.version:
        check_schema(agent, claim.row, known=schema)
        take_state(claim.row)
    return claim


async def _claimed(cell: Cell, durable: Durability, intake: DurableIntake, row: Row) -> Claimed:
    agent, operation = cell.actor, durable.operation()
    deadline = cell.runtime.loop.time() + CLAIM_WITHIN_S
    pause_s = CLAIM_AGAIN_FIRST_S
    while True:
        await durable.wait_may_claim()
        previous = row.owner
        claim = await _answered(cell, durable, intake, previous, operation)
        row = claim.row
        if claim.verdict is ClaimVerdict.CLAIMED:
            is_dead = previous.host is not None and previous.host != durable.host
            return Claimed(row=row, dead=previous if is_dead else None)
        if claim.verdict is ClaimVerdict.NOT_REVOKED and row.host is not None:
            # Its supervisor wants it here, so that where the former host's lease is over it may be revoked.
            if await durable.surely(partial(durable.journal.revoke, row.host)) is Revocation.REVOKED:
                continue  # whatever the time: the journal may have been away for most of it
        if cell.runtime.loop.time() > deadline:
            raise AgentHeld(
                f"{agent} is held by host {row.host} of the journal, which has not been found dead within "
                f"{CLAIM_WITHIN_S:g} s; is another app of this name running on the same Redis?"
            )
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, CLAIM_AGAIN_MAX_S)


async def _answered(
    cell: Cell, durable: Durability, intake: DurableIntake, previous: Owner, operation: OperationId
) -> Claim:
    """The answer to one try to claim. Where this life ends before it has come, what it claims is given back."""
    journal, agent = durable.journal, cell.actor
    trying = asyncio.ensure_future(
        durable.surely(lambda: journal.claim(agent, durable.host, previous=previous, operation=operation))
    )
    try:
        return await asyncio.shield(trying)
    except asyncio.CancelledError:
        if cell.runtime.closed:  # whoever ends the process makes its agents free
            trying.cancel()
        else:
            # Cut here, nobody would know under which epoch this process has the agent, and so could not give it back.
            _ = cell.runtime.spawn_task(_given_back(agent, intake, trying))
        raise


async def _given_back(agent: ActorId, intake: DurableIntake, trying: asyncio.Future[Claim]) -> None:
    """Waits for what became of a claim for which no life waits any more, and makes the agent free again."""
    try:
        claim = await trying
    except JournalRefused as refusal:
        log.warning("whether a start that was cut has claimed its agent is not known", agent=agent, reason=str(refusal))
        return
    if claim.verdict is ClaimVerdict.CLAIMED:
        await intake.release(claim.row.epoch)


def _check_not_deleted(agent: ActorId, row: Row) -> None:
    if row.deleted:
        raise AgentHeld(f"{agent} was deleted, and its id is never used again; give the child another id")
