"""The runtime of one process: its actors, its asks, and the way in and out.

One object for each process, on whichever engine: `inline` has one, on Ray every host, the guardian
and the driver have their own. It starts and ends cells; everything that waits, sends or writes in
the kernel happens through it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from regrow.runtime import telemetry
from regrow.runtime.address import ActorId, Address, HostId, Incarnation
from regrow.runtime.ask_rings import AskRings
from regrow.runtime.asking import Asking
from regrow.runtime.asks import Asks
from regrow.runtime.awaited_starts import AwaitedStarts
from regrow.runtime.behavior import Behavior
from regrow.runtime.bonds import ANY_LIFE, kind_of
from regrow.runtime.cell import Cell, State
from regrow.runtime.context import current
from regrow.runtime.courier import Courier, CourierHere
from regrow.runtime.custody import Custody
from regrow.runtime.dead_letters import DeadLetters
from regrow.runtime.deaths import Deaths
from regrow.runtime.delivery import Delivery, Directory
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.errors import AskFailed, Closed, InvalidMessage, MailboxFull, Misuse, RegrowError, not_in_a_thread
from regrow.runtime.guards import Guarding, Guards
from regrow.runtime.kernel_tasks import KernelTasks
from regrow.runtime.leftovers import empty_mailbox
from regrow.runtime.lifecycle import Crashed, ExitReason, Killed, NoProc, Shutdown, crashed
from regrow.runtime.memory_runs import MemoryRuns
from regrow.runtime.message import Message, Request
from regrow.runtime.message_spans import begin_send
from regrow.runtime.metrics import Metrics
from regrow.runtime.names import Names, no_keys
from regrow.runtime.outcome import Outcome
from regrow.runtime.ref import ActorRef
from regrow.runtime.signals import Failure, Stop, Tie, exit_of, failure_of
from regrow.runtime.start import made_behavior, start_life, stopped_while_starting
from regrow.runtime.starter import StartRequest
from regrow.runtime.stop_asks import StopAsks
from regrow.runtime.stored_size import too_large_for
from regrow.runtime.streams import Streams
from regrow.runtime.tells import Settling

if TYPE_CHECKING:
    from regrow.runtime.durability import Durability

R = TypeVar("R")

PARENT_HEARS_S = 10.0
"""How long an end is told to nobody else while the parent's process can not be reached."""
CHILD_GRACE_S = 5.0
"""How long the spawned children of an actor that ends may take to end themselves."""
MAX_NEVER = 10_000
"""How many actors are remembered of which a life was killed before it began here."""

BehaviorMaker = Callable[[StartRequest], Behavior]
"""Makes the behavior of one life; runs user code and may raise anything."""


class Runtime:
    """The actors of one process and how they reach each other."""

    def __init__(
        self,
        host: HostId,
        *,
        make_behavior: BehaviorMaker,
        directory: Directory,
        principal: str = "",
        names: Callable[[object], ActorId | None] | None = None,
        first_incarnation: int = 1,
    ) -> None:
        self.host = host
        self.loop = asyncio.get_running_loop()
        self.thread_id = get_ident()
        self.origin = Origin(principal=principal)
        self.cells: dict[ActorId, Cell] = {}
        self.dead_letters = DeadLetters(self.loop.time, self.loop.call_later)
        self.deaths = Deaths(self.loop.time)
        self.names = Names(self)
        self.asks = Asks(self.loop)
        self.asking = Asking(self, self.asks)
        self.streams = Streams(self)
        self.custody = Custody(self)
        self.awaited_starts = AwaitedStarts(self)
        self.ask_rings = AskRings(self)
        self.asks.on_long_wait = self.ask_rings.look
        self.stop_asks = StopAsks(self)
        self.delivery = Delivery(host, self.cells, directory, self.dead_letters, self._refused)
        self.services: dict[str, ActorId] = {}
        self.id_with_key: Callable[[object, str], ActorId] = no_keys
        self.durability: Durability | None = None
        self.guarding = Guarding(Guards(), turns=None, runs=MemoryRuns(self.loop.time))
        self.courier: Courier = CourierHere()
        self.on_root_exit: Callable[[Cell, ExitReason], None] | None = None
        self.closed = False
        self.is_traced = True  # where any app of this process is
        self.metrics = Metrics()
        self._sendable: dict[Kind, set[type]] = {Kind.TELL: set(), Kind.ASK: set()}
        self._make_behavior = make_behavior
        self._names = names
        self._counter, self._incarnations = itertools.count(1), itertools.count(first_incarnation)
        self._never: OrderedDict[ActorId, Incarnation] = OrderedDict()
        """The latest life of each actor that was killed before it began here."""
        self._tasks = KernelTasks(self.loop)

    # ---- sending -------------------------------------------------------------------------------

    def ref(self, target: ActorRef | str | object, *, near: ActorId | None = None, key: str | None = None) -> ActorRef:
        """A ref to `target`: an id, a class or agent function of the app, or a ref; with a `key` to that one of them.

        A string without `/` is a sibling of `near` where there is one. Raises Misuse when a class
        is unknown here or stands for several children.
        """
        if key is not None:
            whose = self.ref(target, near=near).id if isinstance(target, str) else target
            return ActorRef(Address(self.id_with_key(whose, key)), self)
        if isinstance(target, ActorRef):
            return target
        if isinstance(target, str):
            if near is not None and "/" in near and "/" not in target:
                target = f"{near.rpartition('/')[0]}/{target}"
            return ActorRef(Address(ActorId(target)), self)
        if self._names is None or (found := self._names(target)) is None:
            raise Misuse(f"no child of this app is made from {target!r}; give its id instead, such as 'app/child'")
        return ActorRef(Address(found), self)

    def take_names(self, names: Callable[[object], ActorId | None]) -> None:
        """From now on classes and functions stand for agents as `names` says."""
        self._names = names

    def ref_to(self, address: Address) -> ActorRef:
        """The ref to an address, such as one that came in a message."""
        return ActorRef(address, self)

    def life(self, actor: ActorId, incarnation: Incarnation) -> Cell | None:
        """The cell of exactly this life of an actor, while it is the one here."""
        cell = self.cells.get(actor)
        return cell if cell is not None and cell.incarnation == incarnation else None

    def current_origin(self) -> Origin:
        """On whose behalf something is sent now: the turn that runs, or the process itself."""
        ctx = current.get()
        if ctx is not None:
            origin = ctx.origin()
            if origin.trace or telemetry.spans.are_made:  # else nothing is traced, and asking costs more than this
                trace = telemetry.outgoing()
                return origin.under(trace) if trace and trace != origin.trace else origin
            return origin
        trace = telemetry.outgoing()
        return self.origin.under(trace) if trace else self.origin

    async def tell(self, target: Address, message: Message, send_timeout_s: float) -> None:
        """See ActorRef.tell."""
        envelope = self.envelope(Kind.TELL, target, message)
        cell = self.cell_now(target.actor)
        first = self.delivery.arrive(cell, envelope) if cell is not None else None
        if first is Outcome.TAKEN:
            return
        settling = Settling(self.loop, envelope)
        if first is not Outcome.HELD:
            self.delivery.send(envelope)
        capacity = partial(self.capacity, target.actor)
        outcome = await settling.taken(send_timeout_s, capacity=capacity, is_lost=self.delivery.is_lost)
        if outcome is Outcome.REJECTED:
            raise MailboxFull(target.actor, self.capacity(target.actor), 0.0)
        if outcome is Outcome.TOO_LARGE:
            raise too_large_for(self, target.actor, message)
        if outcome is not Outcome.TAKEN:
            self.delivery.dead(envelope, outcome)

    def tell_nowait(self, target: Address, message: Message) -> None:
        """See ActorRef.tell_nowait."""
        envelope = self.envelope(Kind.TELL, target, message)
        cell = self.cell_now(target.actor)
        if cell is None:
            if not self.delivery.send_nowait(envelope):
                raise MailboxFull(target.actor, 0, 0.0)
            return
        outcome = self.delivery.arrive(cell, envelope)
        if outcome in (Outcome.FULL, Outcome.REJECTED):
            raise MailboxFull(target.actor, cell.mailbox.capacity, 0.0)
        if outcome is Outcome.TOO_LARGE:
            raise too_large_for(self, target.actor, message)
        if outcome is not Outcome.HELD:
            self.delivery.settle(envelope, outcome)

    def cell_now(self, actor: ActorId) -> Cell | None:
        """The cell of an actor here, unless earlier messages to it wait for it to be found."""
        resolving = self.delivery.resolving
        return None if resolving and actor in resolving else self.cells.get(actor)

    def envelope(self, kind: Kind, target: Address, message: Message) -> Envelope:
        """What is sent to `target` from here and now. Raises Misuse, Closed, InvalidMessage and NotAllowed."""
        if get_ident() != self.thread_id:
            raise not_in_a_thread("send")
        if self.closed:
            raise Closed("this app has stopped; start it again before sending")
        if type(message) not in self._sendable[kind]:
            self._admit(kind, target, message)
        envelope = Envelope(kind, target.actor, message, self.current_origin(), incarnation=target.incarnation)
        self.delivery.check(envelope)
        if self.guarding.messages is not None:
            self.guarding.messages.sent(envelope.origin)
        if kind is Kind.TELL and telemetry.spans.sampling is not None and (span := begin_send(self, envelope)):
            span.end()  # it tells when and where the message began; who takes it has a span of its own
        return envelope

    def _refused(self, envelope: Envelope, refusal: RegrowError) -> None:
        self.fail(envelope, failure_of(refusal))

    def _admit(self, kind: Kind, target: Address, message: object) -> None:
        """Raises InvalidMessage for what is no message; pydantic's isinstance is too slow to be asked each time."""
        expected = Request if kind == Kind.ASK else Message
        if not isinstance(message, expected):
            raise InvalidMessage(
                f"{target.actor} was sent {message!r}; send an instance of a class derived from {expected.__name__}"
            )
        message.wire()  # looks into fields whose types were not known yet when the class was defined
        self._sendable[kind].add(type(message))

    def capacity(self, actor: ActorId) -> int:
        """The bound of an actor's mailbox; 0 where it is not here."""
        cell = self.cells.get(actor)
        return cell.mailbox.capacity if cell is not None else 0

    def fail(self, envelope: Envelope, failure: Failure) -> None:
        """Answers an ask with a failure; a tell that fails is a dead letter."""
        self.asking.fail(envelope, failure)

    # ---- starting and ending -------------------------------------------------------------------

    async def start(self, request: StartRequest) -> Crashed | None:
        """Starts one life of an actor in this process. Returns why it failed, or None."""
        if self.closed:
            return Crashed(type_name="Closed", message="this host is stopping")
        cell = self.cells.get(request.actor)
        if cell is not None and cell.state is State.EXITING and request.parent not in self.cells:
            await cell.wait_exited()  # its parent knows already; the others are being told
            cell = self.cells.get(request.actor)
        if request.incarnation <= self._never.get(request.actor, 0):
            return stopped_while_starting(request.actor)
        if cell is not None and cell.state is not State.RESTARTING:
            return Crashed(type_name="AlreadyStarted", message=f"{request.actor} runs already in this host")
        try:
            behavior = made_behavior(self._make_behavior, request)
        except Exception as error:  # the constructor is user code; a failed start is its only consequence
            return crashed(error)
        if cell is None:
            self.delivery.moved_here(request.actor)
            cell = self.cells[request.actor] = Cell(self, request)
        with self.awaited_starts.waits(request, self.host):
            return await start_life(cell, request, behavior)

    def kill(self, actor: ActorId, incarnation: Incarnation, detail: str) -> Cell | None:
        """Kills one life. Returns its cell, or None where it is not here; then it never begins here.

        A kill may overtake the start that it is meant for, which would else leave a life that nobody knows of.
        """
        cell = self.life(actor, incarnation)
        if cell is not None:
            cell.kill(detail)
        elif incarnation > self._never.get(actor, 0):
            self._never[actor] = incarnation
            self._never.move_to_end(actor)
            if len(self._never) > MAX_NEVER:
                self._never.popitem(last=False)
        return cell

    async def spawn(self, parent: Cell, actor: ActorId, target: object, config: object | None) -> ActorRef:
        """Starts a linked temporary child beside its parent; see CellContext.spawn."""
        request = StartRequest(
            actor=actor,
            incarnation=Incarnation(next(self._incarnations)),
            target=target,
            parent=parent.actor,
            config=config,
            survives_exit=False,
        )
        life = parent.incarnation
        failed = await self.start(request)
        if failed is not None:
            raise AskFailed(actor, failed, f"{actor} did not start ({failed})")
        cell = self.cells[actor]
        if parent.incarnation != life or parent.behavior is None:
            cell.kill("its parent ended")
            raise Closed(f"{parent.actor} ended while it spawned {actor}")
        parent.children[actor] = request.incarnation
        parent.bonds.links[actor] = request.incarnation
        cell.bonds.links[parent.actor] = life
        return ActorRef(Address(actor, request.incarnation), self)

    async def end_children(self, cell: Cell) -> None:
        """Ends what an actor spawned, all at once, and waits for it."""
        children = [self.cells[actor] for actor in cell.children if actor in self.cells]
        cell.children.clear()
        for child in children:
            cell.bonds.links.pop(child.actor, None)
            child.bonds.links.pop(cell.actor, None)
            child.stop(Shutdown(detail=f"{cell.actor} ended"), CHILD_GRACE_S)
        for child in children:
            await child.wait_ended()

    def stop_actor(self, target: Address, reason: ExitReason | None, grace_s: float | None) -> None:
        """Tells an actor to end in order. Raises Misuse in a thread, and NotAllowed."""
        if get_ident() != self.thread_id:
            raise not_in_a_thread("stop others")
        stop = Stop(reason=reason if reason is not None else Shutdown(), grace_s=grace_s)
        signal = Envelope(Kind.SIGNAL, target.actor, stop, self.current_origin(), incarnation=target.incarnation)
        self.delivery.check(signal)
        self.delivery.send(signal)

    def announce_exit(self, cell: Cell, reason: ExitReason, *, quiet: bool) -> None:
        """Tells links, monitors and the parent, in this order, that a life is over."""
        for other, life, message in cell.bonds.farewells(cell.actor, cell.incarnation, reason):
            self.delivery.send(Envelope(kind_of(message), other, message, self.origin, incarnation=life or None))
        if cell.parent is not None and not quiet:
            self.delivery.send(exit_of(cell, reason))
        elif cell.parent is None and self.on_root_exit is not None:
            self.on_root_exit(cell, reason)

    async def tell_parent(self, cell: Cell, reason: ExitReason) -> None:
        """Tells a parent in another process of an exit, and waits until it knows."""
        exited = exit_of(cell, reason)
        told = Settling(self.loop, exited)
        self.delivery.send(exited)
        await told.within(PARENT_HEARS_S)

    def forget(self, actor: ActorId) -> None:
        """No further life of this actor will come here."""
        cell = self.cells.get(actor)
        if cell is not None and cell.forget():
            cell.state = State.ENDED
            self.drop(cell, NoProc())

    def drop(self, cell: Cell, reason: ExitReason) -> None:
        """Empties the mailbox of an actor that is gone for good: asks fail, the rest are dead letters."""
        if self.cells.get(cell.actor) is cell:
            del self.cells[cell.actor]
            self.metrics.handled_by_gone += cell.mailbox.taken
        empty_mailbox(cell, reason)
        if cell.intake is not None:
            cell.intake.left()
        cell.ended()

    def tie(self, cell: Cell, ref: ActorRef, origin: Origin) -> None:
        """Links a cell with another actor, here or elsewhere. Raises NotAllowed: an exit may end the other."""
        tie = Tie(actor=cell.actor, incarnation=cell.incarnation)
        signal = Envelope(Kind.SIGNAL, ref.address.actor, tie, origin, incarnation=ref.address.incarnation)
        self.delivery.check(signal)
        cell.bonds.links[ref.address.actor] = ref.address.incarnation or ANY_LIFE
        self.delivery.send(signal)

    async def aclose(self) -> None:
        """Ends everything that is left in this process; asks that wait get Closed."""
        self.closed = True
        self.asking.fail_all()  # first, or those whose receiver is looked for would hear that a host was lost
        self.delivery.close()
        for cell in list(self.cells.values()):
            cell.kill("the runtime closed")
        await self._tasks.aclose()
        for cell in list(self.cells.values()):
            self.drop(cell, Killed(detail="the runtime closed"))
        self.dead_letters.sum_up()

    # ---- small services ------------------------------------------------------------------------

    def spawn_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a coroutine of the kernel beside everything else; what it dies of is told to the log."""
        return self._tasks.spawn(coroutine)

    def fresh_number(self) -> int:
        """A number that nothing else in this process has had: for children without a name, and monitors."""
        return next(self._counter)

    def stats(self) -> dict[ActorId, tuple[str, int]]:
        """State and mailbox depth of every actor in this process."""
        # A copy first: the control thread of a host asks while cells come and go.
        return {actor: (cell.state.value, len(cell.mailbox)) for actor, cell in list(self.cells.items())}

    @property
    def handled(self) -> int:
        """How many messages were taken out of mailboxes in this process."""
        return self.metrics.handled_by_gone + sum(cell.mailbox.taken for cell in list(self.cells.values()))

    @property
    def pid(self) -> int:
        """The operating system's number of this process."""
        return os.getpid()
