"""Replies that another agent gives later: the slot that travels, and what a life still owes by its slots.

A handler that can not answer itself takes its reply slot, hands it on and returns; whoever has the slot answers once
(OTP: `{noreply, State}` and `gen_server:reply/2`). The answer goes by way of the life that took the slot: it knows
whether one was given already, and its end fails the asker, as OTP's monitor would.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import SlotsFull
from regrow.runtime.immutable import wire_name

if TYPE_CHECKING:
    from regrow.runtime.address import HostId
    from regrow.runtime.errors import Refused
    from regrow.runtime.ref import ActorRef

R = TypeVar("R")

MAX_OPEN_SLOTS = 10_000
"""How many deferred replies one life may owe at once; beyond them a handler that defers is refused."""


class ReplySlot(Generic[R]):
    """The right to answer one ask, once: immutable, and it travels in messages as a ref does.

    `taker` is the life that was asked, `request` the wire name of what it was asked.
    """

    __slots__ = ("ask_id", "reply_host", "request", "taker")

    __regrow_immutable__ = True

    def __init__(self, taker: ActorRef, reply_host: HostId, ask_id: int, request: str) -> None:
        self.taker = taker
        self.reply_host = reply_host
        self.ask_id = ask_id
        self.request = request

    def reply(self, value: R) -> None:
        """Answers. What comes second, or behind the deadline, is a dead letter `late_reply`.

        Raises:
            InvalidMessage: the request names another type of reply, or the value can not travel.
            Closed: the agent that answers, or the app, has ended.
        """
        self.taker.runtime.asking.answer(self, value)

    def refuse(self, refusal: Refused) -> None:
        """Answers with a considered no, as a handler does that raises it. Raises Closed as `reply` does."""
        self.taker.runtime.asking.refuse(self, refusal)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReplySlot) and (other.reply_host, other.ask_id) == (self.reply_host, self.ask_id)

    def __hash__(self) -> int:
        return hash((self.reply_host, self.ask_id))

    def __repr__(self) -> str:
        return f"<reply slot of {self.taker.address} for {self.request} ({self.reply_host}/{self.ask_id})>"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.is_instance_schema(cls)


class OpenSlots:
    """The asks for which a life has taken the slot and nobody has answered; each is kept until its deadline."""

    __slots__ = ("_loop", "_owed")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._owed: dict[tuple[HostId | None, int], tuple[Envelope, asyncio.TimerHandle | None]] = {}

    def __len__(self) -> int:
        return len(self._owed)

    def open(self, envelope: Envelope, taker: ActorRef) -> ReplySlot[Any]:
        """The slot of an ask whose reply is owed from now on; its turn handles it like a tell. Raises SlotsFull."""
        if len(self._owed) >= MAX_OPEN_SLOTS:
            raise SlotsFull(envelope.receiver, MAX_OPEN_SLOTS)
        assert envelope.reply_host is not None
        key = (envelope.reply_host, envelope.ask_id)
        deadline, timer = envelope.deadline, None
        if deadline is not None and math.isfinite(deadline):
            timer = self._loop.call_at(deadline, self._owed.pop, key, None)
        ask = Envelope(Kind.ASK, envelope.receiver, envelope.message, envelope.origin, deadline, key[1], key[0])
        self._owed[key] = ask, timer
        envelope.kind = Kind.TELL
        return ReplySlot(taker, *key, wire_name(type(envelope.message)))

    def get(self, host: HostId | None, ask_id: int) -> Envelope | None:
        """The ask, while its reply is owed."""
        owed = self._owed.get((host, ask_id))
        return owed[0] if owed is not None else None

    def settle(self, ask: Envelope) -> None:
        """The ask has been answered."""
        _, timer = self._owed.pop((ask.reply_host, ask.ask_id))
        if timer is not None:
            timer.cancel()

    def take_all(self) -> list[Envelope]:
        """Every ask that is owed a reply, as the life ends; none is afterwards."""
        asks = [ask for ask, _ in self._owed.values()]
        for ask in asks:
            self.settle(ask)
        return asks
