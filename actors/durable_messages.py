"""What a durable turn sends: its tells leave with its commit, and its asks are recorded as steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from regrow.actors.context import Context
from regrow.actors.durable_body import body_of, digest, packed
from regrow.actors.durable_errors import StateNotStorable
from regrow.actors.durable_turn import Turn
from regrow.actors.durable_wait import TurnParks
from regrow.actors.read_only import no_turn
from regrow.actors.recorded_asks import RecordedAsk, asked_all, check_number, check_order
from regrow.actors.recorded_service import RecordedService
from regrow.actors.recorded_steps import RecordedSteps
from regrow.actors.recorded_stream import RecordedStream
from regrow.runtime.address import ActorId
from regrow.runtime.ask_all import AskOutcome, NoReply
from regrow.runtime.durability import Durability
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import MessageTooLarge, Misuse, RegrowError
from regrow.runtime.message import Message, Request
from regrow.runtime.ref import DEFAULT_ASK_TIMEOUT_S, DEFAULT_SEND_TIMEOUT_S, ActorRef

if TYPE_CHECKING:
    from regrow.actors.service import Service
    from regrow.runtime.message import StreamRequest
    from regrow.runtime.stream import Stream
    from regrow.runtime.stream_window import Window

P = TypeVar("P")
R = TypeVar("R")


class DurableMessages(Context):
    """The part of a DurableContext by which a turn reaches others."""

    __slots__ = ("reads", "turn")

    turn: Turn | None

    def __init__(self, cell: Any, envelope: Envelope | None) -> None:
        super().__init__(cell, envelope)
        self.turn = None
        """Set while a message is handled; outside of that nothing is recorded."""
        self.reads = False  # true for a handler that is read_only

    @property
    def deadline(self) -> float | None:
        """How many seconds are left until the reply is worth nothing; None without one, and once the turn has waited.

        Who asked may have gone long before a person answers, and what the turn does then is done all the same.
        """
        return None if self._has_waited else super().deadline

    @property
    def deadline_at(self) -> float | None:
        """The same as a time of this process's loop."""
        return None if self._has_waited else super().deadline_at

    def _new_run(self) -> str:
        return super()._new_run() if self.turn is None else self.turn.command

    @property
    def _has_waited(self) -> bool:
        return self.turn is not None and self.turn.has_waited

    async def tell(
        self, target: ActorRef | str | object, message: Message, *, send_timeout_s: float = DEFAULT_SEND_TIMEOUT_S
    ) -> None:
        """Sends when this turn has been committed, and not at all if it is not; nothing is waited for here."""
        self.tell_nowait(target, message)

    def tell_nowait(self, target: ActorRef | str | object, message: Message) -> None:
        """See `tell`."""
        self._on_own_thread()
        turn, ref = self.turn, self.ref(target)
        if turn is None:
            raise no_turn(self.id, read_only=self.reads, what="sends")
        self._durable.codec.check(message)
        envelope = Envelope(Kind.TELL, ref.address.actor, message, self.origin())
        self.runtime.delivery.check(envelope)
        if self.runtime.guarding.messages is not None:
            self.runtime.guarding.messages.sent(envelope.origin)
        body, limits = body_of(self._durable.codec, envelope), self._durable.journal.limits
        if len(body) > limits.message_bytes:
            raise MessageTooLarge(
                ref.address.actor, type(message).__name__, size_bytes=len(body), limit_bytes=limits.message_bytes
            )
        if len(turn.outgoing) >= limits.outbox:
            raise StateNotStorable(
                f"{self.id} sends more than {limits.outbox:,} messages in one turn (outbox); send one that holds many, "
                "or send the rest in a later turn"
            )
        # A new id each time, for only one run of a turn is committed; and one of today, for its message may be old.
        turn.tell(ref.address.actor, self._durable.command(), body)

    async def ask(
        self,
        target: ActorRef | str | object,
        request: Request[R],
        *,
        timeout_s: float = DEFAULT_ASK_TIMEOUT_S,
        command_id: str | None = None,
    ) -> R:
        """Asks once: its reply, or the callee's refusal, is recorded, and given again when this turn is run again.

        A durable callee is asked under an id of its own, so that it too answers once. An ask whose outcome is not
        known is asked again under that id. `ask_all` does the same for each of its targets.
        """
        ref, ask = self.ref(target), super().ask
        if not self._records:
            return await ask(ref, request, timeout_s=timeout_s, command_id=command_id)
        asked = self._asked(ref, request)
        await asked.begin()

        async def send() -> R:
            return await ask(ref, request, timeout_s=timeout_s, command_id=command_id or await asked.command())

        return await asked.outcome(send)

    async def _ask_all(self, pairs: list[tuple[Any, Request[Any]]], timeout_s: float) -> list[AskOutcome[Any]]:
        if not self._records:
            return await super()._ask_all(pairs, timeout_s)
        check_number(self.id, len(pairs), limit=self._durable.journal.limits.steps)
        asks = [self._asked_or_not(target, request) for target, request in pairs]
        ask = super().ask

        async def send(number: int, command: str) -> Any:
            target, request = pairs[number]
            return await ask(target, request, timeout_s=timeout_s, command_id=command)

        return await asked_all(asks, send)

    def _asked_or_not(self, target: Any, request: Request[Any]) -> RecordedAsk[Any] | NoReply:
        agent = str(target)  # until it is known whose id it stands for
        try:
            ref = self.ref(target)
            agent = ref.address.actor
            self._durable.codec.check(request)
        except RegrowError as error:
            return NoReply(agent=agent, error=error)
        return self._asked(ref, request)

    def stream(
        self,
        target: ActorRef | str | object,
        request: StreamRequest[P, R],
        *,
        timeout_s: float = DEFAULT_ASK_TIMEOUT_S,
        window: Window | None = None,
    ) -> Stream[P, R]:
        """Reads an answer once: its parts and reply are recorded, and read again when this turn is run again."""
        ref = self.ref(target)
        if not self._records:
            return super().stream(ref, request, timeout_s=timeout_s, window=window)
        return RecordedStream(ref, request, self._asked(ref, request, how="stream"), timeout_s=timeout_s, window=window)

    def _asked(self, ref: ActorRef, request: Request[R], *, how: str = "ask") -> RecordedAsk[R]:
        turn, actor = self._turn(), ref.address.actor
        check_order(turn, actor)
        digest = self._digest((request,), {})
        return RecordedAsk(turn, self._steps(turn), f"{how}:{actor}", actor, request, digest=digest)

    def recorded_ask(
        self, name: str, service: ActorId, request: Request[R], *, known_by: Request[Any]
    ) -> RecordedAsk[R] | None:
        """An ask of a service as a step, under the digest of `known_by`; None where nothing is recorded."""
        if not self._records:
            return None
        turn = self._turn()
        return RecordedAsk(turn, self._steps(turn), name, service, request, digest=self._digest((known_by,), {}))

    def defer_reply(self, request: Request[Any] | None = None) -> NoReturn:
        """Not for a durable agent: raises Misuse, since a reply slot does not outlive its process."""
        raise Misuse(
            f"{self.id} defers a reply, which a durable agent can not: its reply is stored with the commit of its "
            "turn, and a reply slot is lost with its process. Wait here for the one who decides, `await "
            "ctx.wait_for(Answer)` or `await ctx.ask(…)`, and return the reply"
        )

    def stash(self) -> NoReturn:
        """Not for a durable agent: raises Misuse, since the stash does not outlive its process."""
        raise Misuse(
            f"{self.id} sets its message aside, which a durable agent can not: the stash is lost with its process. "
            "Wait for what is missing, `await ctx.wait_for(Answer)`, while others are served; or keep what the message "
            "says in the state until it can be done"
        )

    def _service_at(self, name: str, service: ActorId) -> Service:
        return RecordedService(self, name, service)

    @property
    def records_limit(self) -> int:
        """How many steps one message may have."""
        return self._durable.journal.limits.steps

    @property
    def _records(self) -> bool:
        """False while its agent starts or stops; a handler that only reads finds out where it asks."""
        return self.turn is not None or self.reads

    # ---- the journal ---------------------------------------------------------------------------

    @property
    def _durable(self) -> Durability:
        durability = self.runtime.durability
        assert durability is not None, "a durable agent runs, so its process has a journal"
        return durability

    def _turn(self) -> Turn:
        self.live()
        if self.turn is None:
            raise no_turn(self.id, read_only=self.reads, what="takes steps")
        if self.turn.parking is not None:
            raise TurnParks  # it was caught, and this turn is over all the same
        return self.turn

    def _digest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        codec = self._durable.codec
        return digest(packed(codec, list(args)) + packed(codec, sorted(kwargs.items())))

    def _steps(self, turn: Turn) -> RecordedSteps:
        return RecordedSteps(self._durable, turn)
