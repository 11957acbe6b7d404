"""Which faults a chaos run does, and how often each: one deck has about a hundred, and hits each window five times."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from chaos_desk import AGENTS, CLERKS
from chaos_proxy import Act, Side


class Kind(StrEnum):
    """What is done."""

    AGENT_KILL = "agent_kill"
    HOST_KILL = "host_kill"
    AGENT_RESTART = "agent_restart"
    """By order, in the middle of a step: its process lives, and a stop waits for nothing that may be repeated."""
    SUPERVISOR_KILL = "supervisor_kill"
    SUPERVISOR_RESTART = "supervisor_restart"
    """By order: its children stop one after the other, and start when all have ended."""
    GUARDIAN_KILL = "guardian_kill"
    """The guardian is the keeper as well: one process, which has the supervisors and owns the hosts."""
    REDIS_KILL = "redis_kill"
    HOST_STOP = "host_stop"
    HOST_STOP_PAST_LEASE = "host_stop_past_lease"
    REDIS_STOP = "redis_stop"
    REDIS_STOP_PAST_LEASE = "redis_stop_past_lease"
    CUT_BEFORE = "cut_before"
    CUT_AFTER = "cut_after"
    DUPLICATE = "duplicate"
    LATE = "late"
    DELAY = "delay"
    REDIS_FULL = "redis_full"
    CLOCK_JUMP = "clock_jump"
    POISON = "poison"
    ASKED_TWICE = "asked_twice"
    NODE_KILL = "node_kill"
    """A raylet with all that runs below it, hosts and their reaper; another one joins. Only where there are several."""
    NODE_STOP = "node_stop"
    """The same, stopped as one that is cut off: Ray finds it dead, its agents go on elsewhere, and then it is back."""
    NODE_CUT = "node_cut"
    """Its raylet alone is stopped: Ray finds it dead, and its hosts live on and reach Redis, until they know better."""
    SLOT_MOVE = "slot_move"
    """From one master to another, while a script on one of its keys is under way. Only in a Redis Cluster."""


class Window(StrEnum):
    """A moment at which an implementation that is nearly right goes wrong."""

    ENQUEUED_UNACKED = "enqueued_unacked"
    STEP_UNRECORDED = "step_unrecorded"
    COMMIT_REPLY_CUT = "commit_reply_cut"
    COMMITTED_UNRELAYED = "committed_unrelayed"
    """Its receiver does not have it yet; when `relayed` is said, it does."""
    REVOKED_UNCLAIMED = "revoked_unclaimed"
    STOPPED_IN_COMMIT = "stopped_in_commit"


TAKES_AWAY = frozenset(
    {
        Kind.AGENT_KILL,
        Kind.AGENT_RESTART,
        Kind.HOST_KILL,
        Kind.SUPERVISOR_KILL,
        Kind.SUPERVISOR_RESTART,
        Kind.GUARDIAN_KILL,
        Kind.REDIS_KILL,
        Kind.HOST_STOP,
        Kind.HOST_STOP_PAST_LEASE,
        Kind.REDIS_STOP,
        Kind.REDIS_STOP_PAST_LEASE,
        Kind.REDIS_FULL,
        Kind.LATE,
        Kind.NODE_KILL,
        Kind.NODE_STOP,
        Kind.NODE_CUT,
        Kind.SLOT_MOVE,
    }
)
"""Faults after which an agent is away, so that there is something to recover."""

NO_ROWS = frozenset({0x80, 0x90})
"""How msgpack writes a list, or a map, of nothing."""
SHORT_TEXT, SHORT_MASK = 0xA0, 0x1F
"""How it begins a text of up to 31 bytes, and where its length stands."""
SHORT_LIST, SHORT_LIST_MASK, LIST = 0x90, 0xF0, 0xDC
"""How it begins a list of up to 15, and one of more, whose length stands in two bytes."""


def verdict_in(reply: bytes) -> str:
    """The first word of an answer of the journal, of a batch for its first; nothing where Redis refused it."""
    packed, at = _packed(reply), 0
    while at < len(packed) and (packed[at] & SHORT_LIST_MASK == SHORT_LIST or packed[at] == LIST):
        at += 3 if packed[at] == LIST else 1
    if at >= len(packed) or packed[at] & ~SHORT_MASK != SHORT_TEXT:
        return ""
    return packed[at + 1 : at + 1 + (packed[at] & SHORT_MASK)].decode()


def says(verdict: str) -> Callable[[bytes], bool]:
    """Whether a reply is of that verdict, so that the script did what it is for."""
    return lambda reply: verdict_in(reply) == verdict


def has_rows(reply: bytes) -> bool:
    """Whether a page of the outbox has any."""
    packed = _packed(reply)
    return len(packed) > 1 and packed[1] not in NO_ROWS


def _packed(reply: bytes) -> bytes:
    """The list in a reply, its first byte being how long it is; nothing where the reply is an error."""
    return reply.partition(b"\r\n")[2] if reply.startswith(b"$") else b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One fault, and for how many of a deck it stands. With a `script` a trap does it; `agent` is drawn."""

    kind: Kind
    times: int
    script: str = ""
    side: Side = Side.BEFORE
    act: Act = Act.CUT
    window: Window | None = None
    fits: Callable[[bytes], bool] | None = None
    """Of a script on its way back: whether it did what it is for. A refused one is no fault and hits no window."""
    behind_kill: bool = False
    """The script runs only when the agent's host has been killed, which is done as well."""
    of: tuple[str, ...] = AGENTS
    """The agents that it can be done to; none where it hits all of them."""
    agent: str = ""


_DOES = {
    (Act.CUT, Side.BEFORE): Kind.CUT_BEFORE,
    (Act.CUT, Side.AFTER): Kind.CUT_AFTER,
    (Act.KILL, Side.BEFORE): Kind.HOST_KILL,
    (Act.KILL, Side.AFTER): Kind.HOST_KILL,
    (Act.TWICE, Side.BEFORE): Kind.DUPLICATE,
    (Act.DELAY, Side.BEFORE): Kind.DELAY,
    (Act.LATE, Side.BEFORE): Kind.LATE,
}


def _at(
    script: str,
    side: Side,
    act: Act,
    times: int,
    window: Window | None = None,
    *,
    fits: Callable[[bytes], bool] | None = None,
    behind_kill: bool = False,
    of: tuple[str, ...] = AGENTS,
) -> Plan:
    return Plan(
        kind=_DOES[act, side],
        times=times,
        script=script,
        side=side,
        act=act,
        window=window,
        fits=fits,
        behind_kill=behind_kill,
        of=of,
    )


PLANS = (
    _at("enqueue", Side.AFTER, Act.CUT, 4, Window.ENQUEUED_UNACKED, fits=says("accepted")),
    _at("enqueue", Side.AFTER, Act.KILL, 2, Window.ENQUEUED_UNACKED, fits=says("accepted")),
    _at("enqueue", Side.BEFORE, Act.CUT, 2),
    _at("enqueue", Side.BEFORE, Act.TWICE, 4),
    _at("enqueue", Side.BEFORE, Act.DELAY, 3),
    _at("finish_step", Side.BEFORE, Act.CUT, 4, Window.STEP_UNRECORDED),
    _at("finish_step", Side.BEFORE, Act.KILL, 2, Window.STEP_UNRECORDED),
    _at("finish_step", Side.AFTER, Act.CUT, 2, fits=says("recorded")),
    _at("finish_step", Side.BEFORE, Act.TWICE, 3),
    _at("commit", Side.AFTER, Act.CUT, 4, Window.COMMIT_REPLY_CUT, fits=says("done")),
    _at("commit", Side.AFTER, Act.KILL, 2, Window.COMMIT_REPLY_CUT, fits=says("done")),
    _at("commit", Side.BEFORE, Act.CUT, 3),
    _at("commit", Side.BEFORE, Act.TWICE, 3),
    _at("commit", Side.BEFORE, Act.DELAY, 3),
    _at("commit", Side.BEFORE, Act.LATE, 2),
    _at("outbox", Side.AFTER, Act.CUT, 4, Window.COMMITTED_UNRELAYED, fits=has_rows, of=CLERKS),
    _at("outbox", Side.AFTER, Act.KILL, 2, Window.COMMITTED_UNRELAYED, fits=has_rows, of=CLERKS),
    _at("relayed", Side.BEFORE, Act.CUT, 2, of=CLERKS),
    _at("relayed", Side.BEFORE, Act.KILL, 1, of=CLERKS),
    _at("relayed", Side.BEFORE, Act.TWICE, 1, of=CLERKS),
    _at("claim", Side.BEFORE, Act.CUT, 3, Window.REVOKED_UNCLAIMED, behind_kill=True),
    _at("claim", Side.BEFORE, Act.KILL, 1, Window.REVOKED_UNCLAIMED, behind_kill=True),
    _at("revoke", Side.AFTER, Act.CUT, 2, Window.REVOKED_UNCLAIMED, fits=says("revoked"), behind_kill=True),
    Plan(kind=Kind.HOST_STOP, times=4, script="commit", act=Act.STOP, window=Window.STOPPED_IN_COMMIT),
    Plan(kind=Kind.HOST_STOP_PAST_LEASE, times=2, script="commit", act=Act.STOP, window=Window.STOPPED_IN_COMMIT),
    Plan(kind=Kind.AGENT_KILL, times=8),
    Plan(kind=Kind.AGENT_RESTART, times=6, script="finish_step", act=Act.DELAY),
    Plan(kind=Kind.POISON, times=4),
    Plan(kind=Kind.CLOCK_JUMP, times=4),
    Plan(kind=Kind.ASKED_TWICE, times=10),
    Plan(kind=Kind.SUPERVISOR_KILL, times=3, of=()),
    Plan(kind=Kind.SUPERVISOR_RESTART, times=3, of=()),
    Plan(kind=Kind.REDIS_FULL, times=3, of=()),
    Plan(kind=Kind.REDIS_STOP, times=2, of=()),
    Plan(kind=Kind.REDIS_KILL, times=2, of=()),
    Plan(kind=Kind.REDIS_STOP_PAST_LEASE, times=1, of=()),
    Plan(kind=Kind.GUARDIAN_KILL, times=1, of=()),
)
"""A deck. Cheap faults are many, those that take seconds are few."""

NODE_PLANS = (
    Plan(kind=Kind.NODE_KILL, times=2, of=()),
    Plan(kind=Kind.NODE_STOP, times=2, of=()),
    Plan(kind=Kind.NODE_CUT, times=1, of=()),
)
"""What a deck has besides where there are several nodes."""
CLUSTER_PLANS = (Plan(kind=Kind.SLOT_MOVE, times=5, of=()),)
"""What it has besides on a Redis Cluster."""

NEEDED_IN_WINDOW = 5
"""Faults that each window must have seen, or the run has shown nothing."""
NEEDED_FAULTS = 100


def plans_for(*, nodes: int = 1, cluster: bool = False) -> tuple[Plan, ...]:
    """What a deck has on so many nodes, and on one Redis or a cluster."""
    return (*PLANS, *(NODE_PLANS if nodes > 1 else ()), *(CLUSTER_PLANS if cluster else ()))


def deck(dice: random.Random, plans: Sequence[Plan] = PLANS) -> list[Plan]:
    """All faults of a deck in a drawn order, each with its agent."""
    drawn = [
        replace(plan, times=1, agent=dice.choice(plan.of) if plan.of else "")
        for plan in plans
        for _ in range(plan.times)
    ]
    dice.shuffle(drawn)
    return drawn


def lanes(plans: Sequence[Plan]) -> dict[str, list[Plan]]:
    """The faults by whom they hit, so that each agent has one at a time; under "" those that hit all."""
    by_agent: dict[str, list[Plan]] = {name: [] for name in ("", *AGENTS)}
    for plan in plans:
        by_agent[plan.agent].append(plan)
    return by_agent
