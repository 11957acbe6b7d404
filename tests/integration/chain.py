"""One question from prompt to action, by a program whose spans go out by OTLP, and what a consumer shows of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.integration.model_server import CITY, model_server

PROGRAM = Path(__file__).parent / "apps/chained.py"
MODEL = "gpt-4.1-mini"
"""One that consumers know a price of."""
END_S = 120.0

SEND, ANALYST, LOOP = "send chained/analyst", "invoke_agent chained/analyst", "agent_loop chained/analyst"
SEARCH, CHAT, TOOL = "search_memory", f"chat {MODEL}", "execute_tool temperature"
CLERK, STEP = "invoke_agent chained/clerk", "step write"

CHAIN = [
    (SEND, ""),
    (ANALYST, SEND),
    (SEARCH, ANALYST),
    ("embeddings hashing-1-1024", SEARCH),
    (LOOP, ANALYST),
    (CHAT, LOOP),
    (TOOL, LOOP),
    (CHAT, LOOP),
    (CLERK, ANALYST),
    (STEP, CLERK),
]
"""The spans of the question, each with the one above it, in the order in which they begin."""

SECRETS = ("ada@example.com", "hunter22", "sk-proj-abcdefghijklmnop1234", "bo@example.com")
"""Of a passage, the prompt and the result of the tool."""


def ask(folder: Path, consumer: str, *, content: bool) -> None:
    """Runs the program in a folder of its own; its spans are at the consumer when this returns."""
    with model_server() as server:
        ours = ("PYTHON", "REGROW_", "OTEL_", "OPENAI_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
            "OTEL_TRACES_EXPORTER": "otlp_proto_http",
            "OTEL_EXPORTER_OTLP_ENDPOINT": consumer,
            "OPENAI_BASE_URL": f"{server.url}/v1",
            "OPENAI_API_KEY": "none",
            "OPENAI_MODEL": MODEL,
            "REGROW_MEMORY__STORE": "memory",
            "REGROW_TRACING__CONTENT": str(content).lower(),
            "no_proxy": "127.0.0.1",
        }
        done = subprocess.run(
            [sys.executable, str(PROGRAM)],
            check=False,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=END_S,
        )
    assert done.stdout == f"It is 21 degrees in {CITY}.\n", done.stderr


def shown(spans: Mapping[str, tuple[str, str]]) -> list[tuple[str, str]]:
    """Spans of one trace, by id each its name and the id of its parent, in the form of CHAIN."""
    return [(name, spans[parent][0] if parent else "") for name, parent in spans.values()]
