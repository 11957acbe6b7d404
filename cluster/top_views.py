"""What `regrow top` draws: the tree with who is chosen, the processes with their rates, the models with their cost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleRenderable, Group
from rich.table import Table
from rich.text import Text

from regrow.cluster import views
from regrow.cluster.printable import printable
from regrow.cluster.top import Choice, Look, Rates, host_rates, rates, rooms, window

KEYS = "↑↓ PgUp PgDn choose · n next in trouble · Enter why · q end"
KEYS_OF_WHY = "↑↓ PgUp PgDn read · Esc back · q end"
LOOKING = "looking …"
WIDE_COLUMNS, NARROW_COLUMNS = 100, 60
"""From so many columns on all is shown, and below so many only what matters most."""


def frame(
    before: Look | None, now: Look, choice: Choice, *, at: datetime, rows: int, columns: int = sys.maxsize
) -> ConsoleRenderable:
    """One frame, in a terminal of so many rows and columns; it has no more lines than that."""
    above: list[ConsoleRenderable] = [_line(views.app_line(now.about, now=at))]
    if now.note:
        above.append(_line(Text(printable(now.note), style="yellow")))
    hosts: Sequence[Mapping[str, Any]] = ()
    models: Sequence[Mapping[str, Any]] = ()
    if now.metrics is not None:
        total = rates(
            before.metrics["total"] if before and before.metrics else None,
            now.metrics["total"],
            seconds=now.at_s - before.at_s if before else 0.0,
        )
        above.append(_line(_totals(now.metrics["total"], total)))
        hosts, models = now.metrics["hosts"], now.metrics["models"]
    tree = [row for root in now.tree for row in views.tree_rows(root)]
    of_tree, of_hosts, of_models = rooms(
        max(0, rows - len(above) - 2), tree=_lines(tree), hosts=_lines(hosts), models=_lines(models)
    )
    parts = [
        *_block(of_tree, lambda room: _tree(tree, choice, room=room, columns=columns)),
        *_block(of_hosts, lambda room: _hosts(hosts, host_rates(before, now), room=room, columns=columns)),
        *_block(of_models, lambda room: _models(models, room=room)),
    ]
    return Group(*above, *parts, Text(), _line(Text(KEYS, style="dim")))


def why_lines(parts: Iterable[Text | Table], *, console: Console) -> list[Text]:
    """The `why` of an agent, line by line as this terminal breaks it."""
    lines = console.render_lines(Group(*parts), console.options, pad=False)
    return [Text.assemble(*((each.text, each.style or "") for each in line)) for line in lines]


def why_frame(lines: Sequence[Text], choice: Choice, *, rows: int) -> ConsoleRenderable:
    """So much of it as there is room for: what to do next stands last, so the end is what is shown at first."""
    end = len(lines) - choice.lines_back
    shown = lines[max(0, end - why_room(rows)) : end]
    return Group(*shown, _line(Text(f"{KEYS_OF_WHY} · {printable(choice.agent)}", style="dim")))


def why_room(rows: int) -> int:
    """How many lines of a `why` a terminal of so many rows shows."""
    return max(1, rows - 2)


def _line(text: Text) -> Text:
    """Cut where the terminal ends, since a second line would push out the last one."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _lines(rows: Sequence[object]) -> int:
    """How many lines a table takes, with an empty one above it and its heads."""
    return len(rows) + 2 if rows else 0


def _block(room: int, table: Callable[[int], Table]) -> list[ConsoleRenderable]:
    return [Text(), table(room - 2)] if room > 2 else []


def _totals(total: Mapping[str, Any], rate: Rates) -> Text:
    restarts, dead = sum(total["restarts"].values()), sum(total["dead_letters"].values())
    # What matters most stands first: the line ends where the terminal does.
    facts = (
        f"{total['agents']:,} agents",
        f"{restarts:,} restarts",
        f"{dead:,} dead letters",
        f"${total['cost_usd']:,.4f}",
        f"{rate.messages:,.0f} messages/s",
        f"{total['mailbox_depth']:,} waiting",
        f"{total['tokens']:,} tokens",
    )
    return Text(" · ".join(facts))


def _tree(rows: Sequence[tuple[str, Mapping[str, Any]]], choice: Choice, *, room: int, columns: int) -> Table:
    at = next((at for at, (_, node) in enumerate(rows) if node["id"] == choice.agent), 0)
    shown = window(len(rows), at, room=room)
    which = "agent" if len(shown) == len(rows) else f"agent ({at + 1:,} of {len(rows):,})"
    has_pid = columns >= NARROW_COLUMNS
    table = _table((which, "left"), ("state", "left"), ("mailbox", "right"), ("restarts", "right"))
    table.columns[0].max_width = columns * 2 // 5  # a key of two hundred letters leaves the others their room
    if has_pid:
        table.add_column("pid", justify="right", no_wrap=True)
    table.add_column(_line(Text("last ended with")))  # the one column that may shrink, so that the others are whole
    for number in shown:
        guide, node = rows[number]
        name = node["id"].rpartition("/")[2] if guide else node["id"]
        table.add_row(
            Text.assemble((guide, "dim"), printable(name)),
            Text(node["state"], style=views.STATE_STYLES.get(node["state"], "")),
            "" if node["kind"] == "supervisor" else f"{node['mailbox']:,}",
            Text(f"{node['restarts']:,}", style="yellow" if node["restarts"] else ""),
            *([str(node["pid"] or "")] if has_pid else ()),
            _line(Text(printable(" ".join(node["last_reason"].split())))),
            style="reverse" if node["id"] == choice.agent else "",
        )
    return table


def _hosts(hosts: Sequence[Mapping[str, Any]], rate_of: Mapping[str, Rates], *, room: int, columns: int) -> Table:
    """Those that live first."""
    cells: dict[tuple[str, str], Callable[[Mapping[str, Any]], Text]] = {
        ("host", "left"): lambda each: Text(printable(each["host"])),
        ("pid", "right"): lambda each: Text(str(each["pid"])),
        ("node", "left"): lambda each: Text(printable(each["node"])),
        ("agents", "right"): lambda each: Text(f"{each['agents']:,}"),
        ("messages/s", "right"): lambda each: Text(f"{rate_of[each['host']].messages:,.0f}"),
        ("waiting", "right"): lambda each: Text(f"{each['mailbox_depth']:,}"),
        ("lag ms", "right"): lambda each: Text(f"{each['loop_lag_ms']:.1f}"),
        ("tokens/s", "right"): lambda each: Text(f"{rate_of[each['host']].tokens:,.0f}"),
        ("cost", "right"): lambda each: Text(f"${each['cost_usd']:,.4f}"),
    }
    left_out = {"node"} if NARROW_COLUMNS <= columns < WIDE_COLUMNS else set[str]()
    if columns < NARROW_COLUMNS:
        left_out = {"node", "pid", "tokens/s", "cost"}
    heads = [head for head in cells if head[0] not in left_out]
    table = _table(*heads)
    ordered = sorted(hosts, key=lambda each: not each["alive"])
    for each in _fitting(ordered, room):
        table.add_row(*(cells[head](each) for head in heads), style="" if each["alive"] else "dim")
    return _with_rest(table, len(hosts), room)


def _models(models: Sequence[Mapping[str, Any]], *, room: int) -> Table:
    table = _table(("model", "left"), ("tier", "left"), ("calls", "right"), ("tokens", "right"), ("cost", "right"))
    for each in _fitting(models, room):
        table.add_row(
            Text(printable(each["model"])),
            Text(printable(each["tier"])),
            f"{each['calls']:,}",
            f"{each['tokens']:,}",
            f"${each['cost_usd']:,.4f}",
        )
    return _with_rest(table, len(models), room)


def _fitting(rows: Sequence[Mapping[str, Any]], room: int) -> Sequence[Mapping[str, Any]]:
    return rows if len(rows) <= room else rows[: room - 1]


def _with_rest(table: Table, count: int, room: int) -> Table:
    """With a last row for those that there is no room for."""
    if count > room:
        table.add_row(Text(f"and {count - room + 1} more", style="dim"))
    return table


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in columns:
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    return table
