"""Spans by OTLP, as they come over the wire: one trace, the right parents, content as the conventions have it.

That a consumer of others reads it so, too, is tried each night: test_otlp_phoenix.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration import chain
from tests.router.genai_messages import INPUT_MESSAGES, OUTPUT_MESSAGES, SYSTEM_INSTRUCTIONS, ToolCallResponsePart

pytestmark = [pytest.mark.slow, pytest.mark.program]

Attributes = dict[str, str]


class Receiver(ThreadingHTTPServer):
    """Takes spans as a collector does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[ExportTraceServiceRequest] = []

    def trace_of(self, root: str) -> Sequence[Any]:
        """The spans of the only trace with a root of this name that has a model in it, as they began."""
        spans = [
            span
            for asked in self.requests
            for each in asked.resource_spans
            for of in each.scope_spans
            for span in of.spans
        ]
        traces = [
            [span for span in spans if span.trace_id == begun.trace_id]
            for begun in spans
            if begun.name == root and not begun.parent_span_id
        ]
        (found,) = [trace for trace in traces if any(span.name == chain.CHAT for span in trace)]
        return sorted(found, key=lambda span: span.start_time_unix_nano)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver  # pyright: ignore[reportIncompatibleVariableOverride] # as socketserver's users do

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver on a free port of the loopback."""
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def attributes(span: Any) -> Attributes:
    """The texts among the attributes of a span."""
    return {each.key: each.value.string_value for each in span.attributes if each.value.string_value}


def test_the_chain_from_prompt_to_action_goes_out_as_one_trace_with_the_content_of_the_conventions(
    tmp_path: Path,
) -> None:
    with receiver() as server:
        chain.ask(tmp_path, f"http://127.0.0.1:{server.server_port}", content=True)
        spans = server.trace_of(chain.SEND)

    assert chain.shown({span.span_id: (span.name, span.parent_span_id) for span in spans}) == chain.CHAIN
    first, second = (attributes(span) for span in spans if span.name == chain.CHAT)
    SYSTEM_INSTRUCTIONS.validate_json(first["gen_ai.system_instructions"])
    (called,) = OUTPUT_MESSAGES.validate_json(first["gen_ai.output.messages"])
    *_, given = INPUT_MESSAGES.validate_json(second["gen_ai.input.messages"])
    assert [part.type for part in called.parts] == ["tool_call"]
    assert [part.id for part in given.parts if isinstance(part, ToolCallResponsePart)] == ["call_1"]
    sent = repr(server.requests)
    assert "[redacted]" in sent
    assert not [secret for secret in chain.SECRETS if secret in sent]
