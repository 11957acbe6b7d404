"""What supervisors report of the death of a process: one line and one event each, where a user finds them on Ray."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from regrow.supervisors.report import ReportKind
from tests.integration.belongings import Process
from tests.integration.drivers import BEGIN_S, Driver, driver
from tests.integration.waiting import until_now

pytestmark = [pytest.mark.slow, pytest.mark.ray]

PROGRAM = """\
import os

import structlog

from regrow import Agent, App, Context, Supervisor, child


class Clerk(Agent):
    async def started(self, ctx: Context) -> None:
        print("clerk", os.getpid(), "runs", flush=True)
        structlog.get_logger("library").info("a line of a host", number=ctx.incarnation)


app = App("reporting", Supervisor(children=[child(Clerk)]))

if __name__ == "__main__":
    app.run(engine="ray")
"""

VARIABLES = {
    "REGROW_LOG__LEVEL": "debug",
    "REGROW_LOG__FORMAT": "json",
    "OTEL_TRACES_EXPORTER": "console",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
}
"""All that a user sets; the guardian has no other way to learn of an exporter."""

TOLD = ["child_started", "child_terminated", "restarting", "child_started"]
"""Of an agent whose process is killed once; a stop adds one more end."""

KINDS = {kind.value for kind in ReportKind}


def lines(program: Driver) -> list[str]:
    """The reports on the stderr of the guardian, which Ray keeps in a file."""
    found: list[str] = []
    for path in sorted(program.folder.rglob("logs/worker-*.err")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            # The last one may still be being written.
            said: dict[str, Any] = json.loads(line) if line.startswith("{") and line.endswith("}\n") else {}
            if said.get("event") in KINDS:
                found.append(said["event"])
    return found


def events(program: Driver) -> list[str]:
    """The events of the spans on its stdout, where the exporter `console` prints them."""
    found: list[str] = []
    for path in sorted(program.folder.rglob("logs/worker-*.out")):
        found += _events(path)
    return [name.removeprefix("supervisor.") for name in found if name.startswith("supervisor.")]


def _events(path: Path) -> list[str]:
    text, decoder, place = path.read_text(encoding="utf-8", errors="replace"), json.JSONDecoder(), 0
    found: list[str] = []
    while (place := text.find("\n{", place)) >= 0:
        try:
            span, place = decoder.raw_decode(text, place + 1)
        except ValueError:
            return found  # the last one is still being written
        found += [event["name"] for event in span["events"]]
    return found


def pid_of_clerk(program: Driver, life: int) -> int:
    """The process that the agent said it runs in when that life of it began."""
    said = [line for line in program.said.splitlines() if " runs" in line and "clerk " in line]
    return int(said[life - 1].rpartition("clerk ")[2].split()[0]) if len(said) >= life else 0


def of_hosts(program: Driver) -> list[dict[str, Any]]:
    """What the agent logs, as it comes out of the program: as whole lines of JSON, with nothing before them."""
    said = [json.loads(line) for line in program.said.splitlines() if line.startswith("{") and line.endswith("}")]
    return [line for line in said if line.get("event") == "a line of a host"]


@pytest.mark.again  # inline it is counted as well
def test_the_death_of_a_process_is_told_line_by_line_and_event_by_event() -> None:
    with driver({"program.py": PROGRAM}, "program.py", **VARIABLES) as program:
        program.wait_runs("reporting")
        until_now(lambda: pid_of_clerk(program, 1) > 0, "the agent runs", within_s=BEGIN_S)

        Process(pid_of_clerk(program, 1), "the agent's process").kill()

        until_now(lambda: len(lines(program)) >= len(TOLD), "it is back", within_s=BEGIN_S)
        until_now(lambda: len(events(program)) >= len(TOLD), "its events have left", within_s=BEGIN_S)
        assert lines(program) == TOLD
        assert events(program) == TOLD
        until_now(lambda: len(of_hosts(program)) >= 2, "its lines have come", within_s=BEGIN_S)
        for line in of_hosts(program):
            assert (line["agent"], line["incarnation"]) == ("reporting/clerk", line["number"])
        first, second = (line["process"] for line in of_hosts(program))
        assert first == pid_of_clerk(program, 1) != second
        program.send(signal.SIGINT)
        program.wait_end()
