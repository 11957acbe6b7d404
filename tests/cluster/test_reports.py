"""Each report of a supervisor is one log line and one event of a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from regrow.actors import Agent, Context, on
from regrow.cluster import App
from regrow.cluster.config import LogSettings, Settings
from regrow.cluster.reports import EVENT_NAMES, Reports
from regrow.runtime import Crashed, Message, Normal, telemetry
from regrow.runtime.redaction import Redaction
from regrow.runtime.testing import virtual
from regrow.supervisors import Supervisor, child
from regrow.supervisors.report import ReportKind, SupervisorReport
from tests.runtime.test_telemetry import Traces, traces

__all__ = ["traces"]


@pytest.fixture(autouse=True)
def every_level_is_logged() -> Iterator[None]:
    """Whatever an app of an earlier test has set."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def report(kind: ReportKind, **more: object) -> SupervisorReport:
    fields = {"supervisor": "desk", "child": "clerk", "incarnation": 3, "restarts": 2, "delay_s": 0.5, **more}
    return SupervisorReport(kind=kind, **fields)  # type: ignore[arg-type]


CRASH = Crashed(type_name="ValueError", message="bad")


def test_every_kind_of_report_has_a_name_of_its_own_in_traces() -> None:
    assert set(EVENT_NAMES) == set(ReportKind)
    assert len(set(EVENT_NAMES.values())) == len(ReportKind)


@pytest.mark.parametrize("kind", list(ReportKind))
@virtual
async def test_each_report_is_one_line(kind: ReportKind) -> None:
    with capture_logs() as logs:
        Reports()(report(kind, reason=CRASH))

    (line,) = logs
    assert (line["event"], line["agent"], line["incarnation"]) == (kind.value, "desk/clerk", 3)
    assert (line["reason"], line["restarts"], line["delay_s"]) == ("ValueError: bad", 2, 0.5)


@pytest.mark.parametrize(
    ("kind", "level"), [(ReportKind.CHILD_TERMINATED, "debug"), (ReportKind.RESTARTING, "warning")]
)
@virtual
async def test_an_end_in_order_is_no_warning_but_a_restart_after_it_is(kind: ReportKind, level: str) -> None:
    with capture_logs() as logs:
        Reports()(report(kind, reason=Normal()))

    assert logs[0]["log_level"] == level


async def test_a_report_is_an_event_of_the_span_that_is_current(traces: Traces) -> None:
    with capture_logs(), traces.tracer.start_as_current_span("turn"):
        Reports()(report(ReportKind.CHILD_TERMINATED, reason=CRASH))

    assert list(traces.spans) == ["turn"]
    (event,) = traces.spans["turn"].events
    assert event.name == telemetry.CHILD_TERMINATED
    assert dict(event.attributes or {}) == {
        telemetry.AGENT_ID: "desk/clerk",
        telemetry.AGENT_INCARNATION: 3,
        telemetry.SUPERVISOR_ID: "desk",
        telemetry.RESTARTS: 2,
        telemetry.DELAY_S: 0.5,
        telemetry.EXIT_KIND: "crashed",
        telemetry.EXIT_REASON: "ValueError: bad",
    }


class Fall(Message):
    """Crash, and fail to start so often."""

    failing: int


class Clerk(Agent):
    """Does as it is told, through its deaths."""

    failing = 0

    async def started(self, ctx: Context) -> None:
        if Clerk.failing:
            Clerk.failing -= 1
            raise RuntimeError("not yet")

    @on
    async def fall(self, message: Fall) -> None:
        Clerk.failing = message.failing
        raise ValueError("bad")


class Steady(Agent): ...


async def test_each_report_of_a_tree_that_runs_is_one_line_on_stderr_and_one_event(
    traces: Traces, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, log=LogSettings(level="debug", format="json"))
    app = App("desk", Supervisor(max_restarts=2, children=[child(Steady), child(Clerk)]))

    async with app.start(engine="inline", settings=settings) as running:
        await running.ref(Clerk).tell(Fall(failing=1))
        await running.ref(Clerk).tell(Fall(failing=0))
        await running.wait_ended()

    told = [
        ("child_started", "steady", 0),
        ("child_started", "clerk", 0),
        ("child_terminated", "clerk", 0),
        ("restarting", "clerk", 1),
        ("start_failed", "clerk", 1),
        ("restarting", "clerk", 2),
        ("child_started", "clerk", 2),
        ("child_terminated", "clerk", 2),
        ("escalated", "clerk", 3),
        ("child_terminated", "steady", 3),
    ]
    kinds = {kind.value for kind in ReportKind}
    assert {kind for kind, _, _ in told} == kinds
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [
        (line["event"], line["agent"].removeprefix("desk/"), line["restarts"])
        for line in lines
        if line["event"] in kinds
    ] == told
    events = [event for span in traces.ended for event in span.events if event.name.startswith("supervisor.")]
    events.sort(key=lambda event: event.timestamp)
    assert [
        (
            event.name.removeprefix("supervisor."),
            str((event.attributes or {})[telemetry.AGENT_ID]).removeprefix("desk/"),
            (event.attributes or {})[telemetry.RESTARTS],
        )
        for event in events
    ] == told


async def test_without_a_current_span_a_report_has_a_short_one_of_its_own(traces: Traces) -> None:
    with capture_logs():
        Reports()(report(ReportKind.CHILD_STARTED))

    span = traces.spans[telemetry.SUPERVISE]
    assert [event.name for event in span.events] == [telemetry.CHILD_STARTED]
    assert span.parent is None
    assert (span.attributes or {})[telemetry.SHOWN_AS] == telemetry.SHOWN_AS_CHAIN


def test_what_an_error_says_stands_in_the_trace_without_its_secrets(
    traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry.spans, "redact", Redaction())
    crash = Crashed(type_name="ValueError", message="no such user ada@example.com")

    Reports()(report(ReportKind.CHILD_TERMINATED, reason=crash))

    (event,) = traces.spans[telemetry.SUPERVISE].events
    assert (event.attributes or {})[telemetry.EXIT_REASON] == "ValueError: no such user [redacted]"
