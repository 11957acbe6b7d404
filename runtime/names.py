"""How a process reaches the names and groups of its app, wherever they are kept.

The same requests over the same links on every engine. A life that has taken anything is marked before the
request leaves, so that it gives back at its end also what it was never told that it got.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from regrow.runtime.address import ActorId, Address, HostId, Incarnation
from regrow.runtime.cell import Cell
from regrow.runtime.context import current
from regrow.runtime.errors import (
    AskFailed,
    AskTimeout,
    Closed,
    InvalidMessage,
    Misuse,
    NameTaken,
    RegrowError,
    WorldBroke,
)
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.ref import DEFAULT_ASK_TIMEOUT_S, ActorRef
from regrow.runtime.registry import (
    REGISTRY,
    GiveBack,
    Held,
    Holders,
    Join,
    Leave,
    MembersOf,
    Register,
    Registry,
    RegistryBehavior,
    Unregister,
    WhoHas,
)
from regrow.runtime.start import start_life
from regrow.runtime.starter import StartRequest

if TYPE_CHECKING:
    from regrow.runtime.message import Request
    from regrow.runtime.runtime import R, Runtime

log = structlog.get_logger("regrow.names")

MAX_NAME_CHARS = 255
"""The longest name of an actor or a group."""
REGISTRY_CAPACITY = 100_000
"""The mailbox of the registry: every process of the app sends to it."""
GIVE_BACK_TRY_S = 5.0
"""How long one try to give names back may take; it is made again, for a Down must not come before."""
GIVE_BACK_TRIES = 12
"""After so many tries, a minute in all, an end is told although its names may not be free."""


class Names:
    """Names and groups, as one process uses them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def register(self, cell: Cell, name: str) -> None:
        """Takes a name for the life that runs in a cell. Raises NameTaken."""
        held = self._marked(cell, name)
        (winner,) = (await self._ask(Register(name=name, held=held))).lives
        if winner != held:
            raise NameTaken(name, held.actor, self._ref(winner))

    async def unregister(self, cell: Cell, name: str) -> bool:
        """Gives a name back; False when this life does not have it."""
        return await self._ask(Unregister(name=name, held=_held(cell)))

    async def join(self, cell: Cell, group: str) -> None:
        """Adds one membership for the life that runs in a cell."""
        await self._ask(Join(group=group, held=self._marked(cell, group)))

    async def leave(self, cell: Cell, group: str) -> bool:
        """Removes one membership; False when this life has none."""
        return await self._ask(Leave(group=group, held=_held(cell)))

    async def whereis(self, name: str) -> ActorRef | None:
        """The life that has the name; None when nobody has."""
        found: Holders = await self._ask(WhoHas(name=name))
        return self._ref(found.lives[0]) if found.lives else None

    async def members(self, group: str) -> list[ActorRef]:
        """The lives in a group, each as often as it joined."""
        found: Holders = await self._ask(MembersOf(group=group))
        return [self._ref(life) for life in found.lives]

    async def give_back(self, cell: Cell) -> None:
        """Returns when nothing is held for the life that ends in this cell (SEMANTICS 3: names are free before Down).

        Whoever keeps the names may be out of reach for a while, so it is tried again; when it is gone, or
        this process stops, nothing is held any more.
        """
        current.set(None)  # this task was made by a turn of the life that is over, and that sends nothing
        held = _held(cell)
        for _ in range(GIVE_BACK_TRIES):
            try:
                await self._ask(GiveBack(held=held), timeout_s=GIVE_BACK_TRY_S)
            except (AskTimeout, WorldBroke):
                continue
            except (AskFailed, Closed):
                return
            return
        log.error("the names of an actor that ended may not be free", agent=cell.actor, incarnation=cell.incarnation)

    async def _ask(self, request: Request[R], *, timeout_s: float = DEFAULT_ASK_TIMEOUT_S) -> R:
        return await self._runtime.asking.ask(Address(REGISTRY), request, timeout_s, None)

    def _marked(self, cell: Cell, name: str) -> Held:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
            raise InvalidMessage(f"a name is a text of 1 to {MAX_NAME_CHARS} characters; got {name!r}"[:400])
        cell.holds_names = True
        return _held(cell)

    def _ref(self, life: Held) -> ActorRef:
        return ActorRef(Address(ActorId(life.actor), Incarnation(life.incarnation)), self._runtime)


async def keep_registry(runtime: Runtime) -> Registry:
    """Makes this process the one that keeps the names and groups of its app."""
    registry = Registry()
    request = StartRequest(
        actor=REGISTRY,
        incarnation=Incarnation(1),
        target=RegistryBehavior,
        mailbox=MailboxSettings(REGISTRY_CAPACITY),
        survives_exit=False,
    )
    cell = runtime.cells[REGISTRY] = Cell(runtime, request)

    def is_dead(host: HostId) -> bool:
        carrier = runtime.delivery.carrier
        return carrier is not None and carrier.is_dead(host)

    failed = await start_life(cell, request, RegistryBehavior(registry, is_dead))
    if failed is not None:
        raise RegrowError(f"the registry did not start ({failed})")
    return registry


def _held(cell: Cell) -> Held:
    return Held(actor=cell.actor, incarnation=cell.incarnation, host=cell.runtime.host)


def no_keys(whose: object, key: str) -> ActorId:
    """In place of what knows the ids of agents with keys. Raises Misuse."""
    raise Misuse(f"this process runs no app, so it knows no {whose!r} with the key {key!r}")
