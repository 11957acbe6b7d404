"""Asks as steps of a durable turn: each is made once, and its reply or refusal given again in the next run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from regrow.actors.durable_errors import StateNotStorable
from regrow.actors.side_by_side import all_of
from regrow.runtime.ask_all import NoReply, Replied
from regrow.runtime.command_ids import reborn
from regrow.runtime.errors import CodeNotImportable, Misuse, Refused, RegrowError
from regrow.runtime.signals import Failure, failure_of

if TYPE_CHECKING:
    from regrow.actors.durable_turn import Turn
    from regrow.actors.recorded_steps import RecordedSteps
    from regrow.runtime.address import ActorId
    from regrow.runtime.ask_all import AskOutcome
    from regrow.runtime.message import Request

R = TypeVar("R")


class RecordedAsk(Generic[R]):
    """One ask. It has its place among the steps of the turn from when it is made, whenever it is sent."""

    def __init__(
        self, turn: Turn, steps: RecordedSteps, name: str, actor: ActorId, request: Request[R], digest: str
    ) -> None:
        self._steps = steps
        self._actor = actor
        self._request = request
        self._derived = turn.derived(name)
        self._key, self._record = turn.next_step(name, digest, idempotent=True)

    @property
    def actor(self) -> ActorId:
        """Who is asked."""
        return self._actor

    async def begin(self) -> None:
        """Records that it begins, unless its outcome is recorded."""
        if self._record is None:
            await self._steps.begin(self._key)

    async def command(self) -> str:
        """The id to ask under: the same each time that the turn is run, so that a durable callee too answers once."""
        if self._record is not None:
            return self._derived
        return reborn(self._derived, await self._steps.birth_ms(self._derived, self._key))

    async def begun(self) -> str:
        """Both."""
        await self.begin()
        return await self.command()

    async def outcome(self, ask: Callable[[], Awaitable[R]]) -> R:
        """Its reply: the recorded one, or what `ask` gives now. Raises the refusal that is recorded, or of now.

        What else `ask` raises is not recorded, since nobody knows what came of it: it is asked again in the next run.
        """
        value, reply = await self.kept(ask), self._request.reply()
        if self._record is None:
            return value  # type: ignore[return-value] # as it came
        try:
            return reply.read(value)  # type: ignore[return-value] # what it declares
        except ValueError as error:
            raise CodeNotImportable(f"the recorded reply of {self._actor} is no {reply} any more ({error})") from error

    async def kept(self, ask: Callable[[], Awaitable[object]]) -> object:
        """The same for what is recorded as it is, whatever the request declares."""
        if self._record is not None:
            value = await self._steps.value(self._record)
            if isinstance(value, Failure):
                raise value.exception(self._actor)
            return value
        try:
            value = await ask()
        except Refused as refusal:
            await self._steps.end(self._key, failure_of(refusal))
            raise
        await self._steps.end(self._key, value)
        return value


class _NoAnswer(Exception):
    """An ask has failed with this error, and not the recording of it."""

    def __init__(self, error: RegrowError) -> None:
        super().__init__(str(error))
        self.error = error


async def asked_all(
    asks: list[RecordedAsk[Any] | NoReply], send: Callable[[int, str], Awaitable[Any]]
) -> list[AskOutcome[Any]]:
    """What comes of many asks at once, each recorded as it comes in. `send` is given which one, and its id.

    All are begun before the first is sent, and sent in their order: two to one receiver arrive in it. Raises what the
    recording raises; errors of the asks are their outcomes.
    """
    ids = iter(await all_of(ask.begun() for ask in asks if isinstance(ask, RecordedAsk)))

    async def outcome(number: int, ask: RecordedAsk[Any], id: str) -> AskOutcome[Any]:
        async def sent() -> Any:
            try:
                return await send(number, id)
            except Refused:
                raise
            except RegrowError as error:
                raise _NoAnswer(error) from error

        try:
            return Replied(agent=ask.actor, reply=await ask.outcome(sent))
        except Refused as refusal:
            return NoReply(agent=ask.actor, error=refusal)
        except _NoAnswer as nothing:
            return NoReply(agent=ask.actor, error=nothing.error)

    calls = [
        outcome(number, ask, next(ids)) if isinstance(ask, RecordedAsk) else _known(ask)
        for number, ask in enumerate(asks)
    ]
    return await all_of(calls)


def check_order(turn: Turn, actor: ActorId) -> None:
    """Raises Misuse for an ask behind a tell to the same receiver that has not left."""
    if any(outgoing.target == actor for outgoing in turn.outgoing):
        raise Misuse(
            f"{turn.agent} asks {actor} behind a tell to it that leaves only when this turn is committed, so the "
            "two would arrive in the wrong order; ask first, or tell in a later turn"
        )


def check_number(agent: ActorId, asks: int, *, limit: int) -> None:
    """Raises StateNotStorable for more asks at once than a message has records: none is made then."""
    if asks > limit:
        raise StateNotStorable(
            f"{agent} asks {asks:,} at once in one turn, and a message keeps {limit:,} records (steps); split the "
            "work into messages"
        )


async def _known(outcome: NoReply) -> NoReply:
    return outcome
