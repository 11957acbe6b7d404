"""What people see of a tree, a reply or a diagnosis in a terminal. What programs see is JSON, made elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from regrow.cluster.cli_calls import NO_ANSWER
from regrow.cluster.doctor import Finding, Verdict

PLAIN_WIDTH_CHARS = 240
"""The width of a table that goes into a file or pipe, where nothing is cut off to fit."""

STATE_STYLES = {
    "running": "green",
    **dict.fromkeys(("restarting", "stopping", "starting"), "yellow"),
    # What may run or not, and can not be told from here: it is not restarted before that is known.
    **dict.fromkeys(("ended", "unreachable", "unconfirmed"), "red"),
}

MARKS = {Verdict.GOOD: ("✓", "green"), Verdict.DOUBTFUL: ("!", "yellow"), Verdict.BAD: ("✗", "red")}

_DURATIONS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def show_app(about: Mapping[str, Any], tree: Sequence[Mapping[str, Any]], *, to: IO[str], now: datetime) -> None:
    """One running app: a line on it, and its tree; or why it does not show one."""
    console = _console(to)
    state = about["state"]
    if state != NO_ANSWER:
        started = datetime.fromisoformat(about["started_at"])
        state += f" for {_duration((now - started.astimezone(UTC)).total_seconds())}"
    pid = f"pid {about['pid']}" if about["pid"] else None
    console.print(Text(" · ".join(filter(None, (about["app"], about["engine"], pid, state))), style="bold"))
    if note := about.get("note"):
        console.print(Text(note, style="yellow"), soft_wrap=True)
    if tree:
        console.print(tree_table(tree))


def show_tree(tree: Sequence[Mapping[str, Any]], *, to: IO[str]) -> None:
    """The trees of an app."""
    _console(to).print(tree_table(tree))


def tree_table(tree: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each supervisor and agent, indented as the tree is."""
    rows = [row for root in tree for row in _rows(root, "", "")]
    with_reasons = any(node["last_reason"] for _, node in rows)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in (("agent", "left"), ("state", "left"), ("mailbox", "right"), ("restarts", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("pid", justify="right", no_wrap=True)
    table.add_column("node", no_wrap=True)
    if with_reasons:
        table.add_column("last ended with")
    for guide, node in rows:
        is_agent = node["kind"] != "supervisor"
        cells = [
            Text.assemble((guide, "dim"), node["id"] if not guide else node["id"].rpartition("/")[2]),
            Text(node["state"], style=STATE_STYLES.get(node["state"], "")),
            Text(str(node["mailbox"]) if is_agent else ""),
            Text(str(node["restarts"]), style="yellow" if node["restarts"] else ""),
            Text(str(node["pid"] or "")),
            Text(node["node"]),
        ]
        table.add_row(*cells, *([Text(node["last_reason"])] if with_reasons else []))
    return table


def show_reply(reply: object, *, to: IO[str]) -> None:
    """A reply: a text as it is, nothing for None, everything else as JSON that can be read."""
    if isinstance(reply, dict) and len(reply) == 1:
        (reply,) = reply.values()
    if reply is None:
        return
    to.write((reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False, indent=2)) + "\n")


def show_findings(findings: Iterable[Finding], *, to: IO[str]) -> None:
    """One line for each finding, and below it what to do about one that is not good."""
    console = _console(to)
    for finding in findings:
        mark, style = MARKS[finding.verdict]
        line = Text.assemble((mark, style), " ", (finding.subject, "bold"), ": ", finding.text)
        console.print(line, soft_wrap=True)
        if finding.advice:
            console.print(Text(f"  → {finding.advice}", style=style), soft_wrap=True)


def _rows(node: Mapping[str, Any], guide: str, below: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each node with what is drawn before it; `below` is drawn before its children."""
    yield guide, node
    children = node["children"]
    for number, child in enumerate(children, start=1):
        is_last = number == len(children)
        yield from _rows(child, below + ("└─ " if is_last else "├─ "), below + ("   " if is_last else "│  "))


def _duration(seconds: float) -> str:
    for unit_s, name in _DURATIONS:
        if seconds >= unit_s:
            return f"{int(seconds // unit_s)} {name}"
    return f"{max(0, int(seconds))} s"


def _console(to: IO[str]) -> Console:
    width = None if to.isatty() else PLAIN_WIDTH_CHARS
    return Console(file=to, width=width, highlight=False, markup=False, emoji=False)
