"""An OTLP consumer that hangs, fails or is away, under load: work goes on, the end is bounded, and losses are told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from regrow.cluster.config import Settings
from regrow.cluster.past_traces import files_of, latest
from regrow.cluster.record_queue import QUEUE_SPANS, WARN_EVERY_S
from regrow.cluster.tracing import END_LIMIT_S

pytestmark = [pytest.mark.slow, pytest.mark.program]

ASKS = QUEUE_SPANS + 1_000
"""More than can wait."""
GIVES_UP_S = 60.0
"""How long the exporter tries to send one batch: work that waited for it would take at least as long."""
SLACK_S = 10.0

PROGRAM = """
import asyncio, json, sys, time
from urllib.request import urlopen
from regrow import Agent, App, Request, on

class Ping(Request[int]):
    pass

class Echo(Agent):
    @on
    async def ping(self, _: Ping) -> int:
        return 1

async def run() -> None:
    asks = int(sys.argv[1])
    async with App("hello", Echo).start(engine="inline") as running:
        echo = running.ref(Echo)
        began_s = time.perf_counter()
        for _ in range(asks):
            await echo.ask(Ping())
        took_s = time.perf_counter() - began_s
        metrics = (await running.metrics())["total"]
        host, port = running.endpoint.address
        with await asyncio.to_thread(urlopen, f"http://{host}:{port}/metrics") as answer:
            served = [line for line in answer.read().decode().splitlines() if line.startswith("regrow_spans_dropped")]
        ending_s = time.perf_counter()
    ended_s = time.perf_counter() - ending_s
    print(json.dumps({"took_s": took_s, "end_s": ended_s, "dropped": metrics["spans_dropped"], "served": served}))

asyncio.run(run())
"""


def loaded(folder: Path, consumer: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a program under load says of itself, and its lines on spans that were dropped."""
    ours = ("REGROW_", "OTEL_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
        "REGROW_TRACING__ENABLED": "true",
        "REGROW_TRACING__TRACES_PER_S": "100000",
        "REGROW_METRICS__ADDRESS": "0",
        "REGROW_LOG__FORMAT": "json",
        "no_proxy": "127.0.0.1",
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_EXPORTER_OTLP_ENDPOINT": consumer,
        "OTEL_EXPORTER_OTLP_TIMEOUT": str(GIVES_UP_S),
    }
    command = [sys.executable, "-c", PROGRAM, str(ASKS)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    return json.loads(done.stdout), [line for line in lines if line["level"] != "info"]


@contextmanager
def one_that_never_answers() -> Iterator[str]:
    """The system takes its connections, and nobody reads what comes."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def one_that_fails() -> Iterator[str]:
    """Answers each request with 500."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Failing) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Failing(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_error(500)


@contextmanager
def one_that_is_away() -> Iterator[str]:
    """Nobody listens at its port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    ("consumer", "reason"),
    [
        (one_that_never_answers, "queue_full"),
        pytest.param(one_that_fails, "ExportFailed", marks=pytest.mark.again),
        pytest.param(one_that_is_away, "queue_full", marks=pytest.mark.again),
    ],
)
def test_an_exporter_in_trouble_costs_spans_that_are_counted_and_told_and_holds_up_no_work(
    consumer: Callable[[], AbstractContextManager[str]], reason: str, tmp_path: Path
) -> None:
    with consumer() as url:
        said, lines = loaded(tmp_path, url)

    assert said["took_s"] < GIVES_UP_S
    assert said["end_s"] < END_LIMIT_S + SLACK_S
    dropped = said["dropped"][f"otlp_proto_http: {reason}"]
    labels = f'app="hello",host="inline",exporter="otlp_proto_http",reason="{reason}"'
    assert dropped > 0
    assert any(line.startswith(f"regrow_spans_dropped_total{{{labels}}} ") for line in said["served"])
    assert {line["event"] for line in lines} == {"spans were dropped"}
    of_it = [line for line in lines if line["keeper"] != "store"]  # which is slow on a busy machine
    assert {line["keeper"] for line in of_it} == {"otlp_proto_http"}
    # Once when it begins, and once at the end with all that came since; a busy machine may take minutes in between.
    assert 2 <= len(of_it) <= 2 + said["took_s"] / WARN_EVERY_S
    files = files_of(Settings(data_dir=tmp_path / ".regrow/hello"))
    told = {name: count for name, count in latest(files)[1].items() if name.startswith("otlp_proto_http: ")}
    assert sum(told.values()) == sum(line["dropped"] for line in of_it) >= dropped
