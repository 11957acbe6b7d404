"""Request collections: one deadline for many asks, and for each target what came of it (OTP: `gen_server:reqids`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeAlias, TypeVar, cast

from regrow.runtime.asks import PendingAsk
from regrow.runtime.errors import Misuse, RegrowError

if TYPE_CHECKING:
    from regrow.runtime.asking import Asking
    from regrow.runtime.message import Request
    from regrow.runtime.ref import ActorRef

R = TypeVar("R")

MAX_TARGETS = 10_000
"""How many asks one collection may hold; more are sent in several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replied(Generic[R]):
    """A target replied."""

    agent: str
    reply: R

    def result(self) -> R:
        """The reply."""
        return self.reply


@dataclass(frozen=True, slots=True, kw_only=True)
class NoReply:
    """A target did not reply; `error` is what `ask` would have raised.

    `agent` is its id, or what was given as the target where that names no agent.
    """

    agent: str
    error: RegrowError

    def result(self) -> NoReturn:
        """Raises the error."""
        raise self.error


AskOutcome: TypeAlias = Replied[R] | NoReply
"""What came of one ask of a collection."""


def paired(targets: Iterable[Any], request: Request[Any] | None) -> list[tuple[Any, Request[Any]]]:
    """Each target with its request. Raises Misuse for more than MAX_TARGETS and for what is no pair."""
    pairs = [(target, request) for target in targets] if request is not None else list(targets)
    if len(pairs) > MAX_TARGETS:
        raise Misuse(f"ask_all got {len(pairs)} targets, and {MAX_TARGETS} may be asked at once; ask them in parts")
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise Misuse(f"ask_all got {pair!r}; give targets and one request, or pairs of a target and its request")
    return pairs


async def ask_all(
    asking: Asking, ref_of: Callable[[Any], ActorRef], pairs: list[tuple[Any, Request[Any]]], timeout_s: float
) -> list[AskOutcome[Any]]:
    """Sends all requests, then waits until each has its outcome; in the order of `pairs`."""
    now = asyncio.get_running_loop().time()
    sent: list[PendingAsk | NoReply] = []
    asks: list[PendingAsk] = []
    try:
        for target, request in pairs:
            agent = str(target)  # until it is known whose id it stands for
            try:
                address = ref_of(target).address
                agent = address.actor
                ask = asking.send(address, request, timeout_s, now)
            except RegrowError as error:
                sent.append(NoReply(agent=agent, error=error))
            else:
                sent.append(ask)
                asks.append(ask)
        if asks:
            await asyncio.wait([ask.future for ask in asks])
    except BaseException as error:
        for ask in asks:
            asking.give_up(ask, error)
        raise
    return [each if isinstance(each, NoReply) else _outcome(asking, each) for each in sent]


def _outcome(asking: Asking, ask: PendingAsk) -> AskOutcome[Any]:
    error = ask.future.exception()
    if error is None:
        return Replied(agent=ask.actor, reply=ask.future.result())
    asking.give_up(ask, error)
    return NoReply(agent=ask.actor, error=cast("RegrowError", error))  # nothing else is ever set
