"""Incidents as they are kept, made for tests."""

from __future__ import annotations

from typing import Any

from regrow.cluster.incident_store import Incident, Sort

AT_MS = 1_764_000_000_000
KILLED = {"kind": "killed", "detail": "its process died, as by SIGKILL", "text": "Killed (as by SIGKILL)", "place": ""}
CRASHED = {
    "kind": "crashed",
    "type_name": "ValueError",
    "message": "bad",
    "traceback": 'Traceback:\n  File "/home/ada/desk.py", line 41, in take\n    raise bad\nValueError: bad\n',
    "on_message": "Question",
    "text": "ValueError: bad",
    "place": "desk.py:41",
}
HAD = {"age_s": 0.5, "message": "Question", "sender": "desk/door", "fate": "crashed", "trace": "ab" * 16, "command": ""}


def incident(sort: Sort, life: int = 1, *, agent: str = "desk/clerk", **about: Any) -> Incident:
    """One of this sort, about this life."""
    return Incident(at_ms=AT_MS + life * 1_000, agent=agent, incarnation=life, sort=sort, about=about)


def death(life: int = 1, reason: dict[str, Any] = CRASHED, *, agent: str = "desk/clerk") -> Incident:
    """A death, as the process in which it was tells it."""
    return incident(Sort.DEATH, life, agent=agent, reason=reason, messages=[HAD])


def report(kind: str, life: int = 1, reason: dict[str, Any] | None = None, **more: Any) -> Incident:
    """A report of a supervisor."""
    about: dict[str, Any] = {
        "kind": kind,
        "supervisor": "desk",
        "reason": reason,
        "restarts": 1,
        "max_restarts": 3,
        "within_s": 5.0,
    }
    about |= {"delay_s": 0.0, "restart": "permanent", "host": "h1", "pid": 42, **more}
    return Incident(at_ms=AT_MS + life * 1_000, agent="desk/clerk", incarnation=life, sort=Sort.REPORT, about=about)


def loss(number: int = 0, *, agent: str = "desk/clerk") -> Incident:
    """A dead letter."""
    return incident(Sort.LOSS, agent=agent, reason="crashed", message=f"M{number}", sender="outside")
