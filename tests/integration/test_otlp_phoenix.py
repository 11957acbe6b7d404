"""Spans by OTLP at a consumer of others: Arize Phoenix, in a venv of its own, shows the chain, its tokens and cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regrow.cluster.config import Settings
from regrow.cluster.past_traces import files_of, latest, spans_of
from regrow.cluster.span_row import SpanRow
from tests.integration import chain
from tests.integration.test_examples import EXAMPLES, REPOSITORY
from tests.integration.test_recipes import uv
from tests.integration.waiting import until_now
from tests.ports import free_ports

pytestmark = [pytest.mark.nightly, pytest.mark.slow, pytest.mark.program]

PHOENIX = "arize-phoenix==20.26.1"
VENV = REPOSITORY / "build/phoenix"
UP_WITHIN_S = 600.0
"""It makes a database of its own first, step by step, which takes minutes beside others who work."""
SHOWN_WITHIN_S = 60.0
KINDS = ["CHAIN", "AGENT", "RETRIEVER", "EMBEDDING", "CHAIN", "LLM", "TOOL", "LLM", "AGENT", "CHAIN"]
"""Of the spans of `chain.CHAIN`."""
ROLES = ["system", "user", "assistant", "tool"]
SPENT = "costSummary { total { cost tokens } }"


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Phoenix that runs."""
    made_for = VENV / "made-for.txt"
    if not made_for.exists() or made_for.read_text("utf-8") != PHOENIX:
        uv("venv", "--clear", "--python", sys.executable, str(VENV))
        uv("pip", "install", "--python", str(VENV / "bin/python"), PHOENIX)
        made_for.write_text(PHOENIX, "utf-8")
    port, grpc_port = free_ports(2)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PHOENIX_", "OTEL_"))}
    folder = tmp_path_factory.mktemp("phoenix")
    environment |= {
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc_port),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    command = [str(VENV / "bin/phoenix"), "serve"]
    said = folder / "said"
    with said.open("wb") as to, subprocess.Popen(command, env=environment, stdout=to, stderr=to) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            until_now(lambda: is_up(url, process, said), "Phoenix answers", within_s=UP_WITHIN_S)
            yield url
        finally:
            process.kill()


def is_up(url: str, process: subprocess.Popen[bytes], said: Path) -> bool:
    """Whether it answers."""
    assert process.poll() is None, f"Phoenix has ended:\n{said.read_text('utf-8', 'replace')[-2_000:]}"
    try:
        urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
    except OSError:
        return False
    return True


def shown(url: str, trace_id: str) -> dict[str, Any]:
    """The spans of a trace as Phoenix has them now, by id, as they began."""
    with urllib.request.urlopen(f"{url}/v1/projects/default/spans?limit=1000", timeout=10) as answer:
        told = json.load(answer)["data"]
    found = {span["context"]["span_id"]: span for span in told if span["context"]["trace_id"] == trace_id}
    return dict(sorted(found.items(), key=lambda item: str(item[1]["start_time"])))


def shown_in_full(url: str, folder: Path, app: str) -> tuple[list[SpanRow], dict[str, Any]]:
    """The spans of the last trace of an app, as they are stored and as Phoenix has them, by id."""
    files = files_of(Settings(data_dir=folder / f".regrow/{app}"))
    rows = spans_of(files, latest(files)[0][-1].trace_id)

    def all_shown() -> dict[str, Any] | None:
        spans = shown(url, rows[0].trace_id)
        return spans if len(spans) >= len(rows) else None

    return rows, until_now(all_shown, "Phoenix has all spans", within_s=SHOWN_WITHIN_S)


def summary(url: str, trace_id: str) -> dict[str, Any]:
    """What the page of Phoenix says of a trace."""
    asked = f'{{ getTraceByOtelId(traceId: "{trace_id}") {{ numSpans rootSpan {{ name }} {SPENT} }} }}'
    body = json.dumps({"query": asked}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)["data"]["getTraceByOtelId"]
        return found


def test_phoenix_shows_the_chain_as_it_is_stored_here(phoenix: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REGROW_", "OTEL_"))}
    environment |= {"OTEL_TRACES_EXPORTER": "otlp_proto_http", "OTEL_EXPORTER_OTLP_ENDPOINT": phoenix}
    subprocess.run([sys.executable, str(EXAMPLES / "seen.py")], env=environment, cwd=tmp_path, check=True, timeout=120)

    rows, found = shown_in_full(phoenix, tmp_path, "seen")

    assert {(row.name, row.span_id, row.parent_id or None) for row in rows} == {
        (span["name"], span_id, span["parent_id"]) for span_id, span in found.items()
    }
    failed = {row.span_id for row in rows if row.failed}
    assert {span_id for span_id, span in found.items() if span["status_code"] == "ERROR"} == failed != set()


def test_phoenix_shows_prompt_retrieval_model_tool_and_action_for_what_they_are(phoenix: str, tmp_path: Path) -> None:
    chain.ask(tmp_path, phoenix, content=True)

    rows, found = shown_in_full(phoenix, tmp_path, "chained")
    told = summary(phoenix, rows[0].trace_id)
    spans = list(found.values())
    first, second = (span["attributes"] for span in spans if span["name"] == chain.CHAT)
    (tool,) = (span["attributes"] for span in spans if span["name"] == chain.TOOL)

    assert chain.shown({span_id: (of["name"], of["parent_id"] or "") for span_id, of in found.items()}) == chain.CHAIN
    assert [span["span_kind"] for span in spans] == KINDS
    assert (told["numSpans"], told["rootSpan"]) == (len(chain.CHAIN), {"name": chain.SEND})
    assert (
        told["costSummary"]["total"]["tokens"] == first["llm.token_count.total"] + second["llm.token_count.total"] > 0
    )
    assert told["costSummary"]["total"]["cost"] > 0
    called = "llm.output_messages.0.message.tool_calls.0.tool_call"
    assert (first[f"{called}.id"], first[f"{called}.function.name"]) == ("call_1", "temperature")
    assert json.loads(first[f"{called}.function.arguments"]) == {"city": "Bern"}
    assert [second[f"llm.input_messages.{number}.message.role"] for number in range(4)] == ROLES
    assert second["llm.input_messages.3.message.tool_call_id"] == "call_1"
    assert (
        second["llm.input_messages.3.message.content"] == tool["output.value"] == "21 degrees in Bern, says [redacted]"
    )
    assert second["llm.output_messages.0.message.content"] == "It is 21 degrees in Bern."
    assert (tool["tool.name"], tool["tool.id"], tool["tool.parameters.city"]) == ("temperature", "call_1", "Bern")
    assert not [secret for secret in chain.SECRETS if secret in json.dumps(spans)]


def test_phoenix_gets_no_word_of_people_or_models_unless_it_is_switched_on(phoenix: str, tmp_path: Path) -> None:
    chain.ask(tmp_path, phoenix, content=False)

    _, found = shown_in_full(phoenix, tmp_path, "chained")

    assert [span["span_kind"] for span in found.values()] == KINDS
    assert not [word for word in ("Bern", "degrees", "passage", "[redacted]") if word in json.dumps(found)]
