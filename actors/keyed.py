"""How agents that are reached by key are declared in a tree: `keyed(Clerk)`, beside `child(…)`."""

from __future__ import annotations

from typing import Any, Literal

from regrow.actors.durable import DurableAgent
from regrow.runtime.mailbox import DEFAULT_CAPACITY, Overflow
from regrow.runtime.placement import Placement
from regrow.supervisors.errors import SpecError
from regrow.supervisors.intensity import Backoff
from regrow.supervisors.spec import DEFAULT_MAX_CHILDREN, WORKER_SHUTDOWN_S, ChildSpec, KeyedSpec, Kind, child

IDLE_S = 60.0
"""How long an agent with nothing to do stays in memory, unless its declaration says otherwise."""


def keyed(
    target: type[DurableAgent[Any]],
    id: str | None = None,
    *,
    idle_s: float = IDLE_S,
    max_active: int = DEFAULT_MAX_CHILDREN,
    max_restarts: int = 3,
    within_s: float = 5.0,
    backoff: Backoff | None = None,
    shutdown_s: float = WORKER_SHUTDOWN_S,
    config: object | None = None,
    placement: Placement | None = None,
    mailbox: int = DEFAULT_CAPACITY,
    overflow: Overflow | Literal["block", "reject"] = "block",
) -> ChildSpec:
    """The spec of a kind of durable agents, one for each key: `ref(Clerk, key="user-42")`, or by id `clerk/user-42`.

    The first message to a key starts its agent, and one that has had nothing to do for `idle_s` seconds ends; all of
    it is kept in the journal. `max_active` may run at once, in a pool of one host unless `placement` says otherwise.
    More than `max_restarts` crashes within `within_s`, of all of them together, end the kind's supervisor. Where
    `mailbox` messages wait for one agent, the next waits for room ("block") or is refused ("reject").

    Raises SpecError for any value it can not have, and for a `target` that is no DurableAgent.

    >>> from pydantic import BaseModel
    >>> from regrow import DurableAgent
    >>> class Tally(BaseModel): ...
    >>> class Clerk(DurableAgent[Tally]): ...
    >>> keyed(Clerk, idle_s=5).id
    'clerk'
    """
    if not (isinstance(target, type) and issubclass(target, DurableAgent)):
        allowed = (
            "a class derived from DurableAgent: an agent that ends when it is idle, and is started by the next "
            "message, must keep its state outside of memory"
        )
        raise SpecError("target", target, allowed, where="keyed")
    each = child(
        target, id, shutdown_s=shutdown_s, config=config, placement=placement, mailbox=mailbox, overflow=overflow
    )
    spec = KeyedSpec(
        child=each,
        idle_s=idle_s,
        max_active=max_active,
        max_restarts=max_restarts,
        within_s=within_s,
        backoff=backoff,
    )
    return ChildSpec(id=each.id, behavior=spec, kind=Kind.SUPERVISOR, shutdown_s=None)
