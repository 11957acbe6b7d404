"""What to do about what was found of an agent: decided of that alone, so that each rule has its test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from regrow.cluster.deeds import Deed
from regrow.cluster.why import Death, Found, end_not_kept, in_quarantine, last_messages
from regrow.cluster.why_below import groups_below
from regrow.supervisors.report import ReportKind

CLOCKS_MS = 1_000
"""What two words on one death may lie apart, by the way that each came."""
LONG_S = 10.0
"""A turn that takes longer is told, since it may hang."""
BELOW_ADVISED = 3
"""To how many of those below a supervisor it is led, the latest ones that died."""
REASON_LIMIT_CHARS = 200
"""So much of a reason stands in an advice; all of it is told with the death."""
KILLED_BY_PERSON = "killed by order of a person"
"""As in `operations`, which is not loaded for a look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One thing to do, and the command that does it where there is one."""

    text: str
    command: str = ""


def what_next(found: Found) -> tuple[Advice, ...]:
    """What a person may do about what was found; what matters most comes first."""
    advice = [
        *_about_app(found),
        *_about_quarantine(found),
        *_about_waits(found),
        *_about_turn(found),
        *_about_escalation(found),
    ]
    is_fresh = bool(found.deaths) and found.deaths[-1].at_ms >= found.started_ms
    if last := end_not_kept(found):
        advice.append(
            Advice(
                text=f"it ended with {last[:REASON_LIMIT_CHARS]}, and no more of that is kept: look at the log of "
                "the app, and there whether incidents were dropped, as where a disk is full"
            )
        )
    if is_fresh:
        advice += _about_death(found, found.deaths[-1])
    elif not found.deaths and any(each.about.get("deed") in tuple(Deed) for each in found.decisions):
        advice.append(Advice(text="nothing: it ended because a person wanted it so"))
    else:
        advice += _about_sibling(found)
    advice += _about_below(found)
    advice += _about_messages(found)
    if found.deaths and not is_fresh:  # what is of an earlier run comes behind what is of this one
        advice += _about_death(found, found.deaths[-1])
    if found.node is not None and found.node["state"] in ("finished", "stopped") and found.deaths:
        advice.append(Advice(text="it does not run; start it when its cause is mended", command=_restart(found)))
    return tuple(advice) or (Advice(text="nothing: nothing has gone wrong with it that is known"),)


def _about_app(found: Found) -> Iterable[Advice]:
    if found.is_app_silent:
        app = found.agent.partition("/")[0].partition(":")[0]
        yield Advice(
            text=f"{app} does not say how it is: where it does not start or stop just now, its process hangs, and what "
            "stands here is of before; see which process that is",
            command=f"regrow ps {app}",
        )


def _about_quarantine(found: Found) -> Iterable[Advice]:
    rows = in_quarantine(found)
    when = "" if found.is_app_running else f" once the app {'answers' if found.is_app_silent else 'runs'} again"
    if len(rows) > 1:
        yield Advice(
            text=f"{len(rows)} messages of it are set aside and wait for you: look at each{when}",
            command=f"regrow quarantine list {found.agent}",
        )
    for row in rows[-1:]:
        what = row.get("message", f"a message of {_whose(row)}")
        yield Advice(
            text=f"{what} is set aside and waits for you: look at it{when}, then requeue or drop it; where a step was "
            "begun and its result is not known, look whether it was done, and requeue with --assume",
            command=f"regrow quarantine show {row['id']}",
        )


def _about_waits(found: Found) -> Iterable[Advice]:
    """Of what waits for somebody's word; a call of a tool is shown, since that is what is consented to."""
    if len(found.waits) > 1:
        yield Advice(
            text=f"{len(found.waits)} messages of it wait for somebody's answer: look at each",
            command=f"regrow waits {found.agent}",
        )
    for row in found.waits[-1:]:
        call = row.get("call")
        what = f"consent to {call['tool']} {call['arguments']}" if call else str(row["for"]).rpartition(":")[2]
        yield Advice(
            text=f"a message of {_whose(row)} waits for {what} since {_time(row['sent'])}: answer it, or refuse with "
            "approved=false",
            command=f"regrow approve {row['id']}",
        )


def _whose(row: Mapping[str, Any]) -> str:
    return str(row["id"]).rpartition("@")[0]


def _time(at: str) -> str:
    return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"


def _about_turn(found: Found) -> Iterable[Advice]:
    """Of one that handles a message for long: nobody but a person knows whether it hangs."""
    turns = [each for each in found.messages or () if each["fate"] == "under way" and each["age_s"] >= LONG_S]
    queued = found.node["mailbox"] if found.node is not None else 0
    if turns:
        behind = f", and {_messages(queued)} {'waits' if queued == 1 else 'wait'} behind it" if queued else ""
        yield Advice(
            text=f"it has handled {turns[0]['message']} for {_duration(turns[0]['age_s'])}{behind}: if that is too "
            "long, it hangs; look what it waits for, and have it killed, which its supervisor follows by a restart",
            command=f"regrow kill {found.agent}",
        )
    elif found.messages is None and queued and found.is_app_running:
        yield Advice(text=f"{_messages(queued)} wait in its mailbox, and its process does not say what it does")


def _messages(count: int) -> str:
    return f"{count:,} message{'s' * (count != 1)}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def _about_escalation(found: Found) -> Iterable[Advice]:
    """Of a supervisor that gave up since: what came of one before the last death, or in an earlier run, is over."""
    last_ms = found.deaths[-1].at_ms - CLOCKS_MS if found.deaths else 0
    since_ms = max(last_ms, found.started_ms)
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
                text=f"{death.agent}, a supervisor above it, gave up because of another child: {_cut(death)}; "
                "look at that one",
                command=_why_of(death),
            )


def _about_death(found: Found, death: Death) -> Iterable[Advice]:
    reason, life = death.reason, f"{found.agent}#{death.incarnation}"
    text = _cut(death)
    match reason["kind"]:
        case "crashed":
            if asked := _whose_ask_failed(reason):
                yield Advice(
                    text=f"it died of an ask that {asked} did not answer; look at that one",
                    command=f"regrow why {asked}",
                )
            at = f" at {reason['place']}" if reason.get("place") else ""
            on = f" when it handles {reason['on_message']}" if reason.get("on_message") else " in its start"
            yield Advice(text=f"mend {text}{at}, which it raises{on}")
        case "killed" if KILLED_BY_PERSON in text:
            yield Advice(text=f"nothing: a person had {life} killed")
        case "killed" if "out of memory" in text:
            yield Advice(text=f"{life} was killed for want of memory: give its node more, or it a host of its own")
        case "killed" if "SIGKILL" in text:
            yield Advice(
                text=f"the process of {life} was killed from outside, broke in native code, or ended itself, as by "
                f"os._exit: look for its pid {death.pid or ''} in the kernel's log (dmesg) for the out-of-memory "
                "killer".replace("  ", " ")
            )
        case "killed":
            yield Advice(text=f"{life} did not end within its limits, or was ended with others: {text}")
        case "escalated":
            yield Advice(text=f"it gave up because of a child; look at that one ({text})", command=_why_of(death))
        case "fenced":
            yield Advice(text=f"nothing for {life}: a newer life has its state; look at the network of its host")
        case _:
            yield Advice(text=f"look at what {life} ended with: {text}")


_ASKED = re.compile(r"([^\s#]+/[^\s#]+)(?:#\d+)? (?:died|ended) ")
"""With whom the text of an AskFailed begins."""


def _whose_ask_failed(reason: Mapping[str, Any]) -> str:
    """Who did not answer an agent that has died of that; empty where it died of something else."""
    begins = _ASKED.match(str(reason.get("message", "")))
    return begins[1] if begins is not None and reason.get("type_name") == "AskFailed" else ""


def _cut(death: Death) -> str:
    text = str(death.reason.get("text", ""))
    return text if len(text) <= REASON_LIMIT_CHARS else f"{text[:REASON_LIMIT_CHARS]}…"


def _why_of(death: Death) -> str:
    return f"regrow why {death.agent}/{death.reason['child']}"


def _about_sibling(found: Found) -> Iterable[Advice]:
    """Of one that was stopped in order and started anew since another child of a supervisor above it has died."""
    if found.node is None or not found.node["restarts"]:
        return
    for supervisor in reversed(found.supervisors):
        if supervisor.get("strategy") in ("", "one_for_one"):
            continue
        beside = [
            other
            for other in found.others
            if other.agent.rpartition("/")[0] == supervisor["id"]
            and not found.agent.startswith(f"{other.agent}/")
            and other.last.at_ms >= found.started_ms
        ]
        if beside:
            last = beside[-1]
            yield Advice(
                text=f"it was stopped and started anew in order, as {supervisor['id']} does "
                f"({supervisor['strategy']}) when another child ends: {last.agent} ended with {_cut(last.last)}; look "
                "at that one",
                command=f"regrow why {last.agent}",
            )
            return


def _about_below(found: Found) -> Iterable[Advice]:
    """To who died last below a supervisor; in an earlier run of the app only where nobody has in this one."""
    there = groups_below(found)
    fresh = [group for group in there if group.last.at_ms >= found.started_ms]
    named = f"{found.deaths[-1].agent}/{found.deaths[-1].reason.get('child')}" if found.deaths else ""
    for group in reversed((fresh or list(there))[-BELOW_ADVISED:]):
        if (last := group.others[-1].agent) != named:
            yield Advice(text=f"{group.names} died of {_cut(group.last)}; look at it", command=f"regrow why {last}")


def _about_messages(found: Found) -> Iterable[Advice]:
    messages = found.messages or last_messages(found)
    refused = [each for each in messages if each["fate"] == "refused"]
    if refused:
        last, recorded = refused[-1], {turn["trace"] for turn in found.turns}
        why = f": {last['why']}" if last.get("why") else ""
        is_recorded = bool(last["trace"]) and last["trace"] in recorded
        yield Advice(
            text=f"{last['message']} was refused{why}"
            + ("; its trace says by whom, and a guard's evidence stands there" if is_recorded else ""),
            command=f"regrow trace {last['trace'][:12]}" if is_recorded else "",
        )
    if found.losses and "/" not in found.agent:
        lost = found.losses[-1]
        yield Advice(
            text=f"{_messages(len(found.losses))} of it {'is' if len(found.losses) == 1 else 'are'} known to be lost, "
            f"the last one {lost.about['message']} to {lost.agent} ({lost.about['reason']})",
            command=f"regrow why {lost.agent}",
        )
    full = [each for each in found.losses if "full" in str(each.about["reason"])]
    if full:
        whose = "its mailbox" if full[-1].agent == found.agent else f"the mailbox of {full[-1].agent}"
        yield Advice(text=f"{whose} was full: make it faster, have more of it, or give it a larger mailbox")


def _restart(found: Found) -> str:
    return f"regrow restart {found.agent}" if found.is_app_running else ""
