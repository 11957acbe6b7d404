"""Why an agent is as it is: what was kept of its deaths, decisions and losses, put together.

Nothing here reads or asks; see past_incidents. What to do next is in why_advice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from regrow.cluster.incident_store import Incident, Sort
from regrow.supervisors.report import ReportKind

DEATHS_TOLD = 5
"""How many of the latest deaths are told."""
TOLD = 20
"""How many of the latest messages, decisions and losses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """One life that is over. `messages` is None where its process took them along."""

    at_ms: int
    agent: str
    incarnation: int
    reason: Mapping[str, Any]
    host: str = ""
    pid: int = 0
    messages: tuple[Mapping[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Somebody else of the app who has died, how often as far as that is kept, and how at last."""

    agent: str
    deaths: int
    last: Death


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that is known of one agent. Of what can not be known `unknown` says why."""

    agent: str
    node: Mapping[str, Any] | None = None
    """How it is now, as `regrow ps --json` has it; None where that can not be told."""
    is_app_running: bool = False
    is_app_silent: bool = False
    """It may run, and does not say how it is."""
    started_ms: int = 0
    """When the app was started that runs, or ran last; 0 where that is not known."""
    supervisors: tuple[Mapping[str, Any], ...] = ()
    """Those above it as they are now, the root first, as `node`."""
    others: tuple[Other, ...] = ()
    """Everybody else who has died, in the order of their last deaths."""
    deaths: tuple[Death, ...] = ()
    decisions: tuple[Incident, ...] = ()
    losses: tuple[Incident, ...] = ()
    above: tuple[Death, ...] = ()
    """Ends of supervisors above it that gave up, oldest first."""
    looked_ms: int = 0
    messages: tuple[Mapping[str, Any], ...] | None = None
    """Its latest messages as it has them at `looked_ms`, oldest first; None where it does not run, or does not say."""
    turns: tuple[Mapping[str, Any], ...] = ()
    """Its latest turns that were recorded in traces."""
    history: tuple[Mapping[str, Any], ...] = ()
    """How its latest turns ended, by its journal."""
    set_aside: tuple[Incident, ...] = ()
    """Messages that went into quarantine, oldest first."""
    quarantined: tuple[Mapping[str, Any], ...] | None = None
    """What is there now; None where that can not be told."""
    waits: tuple[Mapping[str, Any], ...] = ()
    """Messages that wait for somebody's answer, as `regrow waits --json` has them."""
    left_out: Mapping[str, int] = field(default_factory=dict[str, int])
    unknown: tuple[str, ...] = ()


def deaths_of(incidents: Iterable[Incident]) -> tuple[Death, ...]:
    """The ends of lives that did not end in order, oldest first: as its process has told, its supervisor, or both."""
    found: dict[tuple[int, int], Death] = {}
    for each in incidents:
        reason, life = each.about.get("reason"), life_of(each)
        known = found.get(life)
        if each.sort is Sort.DEATH:
            found[life] = Death(
                at_ms=each.at_ms,
                agent=each.agent,
                incarnation=each.incarnation,
                reason=each.about["reason"],
                host=known.host if known is not None else "",
                pid=known.pid if known is not None else 0,
                messages=tuple(each.about["messages"]),
            )
        elif each.sort is Sort.REPORT and each.about["kind"] in _ENDS and reason and _is_abnormal(reason):
            found[life] = Death(
                at_ms=known.at_ms if known is not None else each.at_ms,
                agent=each.agent,
                incarnation=each.incarnation,
                reason=reason,
                host=each.about["host"],
                pid=each.about["pid"],
                messages=known.messages if known is not None else None,
            )
    return tuple(found[life] for life in sorted(found))


def others_of(incidents: Iterable[Incident], agent: str) -> tuple[Other, ...]:
    """Who else has died, in the order of the last deaths. The incidents are those of several agents, oldest first."""
    each_has: dict[str, list[Incident]] = {}
    for each in incidents:
        if each.agent != agent:
            each_has.setdefault(each.agent, []).append(each)
    deaths = ((other, deaths_of(has)) for other, has in each_has.items())
    found = (Other(agent=other, deaths=len(died), last=died[-1]) for other, died in deaths if died)
    return tuple(sorted(found, key=lambda other: other.last.at_ms))


def end_not_kept(found: Found) -> str:
    """How it ended at last by what its supervisor says, where no death of this run was kept; empty otherwise."""
    if found.node is None or any(death.at_ms >= found.started_ms for death in found.deaths):
        return ""
    last = str(found.node["last_reason"])
    return "" if last.startswith(_IN_ORDER) else last


_IN_ORDER = ("Normal", "Shutdown")


def life_of(incident: Incident) -> tuple[int, int]:
    """Which life it is about, of all that the agent has had in all runs of its app, in their order."""
    return incident.about.get("run_ms", 0), incident.incarnation


_ENDS = (ReportKind.CHILD_TERMINATED.value, ReportKind.START_FAILED.value)


def decisions_of(incidents: Iterable[Incident]) -> tuple[Incident, ...]:
    """What supervisors and people did about it, oldest first."""
    return tuple(each for each in incidents if each.sort is Sort.ORDER or (each.sort is Sort.REPORT and _decides(each)))


def _decides(report: Incident) -> bool:
    """Whether a report tells more than a death, which is told by itself."""
    is_end = report.about["kind"] == ReportKind.CHILD_TERMINATED.value
    return not (is_end and _is_abnormal(report.about["reason"]))


def _is_abnormal(reason: Mapping[str, Any]) -> bool:
    return reason["kind"] not in ("normal", "shutdown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A message of a durable agent that did not come to its end at once; `outcome` is empty as long as it has none."""

    message: str
    command: str
    failed: int
    outcome: str = ""


def retries_of(found: Found) -> tuple[Retry, ...]:
    """What was tried more than once, or is still to be; by what its process remembers, and what its journal keeps."""
    known: dict[str, Retry] = {}
    for each in found.messages if found.messages is not None else last_messages(found):
        before = known.get(each["command"], Retry(message=each["message"], command=each["command"], failed=0))
        has_failed = each["fate"] in _TRIED_AGAIN
        known[each["command"]] = replace(
            before, failed=before.failed + has_failed, outcome="" if has_failed else each["fate"]
        )
    for each in found.history:
        known[each["command"]] = Retry(
            message=each["message"], command=each["command"], failed=each["failed_before"], outcome=each["outcome"]
        )
    return tuple(each for command, each in known.items() if command and each.failed)


def messages_gone(
    deaths: Sequence[Death], history: Sequence[Mapping[str, Any]], turns: Sequence[Mapping[str, Any]]
) -> str:
    """Says that the last one that died took its messages along, and what is told in their place; empty where not."""
    if not deaths or deaths[-1].messages is not None or deaths[-1].reason["kind"] not in ("killed", "fenced"):
        return ""
    life = deaths[-1].incarnation
    instead = "no traces of it were recorded either"
    if history:
        instead = "its turns are told as the journal has them"
    elif any(turn["incarnation"] == life for turn in turns):
        instead = "its turns are told as they were recorded"
    return f"which messages life #{life} had before its end went with its process; {instead}"


_TRIED_AGAIN = ("crashed", "cut")


def in_quarantine(found: Found) -> tuple[Mapping[str, Any], ...]:
    """The messages that wait for a person: those that the journal has, or else those that are known to have gone there.

    Each with its `id`, and where it is known with `message`, `sender` and `reason`.
    """
    known: dict[str, Mapping[str, Any]] = {}
    for each in sorted((*found.set_aside, *found.decisions), key=lambda each: each.at_ms):
        if each.sort is Sort.QUARANTINE:
            known[each.about["command"]] = _set_aside_told(each)
        elif each.sort is Sort.ORDER:
            known.pop(each.about.get("command", ""), None)
    if found.quarantined is None:
        return tuple(known.values())
    return tuple({**known.get(row.get("command", ""), {}), **row} for row in found.quarantined)


def _set_aside_told(incident: Incident) -> dict[str, Any]:
    about = incident.about
    return {
        "id": f"{incident.agent}@{about['command']}",
        "agent": incident.agent,
        "command": about["command"],
        "since": time_told(incident.at_ms),
        "message": about["message"],
        "sender": about["sender"],
        "reason": about["reason"]["text"],
    }


def decision_text(incident: Incident) -> str:
    """What was decided, in one sentence."""
    about = incident.about
    if incident.sort is Sort.ORDER:
        of = f" of {incident.agent}@{about['command']}" if about.get("command") else ""
        return f"a person ordered: {about['deed']}{of}"
    window = f"{about['restarts']} of {about['max_restarts']} restarts in {about['within_s']:g} s"
    match ReportKind(about["kind"]):
        case ReportKind.CHILD_STARTED:
            return f"#{incident.incarnation} runs" + (f", pid {about['pid']}" if about["pid"] else "")
        case ReportKind.RESTARTING:
            wait = f" after {about['delay_s']:.3g} s" if about["delay_s"] else ""
            return f"{about['supervisor']} restarts it{wait} ({window})"
        case ReportKind.START_FAILED:
            return f"#{incident.incarnation} did not start"
        case ReportKind.ESCALATED:
            allowed = f"{about['max_restarts']} are allowed in {about['within_s']:g} s"
            return f"{about['supervisor']} gave up: {about['restarts']} restarts, where {allowed}"
        case ReportKind.CHILD_TERMINATED:
            return f"#{incident.incarnation} ended in order ({about['reason']['text']})"


def last_messages(found: Found) -> Sequence[Mapping[str, Any]]:
    """The messages before the last death that left any word of them."""
    return next((death.messages for death in reversed(found.deaths) if death.messages), ())


def since_death(found: Found) -> Sequence[Mapping[str, Any]]:
    """What an agent that lives has had since its last death; all that it has where none is known.

    One that was started again where it died still has the messages of before. Which these are is told by what they are,
    since the times come from two clocks.
    """
    has = found.messages or ()
    if not found.deaths:
        return has
    had = found.deaths[-1].messages or ()
    for count in range(min(len(had), len(has)), 0, -1):
        if list(map(_without_age, had[-count:])) == list(map(_without_age, has[:count])):
            return has[count:]
    return tuple(each for each in has if found.looked_ms - each["age_s"] * 1_000 > found.deaths[-1].at_ms)


def _without_age(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: said for name, said in message.items() if name != "age_s"}


def time_told(ms: int) -> str:
    """A Unix time in milliseconds as text, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
