"""Finds the receiver of an envelope and hands it over: to a cell here, or to the link of a host.

Whatever the way, the envelope is settled exactly once: `on_settled` is told the outcome, or where
nobody listens a failed delivery becomes a dead letter. Identity is checked here, before anything
else happens (design decision 11).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from regrow.runtime.address import ActorId, HostId, Incarnation
from regrow.runtime.asks import Asks
from regrow.runtime.bonds import exits_of, kind_of
from regrow.runtime.cell import Cell
from regrow.runtime.command_ids import new_command_id
from regrow.runtime.dead_letters import DeadLetters
from regrow.runtime.envelope import ANSWERS, Envelope, Kind, Origin
from regrow.runtime.errors import NotAllowed, RegrowError
from regrow.runtime.lifecycle import Down, NoProc
from regrow.runtime.mailbox import Waiting
from regrow.runtime.outcome import Outcome
from regrow.runtime.registry import REGISTRY
from regrow.runtime.signals import AskedInStop, NewMail, Tie, Unwatch, Watch, act_on
from regrow.runtime.tells import Settling
from regrow.runtime.wire_forms import check as check_travels

MAX_REROUTES = 3
"""How often one envelope is sent after an actor that moved before it counts as not found."""
LOCATE_AGAIN_S = 0.02
"""Between two looks for an actor that is said to be in a host which is known here to be dead."""
MAX_STALE_ANSWERS = 250
"""How many such answers are waited out, five seconds in all, before they count."""
MAX_RESOLVING = 10_000
"""How many envelopes may wait for one receiver to be found; later ones are refused."""


class Directory(Protocol):
    """Knows on which host an actor lives."""

    def host_of(self, actor: ActorId) -> HostId | None:
        """What is known now, without asking anybody."""
        ...

    async def locate(self, actor: ActorId) -> HostId | None:
        """Finds the host; waits while the actor restarts, starts it if it starts on demand. None: no such actor."""
        ...

    def forget(self, actor: ActorId) -> None:
        """What was known of this actor proved wrong."""
        ...

    def host_died(self, host: HostId) -> list[ActorId]:
        """A host is gone; returns the actors that were known to be there."""
        ...


class Carrier(Protocol):
    """Carries envelopes to other hosts. `runtime.peers` is the one implementation; links do the work."""

    def send(self, host: HostId, envelope: Envelope) -> None:
        """Sends without waiting; the outcome is told to `Delivery.settle`."""
        ...

    def send_nowait(self, host: HostId, envelope: Envelope) -> bool:
        """Sends, unless as much is on its way to that host, or to that actor there, as may be."""
        ...

    def is_dead(self, host: HostId) -> bool:
        """True when that host is known here to have died."""
        ...

    def is_lost(self, envelope: Envelope) -> bool:
        """True when the envelope is on its way to a host with which contact is lost."""
        ...


class Delivery:
    """Routes envelopes for one process."""

    def __init__(
        self,
        host: HostId,
        cells: dict[ActorId, Cell],
        directory: Directory,
        dead: DeadLetters,
        refused: Callable[[Envelope, RegrowError], None],
    ) -> None:
        self.host = host
        self.directory = directory
        self.carrier: Carrier | None = None
        self.life_is_over: Callable[[ActorId, Incarnation], Awaitable[bool]] | None = None
        """Asks whoever knows whether a life is over, where that is not known here."""
        self.is_durable: Callable[[ActorId], bool] | None = None
        """Says which agents store what they accept; None in an app that has none."""
        self.new_command: Callable[[], str] = new_command_id
        self._cells = cells
        self._dead = dead
        self._refused = refused
        self.resolving: dict[ActorId, dict[int, Envelope]] = {}
        """What waits for its receiver to be found, by its id; what is sent there later waits behind it."""
        self._bounced: dict[ActorId, dict[int, Envelope]] = {}
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def check(self, envelope: Envelope) -> None:
        """Raises NotAllowed when the sender's capability does not reach the receiver, and InvalidMessage
        when the message holds a value that can not leave this process and the receiver is elsewhere."""
        if envelope.receiver not in self._cells:
            check_travels(envelope.message)
        origin = envelope.origin
        if origin.capability is not None and not origin.permits(envelope.receiver) and not _asks_for_names(envelope):
            raise NotAllowed(
                f"{origin.principal or 'the caller'} may address {', '.join(origin.capability) or 'nothing'}, "
                f"and {envelope.receiver} is outside of that"
            )

    def permits(self, envelope: Envelope) -> bool:
        """Checks an envelope that came from another process; what may not come is counted and refused."""
        try:
            self.check(envelope)
        except NotAllowed as refusal:
            self._refused(envelope, refusal)
            return False
        return True

    def send(self, envelope: Envelope) -> None:
        """Routes one envelope; never waits."""
        if self.resolving and envelope.receiver in self.resolving:
            self._resolve(envelope)
            return
        cell = self._cells.get(envelope.receiver)
        if cell is not None:
            outcome = self.arrive(cell, envelope)
            if outcome is Outcome.FULL:
                self._wait_for_room(cell, envelope)
            elif outcome is not Outcome.HELD:
                self.settle(envelope, outcome)
            return
        host = self.directory.host_of(envelope.receiver)
        if host is None or host == self.host or self.carrier is None:
            self._resolve(envelope)
        else:
            self._name_command(envelope)
            self.carrier.send(host, envelope)

    def send_nowait(self, envelope: Envelope) -> bool:
        """Routes one envelope to an actor elsewhere; False when as much as may be is on its way to it."""
        host = self.directory.host_of(envelope.receiver)
        if host is None or host == self.host or self.carrier is None or envelope.receiver in self.resolving:
            self._resolve(envelope)
            return True
        self._name_command(envelope)
        return self.carrier.send_nowait(host, envelope)

    def keeps(self, envelope: Envelope) -> bool:
        """True for a message to an agent that stores what it accepts: it may be sent again under its id."""
        return self.is_durable is not None and envelope.kind <= Kind.ASK and self.is_durable(envelope.receiver)

    def may_send_again(self, envelope: Envelope, asks: Asks) -> bool:
        """The same, unless parts of its answer have come: another run would double them or leave some out."""
        return self.keeps(envelope) and not (envelope.kind == Kind.ASK and asks.has_begun(envelope.ask_id))

    def send_again(self, envelope: Envelope, *, may_have_run: bool = False) -> None:
        """Sends a message of which nobody knows whether it was stored; under its id it is, once.

        What its receiver does not store is not run again where it `may_have_run` in a process that died meanwhile.
        """
        envelope.mark, envelope.reroutes = None, 0
        envelope.may_have_run |= may_have_run
        self.directory.forget(envelope.receiver)
        self.send(envelope)

    def _name_command(self, envelope: Envelope) -> None:
        if envelope.command_id is None and self.keeps(envelope):
            envelope.command_id = self.new_command()

    def arrive(self, cell: Cell, envelope: Envelope) -> Outcome:
        """Hands an envelope to a cell of this host."""
        if envelope.incarnation is not None:
            # A message to a life that is over fails now and does not wait for the next one, which it is not meant for.
            if envelope.incarnation != cell.incarnation or (cell.is_over and envelope.kind <= Kind.ASK):
                return Outcome.NOT_HERE
        if envelope.kind == Kind.SIGNAL:
            if isinstance(envelope.message, NewMail):
                if cell.intake is not None:  # between two lives as well: it stays with the cell
                    cell.intake.look()
            elif cell.behavior is None and not isinstance(envelope.message, AskedInStop):
                self._not_found(envelope)  # between two lives there is nobody to watch, link with or stop
            else:
                act_on(cell, envelope.message)
            return Outcome.TAKEN
        return cell.offer(envelope)

    def settle(self, envelope: Envelope, outcome: Outcome) -> None:
        """Tells the sender's side what became of the envelope; tries elsewhere if the actor moved."""
        if outcome is Outcome.NOT_HERE and self._try_elsewhere(envelope):
            return
        envelope.holder = None
        if envelope.on_settled is not None:
            settled, envelope.on_settled = envelope.on_settled, None
            settled(outcome)
        elif outcome is Outcome.NOT_HERE:
            self._not_found(envelope)
        elif outcome is not Outcome.TAKEN:
            self.dead(envelope, outcome)

    def dead(self, envelope: Envelope, outcome: Outcome) -> None:
        """Counts an envelope that nobody took; signals and notices are no letters."""
        if envelope.kind <= Kind.FAILURE:
            self._dead.add(envelope, _DEAD_LETTER_REASONS[outcome])

    def moved_here(self, actor: ActorId) -> None:
        """An actor starts here that was known elsewhere: what was sent there and comes back goes first."""
        host = self.directory.host_of(actor)
        if host is None or host == self.host or self.carrier is None or actor in self.resolving:
            return
        self.resolving[actor], self._bounced[actor] = {}, {}
        # It comes back last of all that is on its way there, or is settled with them when that host is found dead.
        last = Envelope(Kind.SIGNAL, actor, Unwatch(monitor=0, watcher=""), Origin())
        last.reroutes = MAX_REROUTES
        last.on_settled = partial(self._all_came_back, actor)
        self.carrier.send(host, last)

    def _all_came_back(self, actor: ActorId, _: Outcome) -> None:
        # Soon and not now: a link that is closed settles this one among the others.
        asyncio.get_running_loop().call_soon(self._release, actor)

    def _release(self, actor: ActorId) -> None:
        self.directory.forget(actor)
        for envelope in (*self._bounced.pop(actor, {}).values(), *self.resolving.pop(actor, {}).values()):
            self.send(envelope)

    def withdraw(self, envelope: Envelope) -> bool:
        """Takes back an envelope whose receiver is still being looked for."""
        for waiting in (self.resolving.get(envelope.receiver), self._bounced.get(envelope.receiver)):
            if waiting is not None and waiting.pop(id(envelope), None) is not None:
                return True
        return False

    def close(self) -> None:
        """Stops looking for receivers; what waited becomes dead letters."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        waiting = [*self._bounced.values(), *self.resolving.values()]
        self._bounced, self.resolving = {}, {}
        for envelopes in waiting:
            for envelope in envelopes.values():
                self.settle_final(envelope, Outcome.LOST)

    def is_lost(self, envelope: Envelope) -> bool:
        """True when the envelope is on its way to a process with which contact is lost."""
        return self.carrier is not None and self.carrier.is_lost(envelope)

    def settle_final(self, envelope: Envelope, outcome: Outcome) -> None:
        """Settles without trying elsewhere."""
        envelope.reroutes = MAX_REROUTES
        self.settle(envelope, outcome)

    def _wait_for_room(self, cell: Cell, envelope: Envelope) -> None:
        envelope.holder = cell.mailbox
        cell.mailbox.wait_room(Waiting(envelope, cell.accept, partial(self._has_room, cell, envelope)))

    def _has_room(self, cell: Cell, envelope: Envelope) -> None:
        if cell.intake is None or not cell.intake.holds(envelope):
            self.settle(envelope, Outcome.TAKEN)

    def _try_elsewhere(self, envelope: Envelope) -> bool:
        """Looks the receiver up again; False when that has been tried often enough."""
        if envelope.incarnation is not None:
            return False  # that life is over; a ref of an earlier incarnation fails at once
        if envelope.kind in ANSWERS:
            return False  # it belongs to one ask in one process
        bounced = self._bounced.get(envelope.receiver)
        if bounced is not None and not (envelope.kind == Kind.SIGNAL and envelope.reroutes >= MAX_REROUTES):
            envelope.holder = self
            bounced[id(envelope)] = envelope
            return True
        if envelope.reroutes >= MAX_REROUTES:
            return False
        envelope.reroutes += 1
        self.directory.forget(envelope.receiver)
        self._resolve(envelope)
        return True

    def _resolve(self, envelope: Envelope) -> None:
        if self._closed:
            self.settle_final(envelope, Outcome.NOT_HERE)
            return
        envelope.holder = self
        is_for_life = envelope.kind <= Kind.ASK or isinstance(envelope.message, Watch | Tie)
        if envelope.incarnation is not None and self.life_is_over is not None and is_for_life:
            self._spawn(self._refuse_if_over(envelope, self.life_is_over))
        waiting = self.resolving.get(envelope.receiver)
        if waiting is not None:
            if len(waiting) >= MAX_RESOLVING and envelope.kind <= Kind.ASK:
                # What is kept at its sender is sent again; the rest is refused, as by a full mailbox.
                self.settle_final(envelope, Outcome.NOT_HERE if self.keeps(envelope) else Outcome.REJECTED)
            else:
                waiting[id(envelope)] = envelope
            return
        self.resolving[envelope.receiver] = {id(envelope): envelope}
        self._spawn(self._locate(envelope.receiver))

    async def _refuse_if_over(
        self, envelope: Envelope, life_is_over: Callable[[ActorId, Incarnation], Awaitable[bool]]
    ) -> None:
        """Does not let what is meant for an ended life wait until the next one has a host."""
        assert envelope.incarnation is not None
        if await life_is_over(envelope.receiver, envelope.incarnation) and self.withdraw(envelope):
            self.settle_final(envelope, Outcome.NOT_HERE)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _locate(self, actor: ActorId) -> None:
        send: Callable[[Envelope], None] = partial(self.settle_final, outcome=Outcome.NOT_HERE)
        try:
            send = self._way_to(actor, await self._located(actor))
        except RegrowError as error:  # it could not be started: who waits for it hears why
            send = partial(self._unavailable, error)
        finally:  # whatever else a directory raises: what is sent later must not wait behind these for ever
            for envelope in self.resolving.pop(actor, {}).values():
                send(envelope)

    def _way_to(self, actor: ActorId, host: HostId | None) -> Callable[[Envelope], None]:
        """What to do with messages to an actor that was found, or not."""
        if actor in self._cells:
            return self.send  # it started here meanwhile
        if host is None:
            return partial(self.settle_final, outcome=Outcome.NOT_HERE)
        if host == self.host:
            return partial(self.settle, outcome=Outcome.NOT_HERE)
        return self.send

    async def _located(self, actor: ActorId) -> HostId | None:
        """Where the actor is, when whoever knows has heard of the deaths that are known here."""
        host = await self.directory.locate(actor)
        for _ in range(MAX_STALE_ANSWERS):
            if host is None or self.carrier is None or not self.carrier.is_dead(host):
                break
            self.directory.forget(actor)
            await asyncio.sleep(LOCATE_AGAIN_S)
            host = await self.directory.locate(actor)
        return host

    def _unavailable(self, refusal: RegrowError, envelope: Envelope) -> None:
        """Answers for an actor that starts on demand and could not."""
        if envelope.kind == Kind.ASK:
            self._refused(envelope, refusal)
            return
        if isinstance(envelope.on_settled, Settling):
            envelope.on_settled.refusal = refusal
        self.settle_final(envelope, Outcome.NOT_HERE)

    def _not_found(self, envelope: Envelope) -> None:
        """Answers for an actor that is not there: Down and linked exits say NoProc, messages are dead letters."""
        life = envelope.incarnation or 0
        match envelope.message:
            case Watch() as watch:
                down = Down(monitor=watch.monitor, actor=envelope.receiver, incarnation=life, reason=NoProc())
                watcher, its_life = ActorId(watch.watcher), Incarnation(watch.watcher_incarnation)
                self.send(Envelope(Kind.NOTICE, watcher, down, envelope.origin, incarnation=its_life))
            case Tie() as tie:
                linked, its_life = ActorId(tie.actor), Incarnation(tie.incarnation)
                for ended in exits_of(envelope.receiver, life, NoProc()):
                    self.send(Envelope(kind_of(ended), linked, ended, envelope.origin, incarnation=its_life))
            case _ if envelope.kind <= Kind.ASK:
                self.dead(envelope, Outcome.NOT_HERE)
            case _ if envelope.kind in (Kind.REPLY, Kind.FAILURE):
                self._dead.add(envelope, "late_reply")  # by a slot whose life is over, and with it the ask
            case _:
                pass  # a stop or an unwatch of somebody who is gone has come true; a Down for nobody tells nothing


def _asks_for_names(envelope: Envelope) -> bool:
    """Names are everybody's: what a name leads to is reached as any other actor is, or not."""
    return envelope.kind == Kind.ASK and envelope.receiver == REGISTRY


_DEAD_LETTER_REASONS = {
    Outcome.FULL: "mailbox_full",
    Outcome.REJECTED: "mailbox_full",
    Outcome.NOT_HERE: "no_such_agent",
    Outcome.TOO_LARGE: "too_large",
    Outcome.LOST: "host_lost",
    Outcome.TOO_LATE: "expired",
}
