"""What a run of the research desk came to, for people (on a terminal) and for programs (as JSON)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from researchers import Answer
from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.status import Status
from rich.table import Column, Table
from rich.text import Text

from regrow import AskFailed
from regrow.cluster.span_row import SpanRow
from regrow.cluster.trace_tree import summary_of, tree_of
from regrow.cluster.trace_views import show_trace
from regrow.router import Totals, UsageTotals

SKIPPED_SHOWN = 10
OTHERS_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """The death of an agent's process at work, and how its asker fared."""

    agent: str
    life: int
    pid: int
    reason: str
    asker_told_after_ms: float
    answered_after_ms: float
    next_life: int
    next_pid: int
    begun_as: tuple[str, ...]
    """The command id under which each life began the same question: the asker asked again, and no second one."""


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything that the table at the end and `--json` say."""

    engine: str
    models: dict[str, str]
    folder: str
    documents: int = 0
    passages: int = 0
    new_passages: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    questions: int = 0
    asks: int = 0
    reasks: int = 0
    answers: int = 0
    answers_remembered: int = 0
    restarts: int = 0
    messages: int = 0
    dead_letters: int = 0
    usage: dict[str, Totals] = field(default_factory=dict)
    kill: Kill | None = None
    answered: list[tuple[str, Answer]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    trace: list[SpanRow] = field(default_factory=list)
    """The spans of one of the questions."""

    def as_json(self) -> str:
        """One JSON object."""
        numbers = {
            name: getattr(self, name)
            for name in self.__slots__
            if name not in ("skipped", "usage", "kill", "answered", "failed", "trace")
        }
        return json.dumps(
            numbers
            | {
                "skipped": [{"document": name, "reason": reason} for name, reason in self.skipped],
                "usage": {tier: totals.model_dump() for tier, totals in self.usage.items()},
                "trace_id": self.trace[0].trace_id if self.trace else None,
                "kill": asdict(self.kill) if self.kill else None,
                "results": [
                    *({"question": question} | answer.model_dump() for question, answer in self.answered),
                    *({"question": question, "error": why} for question, why in self.failed),
                ],
            },
            ensure_ascii=False,
            indent=2,
        )


def used_since(before: UsageTotals, now: UsageTotals) -> dict[str, Totals]:
    """What was used in between, by tier: the ledger itself counts for ever."""
    earlier = {each.tier: each.totals for each in before.by_tier}
    return {
        each.tier.value: Totals.model_validate(
            {name: round(value - getattr(earlier.get(each.tier, Totals()), name), 9) for name, value in each.totals}
        )
        for each in now.by_tier
    }


class Screen:
    """Shows a run as it goes: on stdout, or on stderr where stdout is for JSON."""

    def __init__(self, *, json_only: bool) -> None:
        self._console = Console(stderr=json_only, highlight=False)

    def begins(self, report: Report, *, is_extractive: bool) -> None:
        """Says what runs on what."""
        models = " and ".join(dict.fromkeys(report.models.values()))
        self._say(f"Regrow research desk · {report.engine} engine · {models} model", style="bold")
        if is_extractive:
            self._say(
                "This model quotes and does not write. For written answers set OPENAI_BASE_URL (and OPENAI_API_KEY), "
                "or name models in regrow.toml.",
                style="dim",
            )

    def starting(self) -> Status:
        """A sign of life while processes start, which on Ray takes some seconds."""
        return Console(stderr=True).status("starting", spinner="dots")

    @contextmanager
    def reading(self, count: int) -> Iterator[Callable[[str], None]]:
        """A progress bar over the documents; call what it gives with the name of each as it is done."""
        columns = (
            TextColumn("reading"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        )
        console = Console(stderr=True)
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("", total=count)
            yield lambda name: progress.update(task, advance=1, description=name.replace("[", r"\["))

    @contextmanager
    def writing(self) -> Iterator[Callable[[str], None]]:
        """The answer as it is written, on a terminal, until it is whole; call what it gives with each part."""
        console = Console(stderr=True)
        if not console.is_terminal:
            yield lambda part: None
            return
        with Live(console=console, transient=True) as live:
            written = Text()
            yield lambda part: live.update(Padding(written.append(part), (0, 0, 0, 3)))

    def has_read(self, report: Report, others: tuple[tuple[str, int], ...], seconds: float) -> None:
        """Says what was read, and what was not."""
        known = "" if report.new_passages == report.passages else f" ({report.new_passages:,} of them new)"
        self._say(
            f"Read {report.documents:,} documents of {report.folder} in {seconds:.1f} s: "
            f"{report.passages:,} passages{known}"
        )
        for name, reason in report.skipped[:SKIPPED_SHOWN]:
            self._say(f"  skipped {name}: {reason}", style="yellow")
        if more := len(report.skipped) - SKIPPED_SHOWN:
            if more > 0:
                self._say(f"  skipped {more} more; --json lists all", style="yellow")
        if others:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in others[:OTHERS_SHOWN])
            self._say(f"  not documents: {kinds}{', …' if len(others) > OTHERS_SHOWN else ''}", style="dim")

    def asks(self, number: int, question: str) -> None:
        """Shows a question."""
        self._console.print()
        self._say(f"{number}  {question}", style="bold cyan")

    def killed(self, agent: str, life: int, pid: int) -> None:
        """Says who was killed."""
        self._aside(f"✗ {agent}#{life} is at work on it; its process {pid} is killed with SIGKILL")

    def asker_told(self, failure: AskFailed) -> None:
        """Shows what an asker gets when the other side is killed."""
        self._aside(f"✗ the asker gets AskFailed: {failure.reason}; it asks again under the same command id")

    def regrown(self, kill: Kill) -> None:
        """Says who came back, and how long the asker waited."""
        self._aside(
            f"✓ {kill.agent}#{kill.next_life} is back in process {kill.next_pid}: the asker knew after "
            f"{kill.asker_told_after_ms:.0f} ms and had its answer {kill.answered_after_ms:.0f} ms after the kill"
        )

    def not_killed(self, why: str) -> None:
        """Says why there is no kill to see."""
        self._aside(why)

    def answers(self, answer: Answer) -> None:
        """Shows an answer with its quotes and sources."""
        if answer.text:
            self._say(answer.text, indent=3, style="" if answer.found else "dim")
            checked = {quote.source for quote in answer.quotes}
            for number, source in enumerate(answer.sources, start=1):
                mark = "  ✓ quotation checked" if source in checked else ""
                self._show(Text.assemble((f"[{number}] ", "dim"), (source, "green"), (mark, "dim")), indent=3)
            return
        for quote in answer.quotes:
            self._show(Text.assemble(("“", "dim"), quote.text, ("”  ", "dim"), (quote.source, "green")), indent=3)

    def failed(self, why: str) -> None:
        """Shows why a question has no answer."""
        self._say(why, indent=3, style="red")

    def ends(self, report: Report) -> None:
        """The table at the end."""
        table = Table(show_header=False, box=None, padding=(0, 3, 0, 0))
        rows = [
            ("questions", report.questions),
            ("asks", report.asks),
            ("re-asks", report.reasks),
            ("answers", report.answers),
            ("restarts", report.restarts),
            ("messages", report.messages),
            ("dead letters", report.dead_letters),
        ]
        half = (len(rows) + 1) // 2
        for at in range(half):
            cells = [cell for name, count in rows[at::half] for cell in (f"[dim]{name}[/]", f"{count:,}")]
            table.add_row(*cells)
        self._console.print()
        self._console.print(table)
        for tier, totals in report.usage.items():
            self._say(f"{tier} model: {_usage(totals)}", style="dim")
        if report.trace:
            self._console.print()
            self._say(f"What happened to a question (regrow trace {report.trace[0].trace_id[:8]} draws it again):")
            show_trace(summary_of(report.trace), tree_of(report.trace), to=self._console.file)

    def _aside(self, text: str) -> None:
        self._say(text, indent=3, style="yellow")

    def _say(self, text: str, *, style: str = "", indent: int = 0) -> None:
        # As Text, since documents and errors may hold what rich would take for markup.
        self._show(Text(text, style=style), indent=indent)

    def _show(self, text: Text, *, indent: int) -> None:
        self._console.print(Padding(text, (0, 0, 0, indent), expand=False))


def _usage(totals: Totals) -> str:
    calls = "1 call" if totals.calls == 1 else f"{totals.calls:,} calls"
    cost = f"${totals.cost_usd:.4f}"
    if totals.unpriced_calls:
        cost += f" (no price is known for {totals.unpriced_calls:,} of them)"
    return f"{calls}, {totals.input_tokens:,} tokens in, {totals.output_tokens:,} out, {cost}"


def complain(text: str) -> None:
    """One sentence on stderr."""
    print(f"desk: {text}", file=sys.stderr)
