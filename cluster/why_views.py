"""What `regrow why` prints: how an agent died, with which messages, what was done about it, and what to do next."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import IO, Any

from rich.table import Table
from rich.text import Text

from regrow.cluster.incident_store import Incident
from regrow.cluster.printable import printable
from regrow.cluster.terminal import console_for
from regrow.cluster.why import (
    DEATHS_TOLD,
    TOLD,
    Death,
    Found,
    Retry,
    decision_text,
    in_quarantine,
    retries_of,
    since_death,
)
from regrow.cluster.why_advice import what_next
from regrow.cluster.why_below import Group, groups_below, is_supervisor
from regrow.runtime.lifecycle import GROUP_EDGE, INSTALLED, STANDARD_LIBRARY

ROOMS = ("runtime", "supervisors", "memory", "router", "actors", "cluster")
FATE_STYLES = {"handled": "green", "crashed": "red", "quarantined": "red", "cut": "yellow", "refused": "yellow"}
WHOLE = {"time", "last died", "ended", "trace"}
"""The columns of which a part would be of no use; in a terminal that is narrow the others are cut."""
LINE_LIMIT_CHARS = 1_000
"""So much is shown of what an error says and of a line of its traceback; `--json` has more."""

Part = Text | Table


def show(found: Found, *, to: IO[str]) -> None:
    """All of it, for a person."""
    console = console_for(to)
    for part in parts(found):
        console.print(part, soft_wrap=isinstance(part, Text))


def parts(found: Found) -> Iterator[Part]:
    """What `show` prints."""
    yield _head(found)
    yield from _deaths(found)
    yield from _since(found)
    if there := groups_below(found):
        yield _title("who died below it, the latest last")
        yield _groups(there[-TOLD:])
    if decided := sorted([*map(_decided, found.decisions), *map(_ended_above, found.above)], key=itemgetter(0)):
        yield _title("what was decided")
        yield from (_line(at_ms, text) for at_ms, text in decided[-TOLD:])
        if decided[-1][0] < found.started_ms:
            yield _line(found.started_ms, "the app was started anew; what is above is of an earlier run")
    if found.waits:
        yield _title("waiting for an answer")
        yield from (Text(printable(f"  {_wait_text(row)}")) for row in found.waits[-TOLD:])
    if found.losses:
        yield _title("messages that were lost")
        for each in found.losses[-TOLD:]:
            about = each.about
            to = f" to {each.agent}" if each.agent != found.agent else ""
            yield _line(each.at_ms, f"{about['reason']}: {about['message']} from {about['sender']}{to}")
    if retries := retries_of(found):
        yield _title("messages that were tried again")
        since = "it is kept, and comes again" if found.messages is not None else "what became of it, its journal knows"
        yield from (Text(printable(f"  {_retry_text(each, since)}")) for each in retries[-TOLD:])
    if waiting := in_quarantine(found):
        yield _title("in quarantine" if found.quarantined is not None else "in quarantine, as far as is known")
        yield from (Text(printable(f"  {_waiting_text(row)}")) for row in waiting)
    if found.unknown:
        yield _title("not known")
        yield from (Text(f"  {printable(each)}", style="dim") for each in found.unknown)
    yield _title("what to do next")
    for advice in what_next(found):
        yield Text(f"  → {printable(advice.text)}", style="yellow")
        if advice.command:
            yield Text(f"      {printable(advice.command)}", style="bold")


def _head(found: Found) -> Text:
    if found.node is not None:
        restarts = found.node["restarts"]
        state = f"{found.node['state']}, life #{found.node['incarnation']}, {restarts} restart{'s' * (restarts != 1)}"
        if queued := found.node["mailbox"]:
            state += f", {_messages_told(queued)} in its mailbox"
    elif found.is_app_running:
        state = "running, and nobody in the trees of its app" if found.messages is not None else "not running"
    else:
        state = "its app does not say how it is" if found.is_app_silent else "its app does not run"
    return Text(f"{printable(found.agent)} · {state}", style="bold")


def _deaths(found: Found) -> Iterator[Part]:
    """The latest deaths, newest first; a traceback that is that of a later one is not told again."""
    if not found.deaths:
        yield Text("no death of it is known")
    told: set[str] = set()
    for death in reversed(found.deaths[-DEATHS_TOLD:]):
        yield from _death(death, told, is_earlier=death.at_ms < found.started_ms)
    if (messages := _before_death(found)) is not None:
        yield _title(f"its last {_messages_told(len(messages))} before that, oldest first")
        yield _messages(messages, at_ms=found.deaths[-1].at_ms)
    elif found.history:
        yield _title("its latest turns, as the journal has them")
        yield _ended_turns(found.history)
    elif found.turns and (found.deaths or not found.messages):
        yield _title("its latest turns that were recorded")
        yield _turns(found.turns)


def _before_death(found: Found) -> Sequence[Mapping[str, Any]] | None:
    """What the last one that died had; None where its process took that along, and where nobody died.

    Of a supervisor these are ends of children, which are told with the children.
    """
    return found.deaths[-1].messages or None if found.deaths and not is_supervisor(found) else None


def _since(found: Found) -> Iterator[Part]:
    """What an agent that lives has had since its last death, or at all."""
    if not is_supervisor(found) and (since := since_death(found)):
        told = _messages_told(len(since))
        yield _title(f"the {told} since then" if found.deaths else f"its last {told}, oldest first")
        yield _messages(since, at_ms=found.looked_ms)


def _messages_told(count: int) -> str:
    return f"{count} message{'s' * (count != 1)}"


def _death(death: Death, told: set[str], *, is_earlier: bool) -> Iterator[Part]:
    reason = death.reason
    run = "in an earlier run" if is_earlier else ""
    where = " · ".join(filter(None, (death.host, f"pid {death.pid}" if death.pid else "", run)))
    on = f", handling {reason['on_message']}" if reason.get("on_message") else ""
    at = f" (at {reason['place']})" if reason.get("place") else ""
    yield Text()
    yield Text.assemble(
        (f"{_time(death.at_ms)}  ", "dim"),
        (f"#{death.incarnation} {reason['kind']}{printable(on)}", "red"),
        f"{printable(_cut(_after_kind(reason)))}{printable(at)}",
        (f"  {where}" if where else "", "dim"),
    )
    traceback = users_part(str(reason.get("traceback", "")))
    if (text := "\n".join(traceback)) not in told:
        told.add(text)
        yield from (Text(f"  {printable(_cut(line))}", style="dim") for line in traceback)


def _after_kind(reason: Mapping[str, Any]) -> str:
    """What a reason says beside its kind, with which the texts of some begin."""
    kind, text = str(reason["kind"]), str(reason["text"])
    return text[len(kind) :] if text.casefold().startswith(kind) else f": {text}"


def _cut(text: str) -> str:
    return text if len(text) <= LINE_LIMIT_CHARS else f"{text[:LINE_LIMIT_CHARS]}…"


def _decided(incident: Incident) -> tuple[int, str]:
    return incident.at_ms, decision_text(incident)


def _ended_above(death: Death) -> tuple[int, str]:
    return death.at_ms, f"{death.agent}, a supervisor above it, ended: {death.reason['text']}"


def _retry_text(retry: Retry, since: str) -> str:
    tries = f"{retry.message}: {retry.failed} {'try' if retry.failed == 1 else 'tries'} did not end it"
    return f"{tries}, then {retry.outcome}" if retry.outcome else f"{tries}; {since}"


def _wait_text(row: Mapping[str, Any]) -> str:
    call = row.get("call")
    what = f"consent to {call['tool']} {call['arguments']}" if call else str(row["for"]).rpartition(":")[2]
    return f"{row['id']}  for {what}"


def _groups(groups: Sequence[Group]) -> Table:
    table = _table("last died", "agent", "deaths", "of")
    for each in groups:
        names = (printable(each.names), str(each.deaths), printable(str(each.last.reason["text"])))
        table.add_row(Text(_time(each.last.at_ms), style="dim"), *map(_cell, names))
    return table


def _waiting_text(row: Mapping[str, Any]) -> str:
    why = f"  {row['message']} from {row['sender']}: {row['reason']}" if "reason" in row else ""
    return f"{row['id']}{why}"


def _messages(messages: Sequence[Mapping[str, Any]], *, at_ms: int) -> Table:
    table = _table("time", "message", "from", "became", "trace")
    for each in messages:
        fate, why = each["fate"], printable(each.get("why", ""))
        table.add_row(
            Text(_time(at_ms - int(each["age_s"] * 1_000)), style="dim"),
            _cell(printable(each["message"])),
            _cell(printable(each["sender"])),
            _cell(f"{fate}: {why.partition(':')[0]}" if why else fate, style=FATE_STYLES.get(fate, "")),
            Text(each["trace"][:12], style="dim"),
        )
    return table


def _turns(turns: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("time", "life", "message", "took", "trace", "became")
    for each in turns:
        took = "no end" if each["took_ms"] is None else f"{each['took_ms']:.1f} ms"
        at_ms = int(datetime.fromisoformat(each["at"]).timestamp() * 1_000)
        life = f"#{each['incarnation']}"
        names = (life, printable(each["message"]), took, each["trace"][:12], printable(each["status"]))
        table.add_row(Text(_time(at_ms), style="dim"), *map(_cell, names))
    return table


def _ended_turns(turns: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("ended", "message", "became", "failed before")
    for each in turns:
        at_ms = int(datetime.fromisoformat(each["ended"]).timestamp() * 1_000)
        names = (printable(each["message"]), printable(each["outcome"]), str(each["failed_before"] or ""))
        table.add_row(Text(_time(at_ms), style="dim"), *map(_cell, names))
    return table


def users_part(traceback: str) -> list[str]:
    """The frames of a traceback that are the user's own code, and what was raised; all where none is."""
    lines = traceback.splitlines()
    kept: list[str] = []
    is_users = True
    for line in lines:
        bare = GROUP_EDGE.sub("", line)
        if _is_frame(line):
            file = bare.strip()[6:].partition('"')[0]
            is_users = not (
                file.startswith(("<", STANDARD_LIBRARY, *_our_folders())) or any(map(file.count, INSTALLED))
            )
        elif not bare.startswith("    "):
            is_users = True
        if is_users:
            kept.append(line)
    return kept if any(map(_is_frame, kept)) else lines


def _is_frame(line: str) -> bool:
    return GROUP_EDGE.sub("", line).lstrip().startswith('File "')


@cache
def _our_folders() -> tuple[str, ...]:
    specs = (importlib.util.find_spec(f"regrow.{room}") for room in ROOMS)
    return tuple(f"{place}/" for spec in specs if spec for place in spec.submodule_search_locations or ())


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, no_wrap=name in WHOLE, overflow="ellipsis")
    return table


def _cell(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _line(at_ms: int, text: str) -> Text:
    return Text.assemble((f"  {_time(at_ms)}  ", "dim"), printable(text))


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
