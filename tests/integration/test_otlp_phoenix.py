"""Spans by OTLP at a consumer of others: Arize Phoenix, in a venv of its own, shows the chain that is stored here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regrow.cluster.config import Settings
from regrow.cluster.past_traces import files_of, latest, spans_of
from regrow.runtime import telemetry
from tests.integration.test_examples import EXAMPLES, REPOSITORY
from tests.integration.test_recipes import uv
from tests.integration.waiting import until_now

pytestmark = [pytest.mark.nightly, pytest.mark.slow, pytest.mark.program]

PHOENIX = "arize-phoenix==20.26.1"
VENV = REPOSITORY / "build/phoenix"
UP_WITHIN_S = 180.0
SHOWN_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Phoenix that runs."""
    made_for = VENV / "made-for.txt"
    if not made_for.exists() or made_for.read_text("utf-8") != PHOENIX:
        uv("venv", "--clear", "--python", sys.executable, str(VENV))
        uv("pip", "install", "--python", str(VENV / "bin/python"), PHOENIX)
        made_for.write_text(PHOENIX, "utf-8")
    port, grpc_port = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PHOENIX_", "OTEL_"))}
    environment |= {
        "PHOENIX_WORKING_DIR": str(tmp_path_factory.mktemp("phoenix")),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc_port),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    command = [str(VENV / "bin/phoenix"), "serve"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            until_now(lambda: is_up(url, process), "Phoenix answers", within_s=UP_WITHIN_S)
            yield url
        finally:
            process.kill()


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def is_up(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether it answers."""
    assert process.poll() is None, "Phoenix has ended"
    try:
        urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
    except OSError:
        return False
    return True


def shown(url: str, trace_id: str) -> dict[str, Any]:
    """The spans of a trace as Phoenix has them now, by id."""
    with urllib.request.urlopen(f"{url}/v1/projects/default/spans?limit=1000", timeout=10) as answer:
        told = json.load(answer)["data"]
    return {span["context"]["span_id"]: span for span in told if span["context"]["trace_id"] == trace_id}


def test_phoenix_shows_the_chain_as_it_is_stored_here(phoenix: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REGROW_", "OTEL_"))}
    environment |= {"OTEL_TRACES_EXPORTER": "otlp_proto_http", "OTEL_EXPORTER_OTLP_ENDPOINT": phoenix}
    subprocess.run([sys.executable, str(EXAMPLES / "seen.py")], env=environment, cwd=tmp_path, check=True, timeout=120)

    files = files_of(Settings(data_dir=tmp_path / ".regrow/seen"))
    rows = spans_of(files, latest(files)[0][-1].trace_id)

    def all_shown() -> dict[str, Any] | None:
        spans = shown(phoenix, rows[0].trace_id)
        return spans if len(spans) >= len(rows) else None

    found = until_now(all_shown, "Phoenix has all spans", within_s=SHOWN_WITHIN_S)

    assert {(row.name, row.span_id, row.parent_id or None) for row in rows} == {
        (span["name"], span_id, span["parent_id"]) for span_id, span in found.items()
    }
    kinds = {span["name"]: span["span_kind"] for span in found.values()}
    assert (kinds["invoke_agent seen/analyst"], kinds["chat extractive"]) == ("AGENT", "LLM")
    assert (kinds["execute_tool opening_hours"], kinds["embeddings hashing-1-1024"]) == ("TOOL", "EMBEDDING")
    failed = {row.span_id for row in rows if row.failed}
    assert {span_id for span_id, span in found.items() if span["status_code"] == "ERROR"} == failed != set()
    (chat,) = (span["attributes"] for span in found.values() if span["name"] == "chat extractive")
    assert chat.get("llm.token_count.prompt") or chat.get(telemetry.INPUT_TOKENS)
