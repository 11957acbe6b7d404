"""What `regrow why --json` prints: all that was found, and what to do next."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from regrow.cluster.why import (
    DEATHS_TOLD,
    TOLD,
    Death,
    Found,
    Other,
    decision_text,
    in_quarantine,
    retries_of,
    time_told,
)
from regrow.cluster.why_advice import what_next
from regrow.cluster.why_below import below

NOW = ("state", "incarnation", "restarts", "mailbox", "last_reason")


def told(found: Found) -> dict[str, Any]:
    """All of it as JSON."""
    return {
        "agent": found.agent,
        "app_running": found.is_app_running,
        "app_silent": found.is_app_silent,
        "now": None if found.node is None else {key: found.node[key] for key in NOW},
        "deaths": [_death_told(death) for death in found.deaths[-DEATHS_TOLD:]],
        "decisions": [
            {"at": time_told(each.at_ms), "text": decision_text(each), **each.about} for each in found.decisions[-TOLD:]
        ],
        "lost": [{"at": time_told(each.at_ms), "to": each.agent, **each.about} for each in found.losses[-TOLD:]],
        "above": [_death_told(death) for death in found.above],
        "messages": None if found.messages is None else list(found.messages),
        "below": [_other_told(other) for other in below(found)[-TOLD:]],
        "waits": list(found.waits),
        "turns": list(found.turns),
        "history": list(found.history),
        "retried": [asdict(each) for each in retries_of(found)],
        "quarantined": list(in_quarantine(found)),
        "left_out": dict(found.left_out),
        "unknown": list(found.unknown),
        "next": [{"text": each.text, "command": each.command} for each in what_next(found)],
    }


def _death_told(death: Death) -> dict[str, Any]:
    return {
        "at": time_told(death.at_ms),
        "incarnation": death.incarnation,
        "reason": dict(death.reason),
        "host": death.host,
        "pid": death.pid,
        "messages": None if death.messages is None else list(death.messages),
    }


def _other_told(other: Other) -> dict[str, Any]:
    last = other.last
    return {
        "agent": other.agent,
        "deaths": other.deaths,
        "last_at": time_told(last.at_ms),
        "last_reason": last.reason["text"],
    }
