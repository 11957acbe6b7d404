"""What supervisors report, told on: each report is one log line and one event of a trace (SEMANTICS 2).

Whoever waits for a child to come back is woken by the same reports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from regrow.runtime import telemetry
from regrow.supervisors.report import ReportKind, SupervisorReport

log = structlog.get_logger("regrow.supervisor")

EVENT_NAMES = {
    ReportKind.CHILD_STARTED: telemetry.CHILD_STARTED,
    ReportKind.CHILD_TERMINATED: telemetry.CHILD_TERMINATED,
    ReportKind.RESTARTING: telemetry.RESTARTING,
    ReportKind.START_FAILED: telemetry.START_FAILED,
    ReportKind.ESCALATED: telemetry.ESCALATED,
}
"""What each kind is called in a trace."""


class Reports:
    """Takes the reports of all supervisors of one process."""

    def __init__(self) -> None:
        self._came = asyncio.Event()
        self.also: Callable[[SupervisorReport], None] = _nobody_else
        """Told each report as well; must not raise."""

    def __call__(self, report: SupervisorReport) -> None:
        """Tells one report on."""
        _log(report)
        _trace(report)
        self.also(report)
        came, self._came = self._came, asyncio.Event()
        came.set()

    async def wait_next(self, timeout_s: float) -> None:
        """Waits for the next report, or until the time is over."""
        try:
            await asyncio.wait_for(self._came.wait(), timeout_s)
        except TimeoutError:
            pass  # not every change is reported, so whoever waits looks again from time to time


def _nobody_else(report: SupervisorReport) -> None:
    pass


def _log(report: SupervisorReport) -> None:
    """One structured line for each event; a death is a warning, an ordered start or end is not worth one."""
    ordered_end = report.kind is ReportKind.CHILD_TERMINATED and report.reason and not report.reason.abnormal
    say = log.debug if report.kind is ReportKind.CHILD_STARTED or ordered_end else log.warning
    say(
        report.kind.value,
        agent=f"{report.supervisor}/{report.child}",
        incarnation=report.incarnation,
        reason=str(report.reason) if report.reason is not None else None,
        restarts=report.restarts,
        delay_s=report.delay_s,
    )


def _trace(report: SupervisorReport) -> None:
    attributes: dict[str, str | int | float | bool] = {
        telemetry.AGENT_ID: f"{report.supervisor}/{report.child}",
        telemetry.AGENT_INCARNATION: report.incarnation,
        telemetry.SUPERVISOR_ID: report.supervisor,
        telemetry.RESTARTS: report.restarts,
        telemetry.DELAY_S: report.delay_s,
    }
    if report.reason is not None:
        attributes[telemetry.EXIT_KIND] = report.reason.kind
        # It holds what an error says, which may have a secret in it.
        attributes[telemetry.EXIT_REASON] = telemetry.without_secrets(str(report.reason), telemetry.ERROR_TEXT_CHARS)
    telemetry.event(EVENT_NAMES[report.kind], attributes, span_name=telemetry.SUPERVISE)
