"""What people see of a tree, a reply or a diagnosis in a terminal. What programs see is JSON, made elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from regrow.cluster.cli_calls import NO_ANSWER
from regrow.cluster.doctor import Finding, Verdict
from regrow.cluster.printable import printable, printable_lines
from regrow.cluster.terminal import console_for

STATE_STYLES = {
    "running": "green",
    "starting": "yellow",
    "restarting": "yellow",
    "waiting": "yellow",
    "stopping": "yellow",
    "exiting": "yellow",
    # What may run or not, and can not be told from here: it is not restarted before that is known.
    "unreachable": "red",
    "unconfirmed": "red",
    "ended": "red",
}

ENDING_STYLES = {"committed": "green", "quarantined": "red", "expired": "yellow", "refused": "yellow"}

MARKS = {Verdict.GOOD: ("✓", "green"), Verdict.DOUBTFUL: ("!", "yellow"), Verdict.BAD: ("✗", "red")}

_DURATIONS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def show_app(about: Mapping[str, Any], tree: Sequence[Mapping[str, Any]], *, to: IO[str], now: datetime) -> None:
    """One running app: a line on it, and its tree; or why it does not show one."""
    console = console_for(to)
    for part in app_view(about, tree, now=now):
        console.print(part, soft_wrap=isinstance(part, Text))


def app_view(about: Mapping[str, Any], tree: Sequence[Mapping[str, Any]], *, now: datetime) -> list[Text | Table]:
    """What `show_app` prints."""
    parts: list[Text | Table] = [app_line(about, now=now)]
    if note := about.get("note"):
        parts.append(Text(note, style="yellow"))
    if tree:
        parts.append(tree_table(tree))
    return parts


def app_line(about: Mapping[str, Any], *, now: datetime) -> Text:
    """The line on one app: its name, engine, process, state, and since when."""
    state = about["state"]
    if about["started_at"] and state != NO_ANSWER:
        started = datetime.fromisoformat(about["started_at"])
        state += f" for {_duration((now - started.astimezone(UTC)).total_seconds())}"
    pid = f"pid {about['pid']}" if about["pid"] else None
    return Text(printable(" · ".join(filter(None, (about["app"], about["engine"], pid, state)))), style="bold")


def show_tree(tree: Sequence[Mapping[str, Any]], *, to: IO[str]) -> None:
    """The trees of an app as a table."""
    console_for(to).print(tree_table(tree))


def show_branches(tree: Sequence[Mapping[str, Any]], *, to: IO[str]) -> None:
    """The trees of an app, drawn as trees: how each supervisor restarts, and how each child has fared."""
    console = console_for(to)
    for root in tree:
        drawn = Tree(_branch(root, root["id"]), guide_style="dim")
        _grow(drawn, root)
        console.print(drawn)


def tree_table(tree: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each supervisor and agent, indented as the tree is."""
    rows = [row for root in tree for row in tree_rows(root)]
    with_reasons = any(node["last_reason"] for _, node in rows)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in (("agent", "left"), ("state", "left"), ("mailbox", "right"), ("restarts", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("pid", justify="right", no_wrap=True)
    table.add_column("node", no_wrap=True)
    if with_reasons:
        table.add_column(
            _one_line_of("last ended with")
        )  # the one column that may shrink, so that the others are whole
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
        table.add_row(*cells, *([_one_line_of(node["last_reason"])] if with_reasons else []))
    return table


def show_letters(told: Mapping[str, Any], *, to: IO[str]) -> None:
    """How many dead letters there are for each reason, and the latest ones."""
    console = console_for(to)
    if not told["total"]:
        console.print(Text(f"{told['app']} has no dead letters: every message was handled"), soft_wrap=True)
        return
    counts = Table(box=None, pad_edge=False, header_style="dim")
    counts.add_column("reason", no_wrap=True)
    counts.add_column("dead letters", justify="right", no_wrap=True)
    for reason, count in sorted(told["counts"].items(), key=lambda item: -item[1]):
        counts.add_row(Text(reason), Text(f"{count:,}"))
    if len(told["counts"]) > 1:
        counts.add_row(Text("in all", style="bold"), Text(f"{told['total']:,}", style="bold"))
    console.print(counts)
    console.print()
    latest = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("time", "reason", "message", "from", "to"):
        latest.add_column(name, no_wrap=True, overflow="ellipsis")
    for letter in told["latest"]:
        at = datetime.fromisoformat(letter["at"]).astimezone()
        life = f"#{letter['incarnation']}" if letter["incarnation"] else ""
        names = (letter["reason"], letter["message"], letter["sender"], f"{letter['receiver']}{life}")
        latest.add_row(Text(f"{at:%H:%M:%S}", style="dim"), *map(Text, names))
    console.print(latest)
    if told["total"] > len(told["latest"]):
        console.print(Text(f"the latest {len(told['latest'])} of {told['total']:,}", style="dim"))


def show_set_aside(told: Mapping[str, Any], of: str, *, to: IO[str]) -> None:
    """One line for each message in quarantine."""
    console = console_for(to)
    if not told["messages"]:
        console.print(Text(f"{of} has nothing in quarantine"), soft_wrap=True)
        return
    for row in told["messages"]:
        since = datetime.fromisoformat(row["since"]).astimezone()
        console.print(Text.assemble((f"{since:%Y-%m-%d %H:%M:%S}", "dim"), "  ", row["id"]), soft_wrap=True)
    if told["more"]:
        console.print(Text(f"and more than these {len(told['messages']):,}", style="dim"))


def show_waits(told: Mapping[str, Any], of: str, *, to: IO[str]) -> None:
    """One line for each message that waits for an answer."""
    console = console_for(to)
    if not told["waits"]:
        console.print(Text(f"{of} waits for nobody"), soft_wrap=True)
        return
    for row in told["waits"]:
        sent, until = datetime.fromisoformat(row["sent"]).astimezone(), ""
        if row["until"] is not None:
            until = f" until {datetime.fromisoformat(row['until']).astimezone():%Y-%m-%d %H:%M:%S}"
        call = f" of {row['call']['tool']} {row['call']['arguments']}" if row.get("call") else ""
        awaited = f"  for {row['for'].rpartition(':')[2]}{call}{until}"
        line = Text.assemble((f"{sent:%Y-%m-%d %H:%M:%S}", "dim"), "  ", row["id"], (awaited, "dim"))
        console.print(line, soft_wrap=True)
    if told["more"]:
        console.print(Text(f"and more than these {len(told['waits']):,}", style="dim"))


def show_one_set_aside(told: Mapping[str, Any], *, to: IO[str]) -> None:
    """What a message in quarantine says, why it is there, and what has become of its attempts and steps."""
    console = console_for(to)
    since = datetime.fromisoformat(told["since"]).astimezone()
    fields = json.dumps(told["fields"], ensure_ascii=False) if told["fields"] is not None else told["unreadable"]
    rows = [
        ("message", f"{told['type']} {fields}"),
        ("from", told["sender"] or "outside"),
        ("since", f"{since:%Y-%m-%d %H:%M:%S}"),
        ("why", _one_line(told["reason"])),
        *((f"life {each['epoch']}", f"failed: {_one_line(each['text'])}") for each in told["history"]),
    ]
    for step in told["steps"]:
        result = f" → {json.dumps(step['result'], ensure_ascii=False)}" if step["state"] == "done" else ""
        result = _kept_apart(step) or result
        rows.append(("step", f"{step['name']} (number {step['number']}) {step['state']}{result}"))
    console.print(Text(told["id"], style="bold"), soft_wrap=True)
    for name, text in rows:
        console.print(Text.assemble((f"{name:>8}  ", "dim"), text), soft_wrap=True)
    if told["open_steps"]:
        advice = "a step was begun and it is not known whether it was done: look, and requeue with --assume done|undone"
        console.print(Text(f"  → {advice}", style="yellow"), soft_wrap=True)


def show_turns(told: Mapping[str, Any], *, to: IO[str]) -> None:
    """The turns of an agent, newest last: a line for how each ended, and one for each of its steps."""
    console = console_for(to)
    if not told["turns"]:
        console.print(Text(f"{told['agent']} has no history: no turn has ended, or none is kept"), soft_wrap=True)
        return
    if told["more"]:
        console.print(Text(f"the newest {len(told['turns']):,}; older ones are kept, see --limit", style="dim"))
    for turn in told["turns"]:
        for line in _turn_lines(turn):
            console.print(line, soft_wrap=True)


def _turn_lines(turn: Mapping[str, Any]) -> Iterator[Text]:
    ended = datetime.fromisoformat(turn["ended"])
    message = turn["type"].rpartition(":")[2] if turn["type"] else "(not kept)"
    if turn["fields"] is not None:
        message += f" {json.dumps(turn['fields'], ensure_ascii=False)}"
    facts = [f"by {_one_line(turn['by'])}"] if turn.get("by") else []
    if turn["began"] is not None:
        facts.append(f"took {_short_duration((ended - datetime.fromisoformat(turn['began'])).total_seconds())}")
    if turn["epoch"] is not None:
        life = f"#{turn['incarnation']}, " if turn["incarnation"] is not None else ""
        facts.append(f"life {life}epoch {turn['epoch']}")
    if turn["failed_before"]:
        facts.append(f"attempts that failed before: {turn['failed_before']}")
    if turn["shortened"]:
        facts.append("shortened")
    yield Text.assemble(
        (f"{ended.astimezone():%Y-%m-%d %H:%M:%S}", "dim"),
        "  ",
        (turn["outcome"], ENDING_STYLES.get(turn["outcome"], "")),
        f"  {_one_line(message)}",
        (f"  {' · '.join(facts)}" if facts else "", "dim"),
    )
    yield Text(f"    {turn['id']}", style="dim")
    for step in turn["steps"]:
        again = f", {step['attempts']} attempts" if step["attempts"] > 1 else ""
        line = f"{step['name']} (number {step['number']}) {step['state']}{again}{_kept_apart(step)}{_answer(step)}"
        yield Text.assemble(("    step  ", "dim"), line)


def _answer(step: Mapping[str, Any]) -> str:
    """Who has answered a wait, and with what."""
    if not step.get("by"):
        return ""
    answer = f": {json.dumps(step['answer'], ensure_ascii=False)}" if step["answer"] is not None else ""
    return " " + _one_line(f"by {step['by']}{answer}")


def _kept_apart(step: Mapping[str, Any]) -> str:
    """Size and digest of a result that is too large to be shown."""
    kept = step.get("kept_apart")
    return f" → {kept['size_bytes']:,} bytes, {kept['digest']}" if kept else ""


def deed_text(done: Mapping[str, Any]) -> str:
    """What became of an agent that was killed or restarted, in one sentence."""
    before, after, took, why = done["before"], done["after"], _short_duration(done["took_s"]), _one_line(done["why"])
    was = "was killed" if done["deed"] == "kill" else "was stopped"
    begun = f"{done['agent']} {was} ({_life(before)})" if before else f"{done['agent']} did not run"
    match done["state"]:
        case "running":
            back = "is back" if done["deed"] == "kill" else "runs again" if before else "runs now"
            return f"{begun} and {back} after {took}: {_life(after)}"
        case "gone":
            return f"{begun} and is not started again: {why}"
        case "app_ended":
            return f"{begun} and the whole app ended with it: {why}"
        case state:
            return f"{begun} and is {state}: {why}"


def show_reply(reply: object, *, to: IO[str]) -> None:
    """A reply: a text, into a file or pipe as it is, nothing for None, everything else as JSON that can be read."""
    if isinstance(reply, dict) and len(reply) == 1:
        (reply,) = reply.values()
    if reply is None:
        return
    text = reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False, indent=2)
    to.write((printable_lines(text) if to.isatty() else text) + "\n")


def show_findings(findings: Iterable[Finding], *, to: IO[str]) -> None:
    """One line for each finding, and below it what to do about one that is not good."""
    console = console_for(to)
    for finding in findings:
        mark, style = MARKS[finding.verdict]
        line = Text.assemble((mark, style), " ", (finding.subject, "bold"), ": ", finding.text)
        console.print(line, soft_wrap=True)
        if finding.advice:
            console.print(Text(f"  → {finding.advice}", style=style), soft_wrap=True)


def tree_rows(root: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each supervisor and agent of a tree with what is drawn before it."""
    return _rows(root, "", "")


def _rows(node: Mapping[str, Any], guide: str, below: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each node with what is drawn before it; `below` is drawn before its children."""
    yield guide, node
    children = node["children"]
    for number, child in enumerate(children, start=1):
        is_last = number == len(children)
        yield from _rows(child, below + ("└─ " if is_last else "├─ "), below + ("   " if is_last else "│  "))


def _grow(drawn: Tree, node: Mapping[str, Any]) -> None:
    for child in node["children"]:
        _grow(drawn.add(_branch(child, child["id"].rpartition("/")[2])), child)


def _branch(node: Mapping[str, Any], name: str) -> Text:
    """One supervisor or agent on one line; what is as it mostly is, such as no restart, is left out."""
    life = " ".join(filter(None, (f"#{node['incarnation']}", f"pid {node['pid']}" if node["pid"] else "")))
    restarts = f"{node['restarts']} restart{'s' if node['restarts'] != 1 else ''}" if node["restarts"] else ""
    parts = [
        (node["restart"], ""),
        (f"{node['strategy']}, {node['intensity']}" if node["strategy"] else "", "cyan"),
        (node["state"], STATE_STYLES.get(node["state"], "")),
        (life, "dim"),
        (restarts, "yellow"),
        (f"last ended with {_one_line(node['last_reason'])}" if node["last_reason"] else "", "dim"),
    ]
    line = Text(name, style="bold")
    for number, (text, style) in enumerate(part for part in parts if part[0]):
        line.append("  " if number == 0 else " · ", style="dim").append(text, style=style)
    return line


def _one_line_of(text: str) -> Text:
    """One line, cut where the terminal ends, so that there is one line for each agent."""
    return Text(_one_line(text), no_wrap=True, overflow="ellipsis")


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _life(life: Mapping[str, Any]) -> str:
    return f"#{life['incarnation']}, pid {life['pid']}" if life["pid"] else f"#{life['incarnation']}"


def _short_duration(seconds: float) -> str:
    return f"{seconds * 1_000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _duration(seconds: float) -> str:
    for unit_s, name in _DURATIONS:
        if seconds >= unit_s:
            return f"{int(seconds // unit_s)} {name}"
    return f"{max(0, int(seconds))} s"
