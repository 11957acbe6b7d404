"""Traces go where OpenTelemetry's own variables say, unless the program has said something else."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from structlog.testing import capture_logs

from regrow.cluster import tracing
from regrow.cluster.config import EXPORTER_VARIABLE, TracingSettings
from regrow.cluster.errors import ConfigError
from regrow.cluster.span_route import SpanRoute
from regrow.cluster.span_store import FILE_NAME, SpanFile
from regrow.runtime import telemetry
from regrow.runtime.redaction import REDACTED, Redaction

PROGRAM = """
import sys
from opentelemetry import trace
from regrow import App, agent

@agent
async def greet(name: str) -> str:
    with trace.get_tracer("program").start_as_current_span("inner"):
        return f"hello {name}"

with trace.get_tracer("program").start_as_current_span("outer"):
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
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REGROW_"))}
    env = {"REGROW_TRACING__STORE_MB": "0", **env, **variables}
    if "REGROW_DATA_DIR" in variables:
        del env["REGROW_TRACING__STORE_MB"]
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
@pytest.mark.program
def test_no_sdk_is_loaded_where_tracing_is_switched_off() -> None:
    said, more = run(PROGRAM, OTEL_TRACES_EXPORTER="console", REGROW_TRACING__ENABLED="false")

    assert said == ""
    assert more.split() == ["hello", "world", "False"]


@pytest.mark.slow
@pytest.mark.program
def test_a_provider_of_the_program_stays_and_its_spans_and_ours_are_kept_in_one_trace(tmp_path: Path) -> None:
    said, _ = run(OWN + PROGRAM, OTEL_TRACES_EXPORTER="console", REGROW_DATA_DIR=str(tmp_path))

    assert said == ""  # the program has set up all exporters that it wants
    file = SpanFile(tmp_path / FILE_NAME)
    (trace_id,) = file.latest(10)
    turn, inner = file.spans(trace_id)
    assert (turn.name, inner.name) == ("invoke_agent hello/greet", "inner")
    assert turn.parent_id != ""  # that of the program's span, which ended when nothing was kept any more
    assert inner.parent_id == turn.span_id


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No app runs in this process, and what is set up by the test is forgotten."""
    monkeypatch.setattr(tracing, "_process", type(tracing._process)())  # pyright: ignore[reportPrivateUsage]
    yield
    telemetry.switch_off()
    telemetry.spans.redact = Redaction()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("begins_with_content", [True, False])
def test_of_apps_in_one_process_all_must_want_content_and_the_patterns_of_all_count(begins_with_content: bool) -> None:
    one = TracingSettings(content=begins_with_content, redact=(r"EMP-\d+",))
    other = TracingSettings(content=not begins_with_content, redact=(r"hunter\d+",))

    tracing.begin(one, first := SpanRoute())
    sampling = telemetry.spans.sampling
    tracing.begin(other, SpanRoute())
    both_want = telemetry.spans.with_content
    told = telemetry.without_secrets("EMP-17 says hunter22", 100)
    same_sampling = telemetry.spans.sampling is sampling
    asyncio.run(tracing.end(one, first))

    assert not both_want
    assert told == f"{REDACTED} says {REDACTED}"
    assert same_sampling
    assert telemetry.spans.with_content is other.content
    assert telemetry.without_secrets("EMP-17 says hunter22", 100) == f"EMP-17 says {REDACTED}"


@pytest.mark.usefixtures("alone")
def test_no_message_has_spans_once_the_last_app_of_a_process_has_stopped() -> None:
    settings = TracingSettings(content=True)
    one, other = SpanRoute(), SpanRoute()
    tracing.begin(settings, one)
    tracing.begin(settings, other)

    asyncio.run(tracing.end(settings, one))
    is_one_left = telemetry.spans.sampling is not None and telemetry.spans.with_content
    asyncio.run(tracing.end(settings, other))

    assert is_one_left
    assert telemetry.spans.sampling is None
    assert not telemetry.spans.with_content


def test_an_exporter_that_is_not_installed_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EXPORTER_VARIABLE, "smoke_signals")

    monkeypatch.setattr(tracing, "_process", type(tracing._process)())  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)  # whatever ran here before

    with pytest.raises(ConfigError, match="'smoke_signals', which is not installed; there is: console"):
        tracing.configure("desk", TracingSettings())
    with capture_logs() as logs:
        tracing.configure_or_warn("desk", TracingSettings())

    assert [line["event"] for line in logs] == ["this process is not traced"]
