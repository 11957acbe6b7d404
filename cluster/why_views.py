"""What `regrow why` prints: how an agent died, with which messages, what was done about it, and what to do next."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import IO, Any

from rich.table import Table
from rich.text import Text

from regrow.cluster import views
from regrow.cluster.why import DEATHS_TOLD, TOLD, Death, Found, decision_text, what_next
from regrow.runtime.lifecycle import INSTALLED, STANDARD_LIBRARY

ROOMS = ("runtime", "supervisors", "memory", "router", "actors", "cluster")
FATE_STYLES = {"handled": "green", "crashed": "red", "quarantined": "red", "cut": "yellow", "refused": "yellow"}

Part = Text | Table


def show(found: Found, *, to: IO[str]) -> None:
    """All of it, for a person."""
    console = views.console_for(to)
    for part in parts(found):
        console.print(part, soft_wrap=isinstance(part, Text))


def parts(found: Found) -> Iterator[Part]:
    """What `show` prints."""
    yield _head(found)
    if not found.deaths:
        yield Text("no death of it is known")
    for number, death in enumerate(reversed(found.deaths[-DEATHS_TOLD:])):
        yield from _death(found, death, is_last=number == 0)
    if found.turns and (not found.deaths or found.deaths[-1].messages is None):
        yield _title("its latest turns that were recorded")
        yield _turns(found.turns)
    if found.decisions:
        yield _title("what was decided")
        yield from (_line(each.at_ms, decision_text(each)) for each in found.decisions[-TOLD:])
    for death in found.above:
        yield _line(death.at_ms, f"a supervisor above it ended: {death.reason['text']}")
    if found.losses:
        yield _title("messages that were lost")
        for each in found.losses[-TOLD:]:
            about = each.about
            yield _line(each.at_ms, f"{about['reason']}: {about['message']} from {about['sender']}")
    if found.quarantined:
        yield _title("in quarantine")
        yield from (Text(f"  {row['id']}") for row in found.quarantined)
    if found.unknown:
        yield _title("not known")
        yield from (Text(f"  {_clean(each)}", style="dim") for each in found.unknown)
    yield _title("what to do next")
    for advice in what_next(found):
        yield Text(f"  → {_clean(advice.text)}", style="yellow")
        if advice.command:
            yield Text(f"      {_clean(advice.command)}", style="bold")


def _head(found: Found) -> Text:
    if found.node is not None:
        restarts = found.node["restarts"]
        state = f"{found.node['state']}, life #{found.node['incarnation']}, {restarts} restart{'s' * (restarts != 1)}"
    else:
        state = "not running" if found.is_app_running else "its app does not run, or does not say"
    return Text(f"{found.agent} · {state}", style="bold")


def _death(found: Found, death: Death, *, is_last: bool) -> Iterator[Part]:
    reason = death.reason
    where = " · ".join(filter(None, (death.host, f"pid {death.pid}" if death.pid else "")))
    on = f", handling {reason['on_message']}" if reason.get("on_message") else ""
    at = f" (at {reason['place']})" if reason.get("place") else ""
    yield Text()
    yield Text.assemble(
        (f"{_time(death.at_ms)}  ", "dim"),
        (f"#{death.incarnation} {reason['kind']}{on}: ", "red"),
        f"{_clean(str(reason['text']))}{_clean(at)}",
        (f"  {where}" if where else "", "dim"),
    )
    if not is_last:
        return
    if traceback := users_part(str(reason.get("traceback", ""))):
        yield from (Text(f"  {_clean(line)}", style="dim") for line in traceback)
    if death.messages:
        yield _title(f"its last {len(death.messages)} messages, oldest first")
        yield _messages(death.messages, died_ms=death.at_ms)


def _messages(messages: Sequence[Mapping[str, Any]], *, died_ms: int) -> Table:
    table = _table("time", "message", "from", "became", "trace")
    for each in messages:
        fate = each["fate"]
        table.add_row(
            Text(_time(died_ms - int(each["age_s"] * 1_000)), style="dim"),
            Text(_clean(each["message"])),
            Text(_clean(each["sender"])),
            Text(fate, style=FATE_STYLES.get(fate, "")),
            Text(each["trace"][:12], style="dim"),
        )
    return table


def _turns(turns: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("time", "message", "took", "became", "trace")
    for each in turns:
        took = "no end" if each["took_ms"] is None else f"{each['took_ms']:.1f} ms"
        at = datetime.fromisoformat(each["at"])
        names = (_clean(each["message"]), took, _clean(each["status"]), each["trace"][:12])
        table.add_row(Text(f"{at.astimezone():%H:%M:%S}", style="dim"), *map(Text, names))
    return table


def users_part(traceback: str) -> list[str]:
    """The frames of a traceback that are the user's own code, and what was raised; all where none is."""
    lines = traceback.splitlines()
    kept: list[str] = []
    is_users = True
    for line in lines:
        if line.lstrip().startswith('File "'):
            file = line.strip()[6:].partition('"')[0]
            is_users = not (
                file.startswith(("<", STANDARD_LIBRARY, *_our_folders())) or any(map(file.count, INSTALLED))
            )
        elif not line.startswith("    "):
            is_users = True
        if is_users:
            kept.append(line)
    return kept if any(line.lstrip().startswith('File "') for line in kept) else lines


@cache
def _our_folders() -> tuple[str, ...]:
    specs = (importlib.util.find_spec(f"regrow.{room}") for room in ROOMS)
    return tuple(f"{place}/" for spec in specs if spec for place in spec.submodule_search_locations or ())


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    return table


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _line(at_ms: int, text: str) -> Text:
    return Text.assemble((f"  {_time(at_ms)}  ", "dim"), _clean(text))


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def _clean(text: str) -> str:
    """The text without what a terminal would obey."""
    return "".join(sign if sign.isprintable() else "·" if sign != "\n" else " " for sign in text)
