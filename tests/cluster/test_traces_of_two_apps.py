"""Two apps in one process: each keeps its own spans in its own data folder, whatever the other one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from regrow.actors import Agent, Context, on, tool
from regrow.cluster import tracing
from regrow.cluster.app import App, Running
from regrow.cluster.config import MemorySettings, Settings, TracingSettings
from regrow.cluster.record_queue import RecordQueue
from regrow.cluster.span_store import FILE_NAME, SpanFile
from regrow.runtime import ActorRef, telemetry
from regrow.runtime.message import Request
from regrow.supervisors import Supervisor, child

pytestmark = pytest.mark.slow

SOON_S = 30.0

other_side: dict[str, ActorRef] = {}
"""Whom an agent asks in another app."""


class Question(Request[int]):
    is_for_both: bool = False


@tool
async def book() -> str:
    """Books a room."""
    return "booked"


class Clerk(Agent):
    tools = [book]

    @on
    async def answer(self, question: Question, ctx: Context) -> int:
        with ctx.span("think"):
            await ctx.tools.call(book, {})
        with trace.get_tracer("library").start_as_current_span("read"):
            return 1 + await other_side["ref"].ask(Question()) if question.is_for_both else 1


TURN = ["execute_tool book", "invoke_agent {0}/clerk", "read", "send {0}/clerk", "think"]
"""What one question from outside leaves."""


@asynccontextmanager
async def runs(folder: Path, name: str, *, enabled: bool = True) -> AsyncIterator[Running]:
    """An app of this name whose data lies in this folder."""
    settings = Settings(
        data_dir=folder, memory=MemorySettings(store="memory"), tracing=TracingSettings(enabled=enabled)
    )
    app = App(name, Supervisor(children=[child(Clerk, id="clerk")]))
    async with app.start(engine="inline", settings=settings) as running:
        yield running


def kept(folder: Path) -> list[str]:
    """The names of all spans in this folder, but for the reports of supervisors."""
    file = SpanFile(folder / FILE_NAME)
    if not file.path.exists():
        return []
    return sorted(row.name for trace_id in file.latest(100) for row in file.spans(trace_id))


def turn_of(app: str) -> list[str]:
    return [name.format(app) for name in TURN]


async def test_each_of_two_apps_keeps_its_own_spans_also_when_the_first_one_stops_earlier(tmp_path: Path) -> None:
    async with runs(tmp_path / "b", "bar") as bar:
        async with runs(tmp_path / "a", "foo") as foo:
            await foo.ref(Clerk).ask(Question())
            await bar.ref(Clerk).ask(Question())
        await bar.ref(Clerk).ask(Question())
        async with runs(tmp_path / "a", "foo") as foo:
            await foo.ref(Clerk).ask(Question())

    assert kept(tmp_path / "a") == sorted(2 * turn_of("foo"))
    assert kept(tmp_path / "b") == sorted(2 * turn_of("bar"))


async def test_of_one_app_that_runs_twice_at_once_each_run_keeps_its_own_spans(tmp_path: Path) -> None:
    async with runs(tmp_path / "a", "foo") as one, runs(tmp_path / "b", "foo") as other:
        await one.ref(Clerk).ask(Question())
        await one.ref(Clerk).ask(Question())
        await other.ref(Clerk).ask(Question())

    assert kept(tmp_path / "a") == sorted(2 * turn_of("foo"))
    assert kept(tmp_path / "b") == turn_of("foo")


@pytest.mark.parametrize("is_first_traced", [True, False])
async def test_of_an_app_that_is_not_traced_no_span_is_kept_anywhere(tmp_path: Path, is_first_traced: bool) -> None:
    async with (
        runs(tmp_path / "a", "foo", enabled=is_first_traced) as foo,
        runs(tmp_path / "b", "bar", enabled=not is_first_traced) as bar,
    ):
        await foo.ref(Clerk).ask(Question())
        await bar.ref(Clerk).ask(Question())

    assert kept(tmp_path / "a") == (turn_of("foo") if is_first_traced else [])
    assert kept(tmp_path / "b") == ([] if is_first_traced else turn_of("bar"))


async def exported_by(queue: RecordQueue[Any], folder: Path) -> dict[str, int]:
    """Has an app that is traced ask one that is not; what the first one says of spans that this exporter dropped."""
    async with runs(folder / "a", "foo") as foo, runs(folder / "b", "bar", enabled=False) as bar:
        other_side["ref"] = bar.ref(Clerk)
        await foo.ref(Clerk).ask(Question(is_for_both=True))
        await asyncio.to_thread(queue.flush, SOON_S)
        dropped: dict[str, int] = (await foo.metrics())["total"]["spans_dropped"]
        return dropped


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Exporter:
    """An exporter of this process besides those that it has."""
    exporter = Exporter()
    queues = [*tracing._process.exports, exporter.queue]  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(tracing._process, "exports", queues)  # pyright: ignore[reportPrivateUsage]
    return exporter


class Exporter:
    """Keeps the names of spans, or fails."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fails = False
        self.queue: RecordQueue[Any] = RecordQueue("test", self.export)

    def export(self, batch: Sequence[Any]) -> None:
        if self.fails:
            raise OSError("away")
        self.names += [span.name for span in batch]


async def test_no_exporter_gets_a_span_of_an_app_that_is_not_traced(exporter: Exporter, tmp_path: Path) -> None:
    dropped = await exported_by(exporter.queue, tmp_path)

    names = sorted(name for name in exporter.names if name != telemetry.SUPERVISE)
    assert names == turn_of("foo")
    assert dropped == {}


async def test_each_run_of_an_app_counts_the_spans_that_were_dropped_while_it_ran(
    exporter: Exporter, tmp_path: Path
) -> None:
    exporter.fails = True

    first = (await exported_by(exporter.queue, tmp_path))["test: OSError"]
    second = (await exported_by(exporter.queue, tmp_path))["test: OSError"]

    left_out = SpanFile(tmp_path / "a" / FILE_NAME).left_out()
    assert first >= len(TURN)
    assert second <= first + 1  # the report that the first run ends with comes behind its count
    assert left_out["test: OSError"] == sum(exporter.queue.dropped.values())


@pytest.mark.parametrize("is_other_traced", [True, False])
async def test_a_trace_that_goes_from_one_app_into_another_is_kept_in_parts(
    tmp_path: Path, is_other_traced: bool
) -> None:
    async with runs(tmp_path / "a", "foo") as foo, runs(tmp_path / "b", "bar", enabled=is_other_traced) as bar:
        other_side["ref"] = bar.ref(Clerk)
        await foo.ref(Clerk).ask(Question(is_for_both=True))

    assert kept(tmp_path / "a") == turn_of("foo")
    assert kept(tmp_path / "b") == ([name for name in turn_of("bar") if "send" not in name] if is_other_traced else [])


async def test_a_span_of_the_program_itself_is_kept_by_all_apps_that_run(tmp_path: Path) -> None:
    async with runs(tmp_path / "a", "foo") as foo, runs(tmp_path / "b", "bar") as bar:
        with trace.get_tracer("program").start_as_current_span("morning"):
            await foo.ref(Clerk).ask(Question())
            await bar.ref(Clerk).ask(Question())

    for folder, app in (("a", "foo"), ("b", "bar")):
        assert kept(tmp_path / folder) == sorted(
            ["morning", *(name for name in turn_of(app) if not name.startswith("send"))]
        )
