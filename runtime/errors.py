"""Every error Regrow raises, sorted by whose fault it is and what to do now.

RegrowError
├── Misuse              the caller's mistake: mend the call
│   ├── InvalidMessage      a message class or value that cannot travel
│   │   └── MessageTooLarge     it passes the limit of what its receiver stores
│   ├── InvalidDefinition   an agent, a spec or an app that is defined wrongly
│   ├── CodeNotImportable   a host could not import this code
│   ├── CallingSelf         an agent asked itself
│   └── AskCycle            the call chain came back to an agent that is blocked in it
├── Closed              it has stopped: start it again
├── MailboxFull         it is full: wait, or send less
├── Refused             an agent or a gate said no; the agent lives
│   ├── NotAllowed          the capability does not reach this far
│   ├── NameTaken           another has the name; it tells who
│   ├── RegistryFull        no more names or memberships can be held
│   ├── OutOfBudget         the money or tokens set aside do not suffice
│   ├── GuardTripped        a guard has found a runaway (guard_errors)
│   ├── StashFull           as many messages are set aside as may be
│   └── SlotsFull           as many replies are deferred as may be
├── TooLate             the deadline passed
│   └── AskTimeout          no reply in time; the callee may still be running
├── AskFailed           the other side ended while it owed a reply
│   └── NotAwaited          the asker is being stopped, and the other side is between two lives
├── PartsLost           an answer that was streamed before, and whose parts are gone: take its reply
├── WorldBroke          something outside Regrow failed: Ray, Redis, a provider, a disk
│   └── ContactLost         the other process does not answer; what was sent may have run
└── Bug                 our own mistake: please report it

A room's own errors derive from these and live in that room's `errors.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regrow.runtime.lifecycle import ExitReason
    from regrow.runtime.ref import ActorRef


class RegrowError(Exception):
    """The root of all errors that Regrow raises."""


class Misuse(RegrowError):
    """The caller made a mistake; the text says which and how to mend it."""


class InvalidMessage(Misuse):
    """A message class or value that cannot travel between agents."""


class MessageTooLarge(InvalidMessage):
    """A message passes the limit of what its receiver stores; it was not taken. Sizes are in bytes."""

    def __init__(self, actor: str, message_type: str, *, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{message_type} takes {size_bytes:,} bytes, and {actor} stores messages of up to {limit_bytes:,} "
            "(message_bytes); send less, or keep the rest elsewhere and send where it is"
        )
        self.actor = actor
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class InvalidDefinition(Misuse):
    """An agent, child spec or app that is defined wrongly; raised when it is defined."""


class CodeNotImportable(Misuse):
    """A host process could not import the code of an agent or message."""


class CallingSelf(Misuse):
    """An agent asked itself, which could never be answered."""

    actor = ""

    def __init__(self, actor: str) -> None:
        super().__init__(
            f"{actor} asked itself and would wait for itself for ever; "
            "call the method directly, or use ctx.tell to do it in a later turn"
        )
        self.actor = actor


class AskCycle(Misuse):
    """The call chain came back to an agent that is waiting further up the same chain, or agents block each other.

    `why` says what is special about this ring, and what to do about it.
    """

    actor = ""
    chain: tuple[str, ...] = ()

    def __init__(self, chain: tuple[str, ...], actor: str, why: str = "") -> None:
        why = why or (
            f"{actor} already waits in this chain and can not answer; "
            "make one of these asks a tell, or mark the handler @on(concurrent=True)"
        )
        super().__init__(f"{' → '.join((*chain, actor))}: {why}")
        self.chain = chain
        self.actor = actor


class Closed(RegrowError):
    """The app or runtime has stopped."""


class MailboxFull(RegrowError):
    """The receiver's mailbox had no room in time. A `capacity` of 0 is one that is not known here."""

    actor = ""
    capacity = 0
    waited_s = 0.0

    def __init__(self, actor: str, capacity: int, waited_s: float) -> None:
        size = f"{capacity} messages; " if capacity else ""
        super().__init__(
            f"the mailbox of {actor} is full ({size}waited {waited_s:g} s); "
            "send less, wait longer (send_timeout_s) or give it a larger mailbox"
        )
        self.actor = actor
        self.capacity = capacity
        self.waited_s = waited_s


class Refused(RegrowError):
    """An agent or a gate declined the request; the agent lives and no restart is counted.

    Raise it (or a subclass) in a handler to answer the asker with a considered no.
    """


class NotAllowed(Refused):
    """The caller's capability does not reach this actor, memory scope or tool."""


class NameTaken(Refused):
    """Another actor took the name first. `winner` is a ref to the life that has it."""

    name = ""
    winner: ActorRef | None = None

    def __init__(self, name: str, loser: str, winner: ActorRef) -> None:
        super().__init__(
            f"the name {name!r} belongs to {winner.address}, so {loser} can not have it; "
            "send to the winner, monitor it and take the name at its Down, or choose another name"
        )
        self.name = name
        self.winner = winner


class RegistryFull(Refused):
    """As many names or group memberships are held as an app may hold."""


class OutOfBudget(Refused):
    """What was set aside for this work does not suffice for the next call."""


class StashFull(Refused):
    """An agent has set aside as many messages as its mailbox allows."""

    actor = ""
    limit = 0

    def __init__(self, actor: str, limit: int) -> None:
        super().__init__(
            f"{actor} has set aside {limit} messages, and its mailbox allows no more; "
            "unstash them earlier, refuse what can not be served, or give it a larger mailbox"
        )
        self.actor = actor
        self.limit = limit


class SlotsFull(Refused):
    """An agent has deferred as many replies as it may."""

    actor = ""
    limit = 0

    def __init__(self, actor: str, limit: int) -> None:
        super().__init__(
            f"{actor} has deferred {limit} replies that nobody gave yet, and no more may be open; "
            "answer or refuse some of them, or let askers wait in the mailbox"
        )
        self.actor = actor
        self.limit = limit


class TooLate(RegrowError):
    """The deadline passed before the work was done."""


class AskTimeout(TooLate):
    """No reply came in time. The callee was not stopped and may still be running; one that streamed is cancelled.

    So is `adopted` code.
    """

    def __init__(
        self, actor: str, message_type: str, timeout_s: float, *, streamed: bool = False, adopted: bool = False
    ) -> None:
        then = "it was not stopped"
        if adopted:
            then = "its code is cancelled, unless that runs in a thread,"
        elif streamed:
            then = "its turn is cancelled, unless a durable agent accepted it,"
        super().__init__(
            f"{actor} did not answer {message_type} within {timeout_s:g} s; {then} and may have done the work"
        )
        self.actor = actor
        self.message_type = message_type
        self.timeout_s = timeout_s


class AskFailed(RegrowError):
    """The other side ended, crashed on the request or never existed; the same on every engine.

    Attributes: `actor`, `reason` (an ExitReason), and for a crash `type_name`, `message`
    and `traceback` of the exception there.
    """

    def __init__(self, actor: str, reason: ExitReason, text: str) -> None:
        super().__init__(text)
        self.actor = actor
        self.reason = reason

    @property
    def type_name(self) -> str:
        """The exception's class name where the reason is a crash, else the empty string."""
        return getattr(self.reason, "type_name", "")

    @property
    def message(self) -> str:
        """The exception's text where the reason is a crash, else the empty string."""
        return getattr(self.reason, "message", "")

    @property
    def traceback(self) -> str:
        """The exception's traceback where the reason is a crash, else the empty string."""
        return getattr(self.reason, "traceback", "")


class NotAwaited(AskFailed):
    """The asker is being stopped and waits no longer for one between two lives; the text says what becomes of the ask.

    The reason is NoProc. Where it leaves the handler of a durable agent it is the stop's doing, and no failed attempt.
    """


class PartsLost(RegrowError):
    """An answer has come without parts that were emitted: to a reader that is gone, to another, or to nobody.

    The work is done, and its reply is kept; parts are not. `reply` is that of the stream, too.
    """

    def __init__(self, actor: str, message_type: str, *, emitted: int, read: int, reply: object) -> None:
        super().__init__(
            f"{actor} has answered {message_type} in {emitted:,} parts, and {read:,} of them came to this stream; the "
            "others went to a reader that is gone or to nobody, and parts are not kept: take stream.reply, or send "
            f"{message_type} under a new id to have the work done again"
        )
        self.actor = actor
        self.emitted = emitted
        self.read = read
        self.reply = reply


class WorldBroke(RegrowError):
    """Something outside Regrow failed: Ray, Redis, a model provider, a disk."""


class ContactLost(WorldBroke):
    """Contact with the process of the receiver was lost while it owed an answer: the outcome is not known.

    The receiver may live and may have done the work, or do it later. `may_have_run` is False only
    where the message is known not to have left.
    """

    actor = ""
    message_type = ""
    may_have_run = True

    def __init__(self, actor: str, message_type: str, *, may_have_run: bool = True) -> None:
        did = f"{message_type} may have run, or may still run" if may_have_run else f"{message_type} was not sent"
        super().__init__(
            f"contact with the process of {actor} was lost; {did}; look whether the work was done before you send it "
            f"again, or monitor {actor} and wait for Reachable or Down"
        )
        self.actor = actor
        self.message_type = message_type
        self.may_have_run = may_have_run


class Bug(RegrowError):
    """A state that must not be; please report it with the text."""


def not_in_a_thread(what: str) -> Misuse:
    """What is raised where a `def` handler tries what only the thread of its host's loop may do."""
    return Misuse(f"a `def` handler runs in a thread and can not {what}; make it `async def`, or return the value")
