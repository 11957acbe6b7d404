"""ActorRef: how everybody reaches an actor, wherever it is.

A ref is logical: it outlives restarts, crosses hosts inside messages, and costs two pointers.
Sent from inside a turn it carries that turn's identity, trace and call chain.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from regrow.runtime.address import Address

if TYPE_CHECKING:
    from regrow.runtime.lifecycle import ExitReason
    from regrow.runtime.message import Message, Request, StreamRequest
    from regrow.runtime.runtime import Runtime
    from regrow.runtime.stream import Stream
    from regrow.runtime.stream_window import Window

P = TypeVar("P")
R = TypeVar("R")

DEFAULT_ASK_TIMEOUT_S = 30.0
DEFAULT_SEND_TIMEOUT_S = 5.0


class ActorRef:
    """A reference to an actor."""

    __slots__ = ("_runtime", "address")

    __regrow_immutable__ = True

    def __init__(self, address: Address, runtime: Runtime) -> None:
        self.address = address
        self._runtime = runtime

    @property
    def runtime(self) -> Runtime:
        """The runtime of the process in which the ref is, for rooms that build on the kernel."""
        return self._runtime

    @property
    def id(self) -> str:
        """The logical id, such as `desk/clerk`."""
        return self.address.actor

    def tell(self, message: Message, *, send_timeout_s: float = DEFAULT_SEND_TIMEOUT_S) -> Coroutine[Any, Any, None]:
        """Sends; returns when the receiver's host has taken the message.

        Raises:
            MailboxFull: there was no room within `send_timeout_s`; the message was not delivered.
            NotAllowed: the sender's capability does not reach the receiver.
            InvalidMessage: `message` is no Message.
        """
        return self._runtime.tell(self.address, message, send_timeout_s)

    def tell_nowait(self, message: Message) -> None:
        """Sends without waiting. Raises MailboxFull at once where the lack of room is known here."""
        self._runtime.tell_nowait(self.address, message)

    def ask(
        self, request: Request[R], *, timeout_s: float = DEFAULT_ASK_TIMEOUT_S, command_id: str | None = None
    ) -> Coroutine[Any, Any, R]:
        """Sends a request and waits for its reply.

        Inside a turn the deadline is the turn's own where that is earlier.

        Raises:
            AskFailed: the receiver does not exist (NoProc), crashed on the request, or was killed.
            AskTimeout: no reply in time; the callee was not stopped.
            ContactLost: the callee's process does not answer; at once, or at the deadline where that was known before.
            Refused: the receiver declined; it lives.
            MailboxFull, NotAllowed, CallingSelf, AskCycle, InvalidMessage: it could not be asked.
        """
        return self._runtime.asking.ask(self.address, request, timeout_s, command_id)

    def stream(
        self,
        request: StreamRequest[P, R],
        *,
        timeout_s: float = DEFAULT_ASK_TIMEOUT_S,
        window: Window | None = None,
        command_id: str | None = None,
    ) -> Stream[P, R]:
        """The answer part by part: `async with ref.stream(request) as stream: async for part in stream: …`.

        `timeout_s` is for all of it. `window` says how much may wait unread. Raises Misuse for a request that names no
        parts; everything that `ask` raises is raised by the loop, or where the block is entered.
        """
        return self._runtime.streams.stream(
            self.address, request, timeout_s=timeout_s, window=window, command_id=command_id
        )

    async def stop(self, reason: ExitReason | None = None, *, grace_s: float | None = 10.0) -> None:
        """Asks the actor to end in order; its supervisor decides whether it comes back."""
        self._runtime.stop_actor(self.address, reason, grace_s)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        return f"<ref {self.address}>"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.is_instance_schema(cls)
