"""A message on its way: who sent it to whom, until when it matters, and what caused it.

What all messages of one turn have in common stands once, in their `Origin`; the codec sends an
origin once a frame, and in one host it costs one pointer.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from regrow.runtime import capability as capabilities
from regrow.runtime.address import ActorId, Address, HostId, Incarnation
from regrow.runtime.lifecycle import Down, ExitSignal
from regrow.runtime.tab import Tab, open_tabs, with_tab

if TYPE_CHECKING:
    from regrow.runtime.outcome import Outcome
    from regrow.runtime.stream_window import Window

LEAST_WAIT_S: Final = 0.2
"""What is shorter is no wait but the time that things take."""


class Kind(enum.IntEnum):
    """What an envelope is. The numbers are part of the wire format."""

    TELL = 0
    ASK = 1
    REPLY = 2
    FAILURE = 3
    SIGNAL = 4
    NOTICE = 5
    """A Down, a trapped exit or a timer's tick: into the user lane, without needing room."""
    PART = 6
    """Parts of the answer to an ask: to the slot of whoever reads that stream."""


ANSWERS = frozenset((Kind.REPLY, Kind.FAILURE, Kind.PART))
"""What belongs to one ask in one process, and goes nowhere else when that is gone."""


class Holder(Protocol):
    """Where an envelope waits: for room, for its receiver to be found, or for a link."""

    def withdraw(self, envelope: Envelope) -> bool:
        """Takes the envelope back; False when it is under way or already there."""
        ...


class Origin:
    """Where the messages of one turn come from.

    `chain` lists the agents that serve nothing else while this turn runs, in the order in which they
    ask each other; it counts only for asks. `capability` lists what may be addressed and run (see capability);
    None means all. `trace` is a W3C traceparent, empty where nothing is traced.

    `run` names all that follows from one message from outside; empty in that message itself. `hops` counts the agents
    on the way, and `steps` has the last of them with what they were to do, as numbers that a guard compares. `tick`
    names what of the run follows from one message of a timer, empty where none was on the way: calls of tools are
    judged by it, for who looks again by a timer has waited.
    """

    __slots__ = ("capability", "chain", "hops", "principal", "run", "sender", "steps", "tick", "trace")

    def __init__(
        self,
        *,
        sender: Address | None = None,
        principal: str = "",
        capability: tuple[str, ...] | None = None,
        trace: str = "",
        hops: int = 0,
        chain: tuple[ActorId, ...] = (),
        run: str = "",
        steps: tuple[int, ...] = (),
        tick: str = "",
    ) -> None:
        self.sender = sender
        self.principal = principal
        self.capability = capability
        self.trace = trace
        self.hops = hops
        self.chain = chain
        self.run = run
        self.steps = steps
        self.tick = tick

    def under(self, trace: str) -> Origin:
        """The same for what is sent inside of a span."""
        return self._with(trace=trace, capability=self.capability)

    def limited(self, tools: Iterable[str]) -> Origin:
        """The same for what may run no other tools than those of these names, however far it travels."""
        return self._with(trace=self.trace, capability=capabilities.narrowed(self.capability, tools))

    def for_one_call(self, capability: tuple[str, ...]) -> Origin:
        """The same with this capability in place of its own, for a call that the gate has allowed."""
        return self._with(trace=self.trace, capability=capability)

    def lasting(self) -> Origin:
        """The same where nobody waits for it any more, as for what is stored."""
        return self._with(trace=self.trace, capability=self.capability, chain=())

    def waited(self, delay_s: float) -> Origin:
        """The same for what a timer of the agent sends it; one that waits for less than that takes is none."""
        return self.afresh() if delay_s >= LEAST_WAIT_S else self

    def afresh(self) -> Origin:
        """The same for what a timer sends: of this run, and caused by nobody."""
        fresh = self._with(trace=self.trace, capability=self.capability)
        fresh.hops, fresh.steps, fresh.tick = 0, (), ""
        return fresh

    def is_of_timer(self, receiver: ActorId) -> bool:
        """Whether a timer has sent this to its owner, and not a turn, which has a tick behind one."""
        is_own = self.sender is not None and self.sender.actor == receiver
        return is_own and bool(self.run) and not self.hops and not self.tick

    def _with(
        self, *, trace: str, capability: tuple[str, ...] | None, chain: tuple[ActorId, ...] | None = None
    ) -> Origin:
        return Origin(
            sender=self.sender,
            principal=self.principal,
            capability=capability,
            trace=trace,
            hops=self.hops,
            chain=self.chain if chain is None else chain,
            run=self.run,
            steps=self.steps,
            tick=self.tick,
        )

    def on_tab(self, tab: Tab) -> Origin:
        """The same, whose spending is put on this tab as well."""
        return self._with(trace=self.trace, capability=with_tab(self.capability, tab))

    def permits(self, receiver: ActorId) -> bool:
        """True when the capability reaches `receiver`: its id, or a prefix that ends at a `/`."""
        return capabilities.reaches(self.capability, receiver)


def limited_here(origin: Origin) -> Origin:
    """The origin as the code that runs here hands it on: within its tools, on its tabs, or for its one call."""
    tools, call = capabilities.tools_only.get(), capabilities.for_one_call.get()
    limited = origin if tools is None else origin.limited(tools)
    for tab in open_tabs.get():
        limited = limited.on_tab(tab)
    return limited if call is None else limited.for_one_call(call)


class Envelope:
    """One message under way. `deadline` is in the running process's monotonic seconds.

    `ask_id` and `reply_host` say where a reply belongs; in a REPLY or FAILURE `ask_id` names the
    ask and `reply_host` the host that waits. `on_settled` is told once what the receiver's host did
    with it, `mark` once when it has been handled; both are None where nobody wants to know.
    `holder` is where it waits, while it does. `may_have_run` is true of one that is sent again since the process died
    in which it was. `behind` is the command id of what its sender has on the way to the same receiver in front of it;
    who stores messages takes it then only when it has seen that one. `window` is how many parts of the answer may come
    before they are read, None where none is wanted.
    """

    __slots__ = (
        "ask_id",
        "behind",
        "command_id",
        "deadline",
        "holder",
        "incarnation",
        "kind",
        "mark",
        "may_have_run",
        "message",
        "on_settled",
        "origin",
        "receiver",
        "reply_host",
        "reroutes",
        "window",
    )

    def __init__(
        self,
        kind: Kind,
        receiver: ActorId,
        message: object,
        origin: Origin,
        deadline: float | None = None,
        ask_id: int = 0,
        reply_host: HostId | None = None,
        incarnation: Incarnation | None = None,
        command_id: str | None = None,
        may_have_run: bool = False,
        window: Window | None = None,
        behind: str | None = None,
    ) -> None:
        self.kind = kind
        self.receiver = receiver
        self.message = message
        self.origin = origin
        self.deadline = deadline
        self.ask_id = ask_id
        self.reply_host = reply_host
        self.incarnation = incarnation
        self.command_id = command_id
        self.may_have_run = may_have_run
        self.window = window
        self.behind = behind
        self.on_settled: Callable[[Outcome], None] | None = None
        self.mark: Callable[[], None] | None = None
        self.holder: Holder | None = None
        self.reroutes = 0

    @property
    def needs_room(self) -> bool:
        """True for what waits its turn at a full receiver: tells, asks, and what must not overtake them."""
        return self.kind <= Kind.ASK or (self.kind == Kind.NOTICE and isinstance(self.message, Down | ExitSignal))

    @property
    def wants_settled(self) -> bool:
        """True when its sender waits to hear that it was taken; an asker waits for the reply instead."""
        return self.kind in (Kind.TELL, Kind.SIGNAL) and self.on_settled is not None

    @property
    def is_ask(self) -> bool:
        """True when somebody waits for the reply."""
        return self.kind == Kind.ASK

    def is_ask_of(self, host: HostId, ask_id: int) -> bool:
        """True for the ask of this number in that host."""
        return self.ask_id == ask_id and self.reply_host == host and self.kind == Kind.ASK

    def trade_askers(self, other: Envelope) -> None:
        """Who waits for the answer of this message waits for that of the other from now on, and the other way round."""
        self.kind, other.kind = other.kind, self.kind
        self.ask_id, other.ask_id = other.ask_id, self.ask_id
        self.reply_host, other.reply_host = other.reply_host, self.reply_host
        self.window, other.window = other.window, self.window

    def __repr__(self) -> str:
        return f"<{self.kind.name.lower()} {type(self.message).__name__} to {self.receiver}>"


def mark_handled(envelope: Envelope) -> None:
    """Tells the link that brought it, once, that this envelope needs no more care."""
    if envelope.mark is not None:
        mark, envelope.mark = envelope.mark, None
        mark()
