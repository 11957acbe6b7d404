"""Traces go where OpenTelemetry's own variables say, unless the program has said something else."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from opentelemetry import trace

from regrow.cluster import tracing
from regrow.cluster.errors import ConfigError
from regrow.runtime import telemetry

PROGRAM = """
import sys
from regrow import App, agent

@agent
async def greet(name: str) -> str:
    return f"hello {name}"

print(App("hello", greet).ask(greet, "world"), file=sys.stderr)
print("opentelemetry.sdk" in sys.modules, file=sys.stderr)
"""

OWN = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())
"""


def run(program: str, **variables: str) -> tuple[str, str]:
    """What a program says on stdout and stderr; the provider can be set once in a process, so not in this one."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")} | variables
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def spans(text: str) -> list[dict[str, object]]:
    """What the console exporter has printed: one JSON object after the other."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while (place := text.find("{", place)) >= 0:
        span, place = decoder.raw_decode(text, place)
        found.append(span)
    return found


@pytest.mark.program
@pytest.mark.slow
def test_an_exporter_of_the_environment_gets_the_reports_of_an_app() -> None:
    said, more = run(PROGRAM, OTEL_TRACES_EXPORTER="console")

    assert more.startswith("hello world")
    started = [span for span in spans(said) if span["name"] == telemetry.SUPERVISE]
    assert [[event["name"] for event in span["events"]] for span in started] == [  # type: ignore[attr-defined]
        ["supervisor.child_started"],
        ["supervisor.child_terminated"],
    ]
    assert started[0]["resource"]["attributes"]["service.name"] == "hello"  # type: ignore[index]


@pytest.mark.program
@pytest.mark.slow
def test_a_service_name_of_the_environment_is_kept() -> None:
    said, _ = run(PROGRAM, OTEL_TRACES_EXPORTER="console", OTEL_SERVICE_NAME="desk-7")

    assert spans(said)[0]["resource"]["attributes"]["service.name"] == "desk-7"  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "exporter", "loaded"),
    [(PROGRAM, "", False), (PROGRAM, "none", False), (OWN + PROGRAM, "console", True)],
)
@pytest.mark.program
def test_nothing_is_set_up_where_nobody_asks_for_it_or_the_program_has_done_so(
    program: str, exporter: str, loaded: bool
) -> None:
    said, more = run(program, OTEL_TRACES_EXPORTER=exporter)

    assert said == ""
    assert more.split() == ["hello", "world", str(loaded)]


def test_an_exporter_that_is_not_installed_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracing.EXPORTER_VARIABLE, "smoke_signals")

    with pytest.raises(ConfigError, match="'smoke_signals', which is not installed; there is: console"):
        tracing.configure("desk")
    tracing.configure_or_warn("desk")

    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
