"""What a person does to one agent of a running app: kill it, or have its supervisor start it anew.

Runs in the process that holds the supervisors. The supervisor itself does all the work: a kill is
noticed by it as any death is, and an ordered restart waits for its turn there. Whoever asked may
give up waiting; what was begun goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog

from regrow.cluster.deeds import Deed, Life, Replaced
from regrow.cluster.errors import NoSuchAgent
from regrow.cluster.roots import Roots, parent_id
from regrow.runtime import ActorId, Incarnation, KillOutcome, Misuse, Refused, TooLate, WorldBroke
from regrow.supervisors.children import ChildRow
from regrow.supervisors.dynamic import DynamicSupervisorBehavior
from regrow.supervisors.spec import Restart
from regrow.supervisors.supervisor import SupervisorOfAnySort

if TYPE_CHECKING:
    from regrow.cluster.incidents import Incidents

log = structlog.get_logger("regrow.operator")

LOOK_S = 0.05
"""Between two looks at a child that nothing is reported of: most of what happens to it is reported."""


BEGUN_LIMIT = 100
"""How many orders may be under way: one for an agent whose death can not be confirmed never ends."""

KILLED_BY_PERSON = "killed by order of a person"
"""What its askers and watchers are told of an agent that was killed so."""

LIVING = ("running", "starting", "unconfirmed")
"""The states of a child of which there is, or may be, a life."""


class Operations:
    """Carries out what is asked of one app."""

    def __init__(self, roots: Roots, incidents: Incidents | None = None) -> None:
        self._roots = roots
        self._incidents = incidents
        self._begun: set[asyncio.Task[None]] = set()

    async def carry_out(self, deed: Deed, actor: ActorId, *, timeout_s: float) -> Replaced:
        """Kills or restarts an agent or supervisor, and says what became of it.

        Raises:
            NoSuchAgent: the app has nobody of that id.
            Misuse: nobody supervises it, or it can not be restarted by order.
            FailedToStartChild: it was stopped and did not start; it stays stopped.
            Refused: too many orders are under way.
            TooLate: it is not over in time; what was begun goes on.
            WorldBroke: a kill could not be confirmed.
        """
        supervisor, row = self._find(actor)
        if len(self._begun) >= BEGUN_LIMIT:
            raise Refused(f"{len(self._begun)} orders of this app are not done yet; wait for one of them")
        log.warning("ordered by a person", order=deed.value, agent=actor, incarnation=row.incarnation)
        if self._incidents is not None:
            self._incidents.ordered(deed.value, actor)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        work = loop.create_task(self._kill(row) if deed is Deed.KILL else self._restart(supervisor, row))
        self._begun.add(work)
        work.add_done_callback(self._done)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(work)  # a restart cut short would leave the agent stopped
                state, after, why = await self._settled(row)
        except TimeoutError:
            now = self._roots.row(actor)
            state = now.state if now is not None else "not there"
            raise TooLate(
                f"{actor} is {state} after {timeout_s:g} s and the {deed.value} goes on; follow it with: "
                f"regrow ps {self._roots.app} --watch"
            ) from None
        before = _life(row) if row.state in LIVING else None
        took_s = loop.time() - began_s
        return Replaced(agent=row.actor, deed=deed, before=before, after=after, state=state, took_s=took_s, why=why)

    # ---- the two deeds -------------------------------------------------------------------------

    async def _kill(self, row: ChildRow) -> None:
        if row.state not in LIVING:
            raise Misuse(
                f"{row.actor} does not run (it is {row.state}), so there is nothing to kill; "
                f"start it with: regrow restart {row.actor}"
            )
        outcome = await self._roots.starter.kill(ActorId(row.actor), Incarnation(row.incarnation), KILLED_BY_PERSON)
        if outcome is KillOutcome.UNCONFIRMED:
            raise WorldBroke(
                f"{row.actor} was told to die and its host can not confirm it, so it is not started again; "
                f"look at process {row.pid or '(unknown)'} on its machine"
            )

    async def _restart(self, supervisor: SupervisorOfAnySort, row: ChildRow) -> None:
        if isinstance(supervisor, DynamicSupervisorBehavior):
            raise Misuse(
                f"{row.actor} is a child of a DynamicSupervisor: stopped, it is gone for good; kill it instead, "
                f"and it starts again if it is permanent or transient: regrow kill {row.actor}"
            )
        if row.restart is Restart.TEMPORARY:
            raise Misuse(
                f"{row.actor} is temporary: stopped, it is gone for good and nobody starts it again; "
                "kill it, or start another one"
            )
        await supervisor.replace_child(row.id)

    async def _settled(self, row: ChildRow) -> tuple[str, Life | None, str]:
        """Waits until a later life runs, or none can come."""
        while True:
            if self._roots.ended.done():
                return "app_ended", None, str(self._roots.ended.result())
            now = self._roots.row(ActorId(row.actor))
            if now is None and self._roots.runs(parent_id(ActorId(row.actor))):
                is_temporary = row.restart is Restart.TEMPORARY
                return "gone", None, "it is temporary" if is_temporary else "somebody has removed it meanwhile"
            if now is not None and now.incarnation > row.incarnation and now.state == "running":
                return "running", _life(now), ""
            if now is not None and now.state in ("finished", "stopped"):
                return now.state, None, now.last_reason
            await self._roots.reports.wait_next(LOOK_S)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._begun.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Also when nobody waits for it any more.
            log.warning("an order of a person failed", error=str(error))

    # ---- who is meant --------------------------------------------------------------------------

    def _find(self, actor: ActorId) -> tuple[SupervisorOfAnySort, ChildRow]:
        row = self._roots.row(actor)
        supervisor = self._roots.supervisor(parent_id(actor))
        if row is not None and supervisor is not None:
            return supervisor, row
        if self._roots.supervisor(actor) is not None:
            raise Misuse(
                f"{actor} is the root, which nobody supervises; end the app with: regrow stop {self._roots.app}"
            )
        known = list(self._known())
        spawned_by = next((each for each in known if actor.startswith(f"{each}/") and not self._supervises(each)), None)
        raise NoSuchAgent(self._roots.app, actor, known=known, spawned_by=spawned_by)

    def _supervises(self, actor: str) -> bool:
        return self._roots.supervisor(ActorId(actor)) is not None

    def _known(self) -> Iterator[str]:
        for row in self._roots.rows():
            yield row.actor


def _life(row: ChildRow) -> Life:
    return Life(incarnation=row.incarnation, pid=row.pid or 0)
