"""What `regrow top` draws: the tree with who is chosen, the processes with their rates, the models with their cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleRenderable, Group
from rich.table import Table
from rich.text import Text

from regrow.cluster import views
from regrow.cluster.printable import printable
from regrow.cluster.top import Choice, Look, Rates, host_rates, rates, window

KEYS = "↑↓ or j k choose · Enter or w why · q end"
KEYS_OF_WHY = "Esc back · q end"
LEAST_ROWS = 5
"""So many rows of the tree are shown however small the terminal is."""


def frame(before: Look | None, now: Look, choice: Choice, *, at: datetime, rows: int) -> ConsoleRenderable:
    """One frame, in a terminal of so many rows."""
    parts: list[ConsoleRenderable] = [views.app_line(now.about, now=at)]
    if now.note:
        parts.append(Text(now.note, style="yellow"))
    below: list[ConsoleRenderable] = []
    if now.metrics is not None:
        total = rates(
            before.metrics["total"] if before and before.metrics else None,
            now.metrics["total"],
            seconds=now.at_s - before.at_s if before else 0.0,
        )
        parts.append(_totals(now.metrics["total"], total))
        below += [Text(), _hosts(now.metrics["hosts"], host_rates(before, now))]
        if now.metrics["models"]:
            below += [Text(), _models(now.metrics["models"])]
    hosts = len(now.metrics["hosts"]) + len(now.metrics["models"]) + 5 if now.metrics else 0
    if now.tree:
        parts += [Text(), _tree(now.tree, choice, room=max(LEAST_ROWS, rows - hosts - 6))]
    return Group(*parts, *below, Text(), Text(KEYS, style="dim"))


def why_frame(parts: Iterable[Text | Table], *, rows: int, console: Console) -> ConsoleRenderable:
    """The `why` of an agent, cut where the terminal ends: what to do next stands last, so the end is what is shown."""
    lines = console.render_lines(Group(*parts), console.options, pad=False)
    shown = Text("\n").join(Text.assemble(*((each.text, each.style or "") for each in line)) for line in lines)
    cut = shown.split("\n", allow_blank=True)[-(max(LEAST_ROWS, rows - 2)) :]
    return Group(Text("\n").join(cut), Text(KEYS_OF_WHY, style="dim"))


def _totals(total: Mapping[str, Any], rate: Rates) -> Text:
    restarts, dead = sum(total["restarts"].values()), sum(total["dead_letters"].values())
    facts = (
        f"{total['agents']:,} agents",
        f"{rate.messages:,.0f} messages/s",
        f"{total['mailbox_depth']:,} waiting",
        f"{restarts:,} restarts",
        f"{dead:,} dead letters",
        f"{total['tokens']:,} tokens",
        f"${total['cost_usd']:,.4f}",
    )
    return Text(" · ".join(facts))


def _tree(tree: Sequence[Mapping[str, Any]], choice: Choice, *, room: int) -> Table:
    rows = [row for root in tree for row in views.tree_rows(root)]
    at = next((at for at, (_, node) in enumerate(rows) if node["id"] == choice.agent), 0)
    table = _table(("agent", "left"), ("state", "left"), ("mailbox", "right"), ("restarts", "right"), ("pid", "right"))
    table.add_column("last ended with", no_wrap=True, overflow="ellipsis")
    for number in window(len(rows), at, room=room):
        guide, node = rows[number]
        name = node["id"].rpartition("/")[2] if guide else node["id"]
        table.add_row(
            Text.assemble((guide, "dim"), name),
            Text(node["state"], style=views.STATE_STYLES.get(node["state"], "")),
            "" if node["kind"] == "supervisor" else f"{node['mailbox']:,}",
            Text(f"{node['restarts']:,}", style="yellow" if node["restarts"] else ""),
            str(node["pid"] or ""),
            Text(printable(" ".join(node["last_reason"].split()))),
            style="reverse" if node["id"] == choice.agent else "",
        )
    return table


def _hosts(hosts: Sequence[Mapping[str, Any]], rate_of: Mapping[str, Rates]) -> Table:
    table = _table(
        ("host", "left"),
        ("pid", "right"),
        ("node", "left"),
        ("agents", "right"),
        ("messages/s", "right"),
        ("waiting", "right"),
        ("lag ms", "right"),
        ("tokens/s", "right"),
        ("cost", "right"),
    )
    for each in hosts:
        rate = rate_of[each["host"]]
        table.add_row(
            Text(each["host"]),
            str(each["pid"]),
            Text(each["node"]),
            f"{each['agents']:,}",
            f"{rate.messages:,.0f}",
            f"{each['mailbox_depth']:,}",
            f"{each['loop_lag_ms']:.1f}",
            f"{rate.tokens:,.0f}",
            f"${each['cost_usd']:,.4f}",
            style="" if each["alive"] else "dim",
        )
    return table


def _models(models: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(("model", "left"), ("tier", "left"), ("calls", "right"), ("tokens", "right"), ("cost", "right"))
    for each in models:
        table.add_row(
            Text(each["model"]),
            Text(each["tier"]),
            f"{each['calls']:,}",
            f"{each['tokens']:,}",
            f"${each['cost_usd']:,.4f}",
        )
    return table


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in columns:
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    return table
