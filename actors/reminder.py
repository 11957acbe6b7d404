"""A reminder on its way: what its handler is told, and how the journal keeps it.

What is set is a `Plan`: the message as it will arrive, and its schedule. What fires is the message and a `Tick`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from regrow.actors.durable_body import body_of, envelope_of
from regrow.actors.schedule import Schedule
from regrow.runtime.address import ActorId
from regrow.runtime.codec import FrameCodec
from regrow.runtime.command_ids import uuid7
from regrow.runtime.envelope import Envelope
from regrow.runtime.errors import Bug
from regrow.runtime.journal_entries import CommandId
from regrow.runtime.message import Message
from regrow.runtime.packing import pack, unpack

TICK_BYTES = 1_024
"""What a tick adds to its message at most: a name has 512 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminder:
    """What `ctx.reminder` tells a handler: which one it was, and when it was due.

    `missed` is how many times have passed since, for which no message comes: the agent was not there to be reminded.
    """

    name: str
    due: datetime
    missed: int


class Plan(Message):
    """A reminder as the journal keeps it. `set_by` is the command whose turn has set it."""

    schedule: Schedule
    body: bytes
    set_by: str


class Tick(Message):
    """One time of a reminder, beside its message."""

    name: str
    due_ms: int
    missed: int

    def told(self) -> Reminder:
        """The same for a handler."""
        return Reminder(name=self.name, due=datetime.fromtimestamp(self.due_ms / 1000, UTC), missed=self.missed)


def planned(codec: FrameCodec, envelope: Envelope, schedule: Schedule, set_by: CommandId) -> bytes:
    """The bytes of a Plan."""
    return pack(Plan(schedule=schedule, body=body_of(codec, envelope), set_by=set_by))


def plan_of(kept: bytes) -> Plan:
    """The Plan that `planned` made."""
    plan = unpack(kept)
    if not isinstance(plan, Plan):
        raise Bug(f"the schedule of a timer holds {plan!r:.200} and no plan")
    return plan


def ticked(codec: FrameCodec, plan: Plan, tick: Tick) -> bytes:
    """The message of a plan as it comes into a mailbox at this time."""
    return body_of(codec, envelope_of(codec, plan.body), tick)


def command_of(agent: ActorId, tick: Tick, set_by: str) -> CommandId:
    """The id of that message: the same whoever fires it, and another one where the reminder was set anew."""
    noise = hashlib.blake2b(f"{agent}\0{tick.name}\0{tick.due_ms}\0{set_by}".encode(), digest_size=10).digest()
    return uuid7(tick.due_ms, int.from_bytes(noise))
