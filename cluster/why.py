"""Why an agent is as it is: what was kept of its deaths, decisions and losses, put together, and what to do next.

Nothing here reads or asks; see past_incidents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from regrow.cluster.deeds import Deed
from regrow.cluster.incident_store import Incident, Sort
from regrow.supervisors.report import ReportKind

DEATHS_TOLD = 5
"""How many of the latest deaths are told."""
TOLD = 20
"""How many of the latest messages, decisions and losses."""

CLOCKS_MS = 1_000
"""What two words on one death may lie apart, by the way that each came."""
KILLED_BY_PERSON = "killed by order of a person"
"""As in `operations`, which is not loaded for a look."""


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
class Advice:
    """One thing to do, and the command that does it where there is one."""

    text: str
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that is known of one agent. Of what can not be known `unknown` says why."""

    agent: str
    node: Mapping[str, Any] | None = None
    """How it is now, as `regrow ps --json` has it; None where that can not be told."""
    is_app_running: bool = False
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
    left_out: Mapping[str, int] = field(default_factory=dict[str, int])
    unknown: tuple[str, ...] = ()


def deaths_of(incidents: Iterable[Incident]) -> tuple[Death, ...]:
    """The ends of lives that did not end in order, oldest first: as its process has told, its supervisor, or both."""
    found: dict[tuple[int, int], Death] = {}
    for each in incidents:
        reason, life = each.about.get("reason"), _life(each)
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


def _life(incident: Incident) -> tuple[int, int]:
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


def what_next(found: Found) -> tuple[Advice, ...]:
    """What a person may do about what was found; what matters most comes first."""
    advice = [*_about_quarantine(found), *_about_escalation(found)]
    if found.deaths:
        advice += _about_death(found, found.deaths[-1])
    elif any(each.about.get("deed") in tuple(Deed) for each in found.decisions):
        advice.append(Advice(text="nothing: it ended because a person wanted it so"))
    advice += _about_messages(found)
    if found.node is not None and found.node["state"] in ("finished", "stopped") and found.deaths:
        advice.append(Advice(text="it does not run; start it when its cause is mended", command=_restart(found)))
    return tuple(advice) or (Advice(text="nothing: nothing has gone wrong with it that is known"),)


def _about_quarantine(found: Found) -> Iterable[Advice]:
    rows = in_quarantine(found)
    when = "" if found.is_app_running else " once the app runs again"
    if len(rows) > 1:
        yield Advice(
            text=f"{len(rows)} messages of it are set aside and wait for you: look at each{when}",
            command=f"regrow quarantine list {found.agent}",
        )
    for row in rows[-1:]:
        yield Advice(
            text=f"{row.get('message', 'a message of it')} is set aside and waits for you: look at it{when}, then "
            "requeue or drop it; where a step was begun and its result is not known, look whether it was done, and "
            "requeue with --assume",
            command=f"regrow quarantine show {row['id']}",
        )


def _about_escalation(found: Found) -> Iterable[Advice]:
    """Of a supervisor that gave up since: what came of an escalation before the last death is over."""
    since_ms = found.deaths[-1].at_ms - CLOCKS_MS if found.deaths else 0
    gave_up = [each for each in found.decisions if each.about.get("kind") == ReportKind.ESCALATED.value]
    if gave_up and gave_up[-1].at_ms >= since_ms:
        about = gave_up[-1].about
        yield Advice(
            text=f"{about['supervisor']} gave up because of {found.agent}: {about['restarts']} restarts within "
            f"{about['within_s']:g} s, where max_restarts={about['max_restarts']}; mend what it dies of, and raise the "
            "limits only for what passes by itself"
        )
    for death in found.above:
        if death.at_ms >= since_ms and found.agent != f"{death.agent}/{death.reason['child']}":
            yield Advice(
                text=f"{death.agent}, a supervisor above it, gave up because of another child: {death.reason['text']}; "
                "look at that one",
                command=_why_of(death),
            )


def _about_death(found: Found, death: Death) -> Iterable[Advice]:
    reason, life = death.reason, f"{found.agent}#{death.incarnation}"
    text = str(reason.get("text", ""))
    match reason["kind"]:
        case "crashed":
            at = f" at {reason['place']}" if reason.get("place") else ""
            on = f" when it handles {reason['on_message']}" if reason.get("on_message") else " in its start"
            yield Advice(text=f"mend {text}{at}, which it raises{on}")
        case "killed" if KILLED_BY_PERSON in text:
            yield Advice(text=f"nothing: a person had {life} killed")
        case "killed" if "out of memory" in text:
            yield Advice(text=f"{life} was killed for want of memory: give its node more, or it a host of its own")
        case "killed" if "SIGKILL" in text:
            yield Advice(
                text=f"the process of {life} was killed from outside or broke in native code: look for its pid "
                f"{death.pid or ''} in the kernel's log (dmesg) for the out-of-memory killer".replace("  ", " ")
            )
        case "killed":
            yield Advice(text=f"{life} did not end within its limits, or was ended with others: {text}")
        case "escalated":
            yield Advice(text=f"it gave up because of a child; look at that one ({text})", command=_why_of(death))
        case "fenced":
            yield Advice(text=f"nothing for {life}: a newer life has its state; look at the network of its host")
        case _:
            yield Advice(text=f"look at what {life} ended with: {text}")


def _why_of(death: Death) -> str:
    return f"regrow why {death.agent}/{death.reason['child']}"


def _about_messages(found: Found) -> Iterable[Advice]:
    messages = found.messages or last_messages(found)
    refused = [each for each in messages if each["fate"] == "refused" and each["trace"]]
    if refused:
        yield Advice(
            text=f"{refused[-1]['message']} was refused; its trace says by whom, and a guard's evidence stands there",
            command=f"regrow trace {refused[-1]['trace'][:12]}",
        )
    full = [each for each in found.losses if "full" in str(each.about["reason"])]
    if full:
        yield Advice(text="its mailbox was full: make it faster, have more of it, or give it a larger mailbox")


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


def _restart(found: Found) -> str:
    return f"regrow restart {found.agent}" if found.is_app_running else ""


def told(found: Found) -> dict[str, Any]:
    """All of it as JSON."""
    return {
        "agent": found.agent,
        "app_running": found.is_app_running,
        "now": None if found.node is None else {key: found.node[key] for key in ("state", "incarnation", "restarts")},
        "deaths": [_death_told(death) for death in found.deaths[-DEATHS_TOLD:]],
        "decisions": [
            {"at": time_told(each.at_ms), "text": decision_text(each), **each.about} for each in found.decisions[-TOLD:]
        ],
        "lost": [{"at": time_told(each.at_ms), **each.about} for each in found.losses[-TOLD:]],
        "above": [_death_told(death) for death in found.above],
        "messages": None if found.messages is None else list(found.messages),
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


def time_told(ms: int) -> str:
    """A Unix time in milliseconds as text, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
