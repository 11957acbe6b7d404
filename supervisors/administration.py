"""What an operator may do with the children of a supervisor, as in OTP.

`SupervisorBehavior` adds what its cell calls. Each call waits for its turn in the supervisor's mailbox,
so that it never meets a restart half done.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from regrow.runtime.context import CellContext
from regrow.runtime.errors import Misuse
from regrow.supervisors.children import Child, ChildRow, Life
from regrow.supervisors.errors import AlreadyPresent, AlreadyStarted, ChildRunning, UnfitChild
from regrow.supervisors.requests import ANY_LIFE, StartChild
from regrow.supervisors.restarts import Restarts
from regrow.supervisors.spec import ChildSpec, Restart
from regrow.supervisors.strategy import Status

ACTIVE = (Status.RUNNING, Status.RESTARTING)
"""What OTP calls running or restarting: the child is its supervisor's business, not the operator's."""


class Administration(Restarts):
    """What may be asked about the children of one supervisor in its own process."""

    async def get_childspec(self, id: str) -> ChildSpec:
        """The spec of a child. Raises NoSuchChild."""

        async def find() -> ChildSpec:
            return self._children.named(id).spec

        return await self._turn(find)

    async def start_child(self, spec: ChildSpec) -> ChildRow:
        """Adds a child, the last in start order, and starts it.

        Raises:
            AlreadyStarted: a child of that id runs.
            AlreadyPresent: a child of that id is there and does not run, or waits for its restart.
            FailedToStartChild: it did not start, and nothing is known of it any more.
            SpecError: this supervisor can not have such a child.
        """
        self._check_fits(spec)
        return await self._turn(partial(self._start_child, spec))

    async def stop_child(self, id: str) -> None:
        """Stops a child and returns when it is dead; also one that waits for its restart, or does not run.

        Only restart_child starts it again; a temporary one is removed. Raises NoSuchChild.
        """
        death = await self._turn(partial(self._stop_child, id))
        if death is not None:  # outside the turn: an unconfirmed death must not hold up the siblings
            await asyncio.wait((death,))

    async def restart_child(self, id: str) -> ChildRow:
        """Starts a child that does not run.

        Raises:
            NoSuchChild: there is no child of that id.
            ChildRunning: it runs, waits for its restart, or its last life is not certainly over.
            FailedToStartChild: it did not start, and is as it was.
        """
        return await self._turn(partial(self._restart_child, id))

    async def replace_child(self, id: str) -> ChildRow:
        """Ends the life of a child in order and starts the next in the same turn, so that its mailbox waits for it.

        One that does not run is started. No budget is charged. An addition to OTP, where stop and restart are
        two calls and what is queued is lost between them.

        Raises:
            NoSuchChild: there is no child of that id.
            ChildRunning: the death of its last life is not certain.
            FailedToStartChild: it did not start, and is stopped.
        """
        return await self._turn(partial(self._replace_child, id))

    async def delete_child(self, id: str) -> None:
        """Removes a child that does not run. Raises NoSuchChild, or ChildRunning as restart_child does."""
        await self._turn(partial(self._delete_child, id))

    # ---- in the supervisor's turn --------------------------------------------------------------

    def _wanted(self, message: StartChild, ctx: CellContext) -> ChildSpec:
        """The spec of a child that was asked for by message. Raises UnfitChild."""
        if not message.spec:
            raise UnfitChild(ctx.id, "it is no DynamicSupervisor, so a child of it needs a spec; give spec=child(…)")
        try:
            spec = ctx.runtime.courier.opened(message.spec)
            if not isinstance(spec, ChildSpec):
                raise UnfitChild(ctx.id, "who asked for a child waits no more")
            self._check_fits(spec)
        except Misuse as error:  # a SpecError among them
            raise UnfitChild(ctx.id, str(error)) from error
        return spec

    def _check_fits(self, spec: ChildSpec) -> None:
        replace(self._spec, children=(spec,))  # raises SpecError for what `Supervisor(children=…)` would refuse

    async def _start_child(self, spec: ChildSpec) -> ChildRow:
        supervisor = self._supervisor
        present = self._children.get(spec.id)
        if present is not None:
            raise (AlreadyStarted if present.status is Status.RUNNING else AlreadyPresent)(supervisor, spec.id)
        child = self._children.add(spec)
        try:
            return await self._start_by_order(child)
        finally:
            if child.life is Life.NONE and child.status is not Status.RUNNING:
                self._remove(child)  # also where the start was cut short, of which nobody else will know

    async def _stop_child(self, id: str, incarnation: int = ANY_LIFE) -> asyncio.Future[None] | None:
        """Returns the death to wait for: of this life, since another may follow before the caller looks."""
        child = self._children.named(id)
        if incarnation not in (ANY_LIFE, child.last_up):
            return None
        self._take_retry_back(id)
        await self._lives.end(child)
        self._intensity.forgotten(id)
        if child.spec.restart is Restart.TEMPORARY:
            self._remove(child)
        else:
            self._set_aside(child, Status.STOPPED)
        return child.death

    async def _restart_child(self, id: str) -> ChildRow:
        return await self._start_by_order(self._inactive(id))

    async def _replace_child(self, id: str) -> ChildRow:
        child = self._children.named(id)
        self._take_retry_back(id)
        await self._lives.end(child)
        self._intensity.forgotten(id)
        child.status = Status.STOPPED
        if child.life is not Life.NONE:
            raise ChildRunning(self._supervisor, id)
        return await self._start_by_order(child)

    async def _delete_child(self, id: str) -> None:
        self._remove(self._inactive(id))
        self._intensity.forgotten(id)

    def _inactive(self, id: str) -> Child:
        child = self._children.named(id)
        if child.status in ACTIVE or child.life is not Life.NONE:
            raise ChildRunning(self._supervisor, id)
        return child
