"""A model on the loopback that follows a script: it calls a tool once where it has one, and then says what that gave.

It speaks chat completions, responses and Anthropic's messages, as a whole and as a stream, since each framework uses
another of them. A question with `hang` in it is never answered; `/hanging` answers when one has come.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CITY = "Bern"
PATIENCE_S = 120.0
"""How long a hanging request is held when nobody hangs up."""


class ModelServer(ThreadingHTTPServer):
    """What was asked, and whether a question hangs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hanging = threading.Event()
        self.over = threading.Event()
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed while it was answered is what these tests are about."""


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """A server on a free port of the loopback."""
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer  # pyright: ignore[reportIncompatibleVariableOverride] # as socketserver's users do

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self.server.hanging.wait(PATIENCE_S)
        self._send("application/json", b"{}")

    def do_HEAD(self) -> None:
        self._send("application/json", b"")

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
        self.server.paths.append(path)
        if path.endswith("/count_tokens"):
            self._send("application/json", b'{"input_tokens": 1}')
            return
        if "hang" in _asked(body):
            self.server.hanging.set()
            self.server.over.wait(PATIENCE_S)
            return
        answer = _ANSWERS[path.rpartition("/")[2]](body)
        if body.get("stream"):
            events = "".join(
                f"{f'event: {name}' + chr(10) if name else ''}data: {data}\n\n" for name, data in answer.events
            )
            self._send("text/event-stream", events.encode())
        else:
            self._send("application/json", json.dumps(answer.whole).encode())

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Answer:
    def __init__(self, whole: dict[str, Any], events: list[tuple[str, dict[str, Any]]]) -> None:
        self.whole = whole
        self.events = [(name, json.dumps(data)) for name, data in events]


def _asked(body: dict[str, Any]) -> str:
    """All that stands in the conversation, as text."""
    return json.dumps(body.get("messages") or body.get("input") or "", ensure_ascii=False)


def _script(body: dict[str, Any]) -> tuple[str, str]:
    """The tool to call, or what to say: what the tool gave, or that there was none."""
    tools = [tool.get("function", tool) for tool in body.get("tools") or ()]
    named = [tool["name"] for tool in tools if tool.get("name") == "temperature"]
    said = _asked(body)
    if named and "21 degrees" not in said:
        return named[0], ""
    return "", f"It is {'21 degrees' if '21 degrees' in said else 'fine'} in {CITY}."


def _chat(body: dict[str, Any]) -> _Answer:
    tool, text = _script(body)
    call = {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": json.dumps({"city": CITY})}}
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if tool:
        message["tool_calls"] = [call]
    end = "tool_calls" if tool else "stop"
    about = {"id": "1", "created": 0, "model": body["model"]}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choice = {"index": 0, "message": message, "finish_reason": end, "logprobs": None}
    part = {"index": 0, "delta": {**message, **({"tool_calls": [{"index": 0, **call}]} if tool else {})}}
    return _Answer(
        {**about, "object": "chat.completion", "choices": [choice], "usage": usage},
        [
            ("", {**about, "object": "chat.completion.chunk", "choices": [{**part, "finish_reason": None}]}),
            (
                "",
                {**about, "object": "chat.completion.chunk", "choices": [{**part, "delta": {}, "finish_reason": end}]},
            ),
            ("", {**about, "object": "chat.completion.chunk", "choices": [], "usage": usage}),
        ],
    )


def _responses(body: dict[str, Any]) -> _Answer:
    tool, text = _script(body)
    if tool:
        item: dict[str, Any] = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": tool}
        item |= {"arguments": json.dumps({"city": CITY}), "status": "completed"}
    else:
        said = {"type": "output_text", "text": text, "annotations": []}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [said]}
    usage: dict[str, Any] = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    whole = {"id": "resp_1", "object": "response", "created_at": 0, "model": body["model"], "status": "completed"}
    whole |= {"output": [item], "usage": usage, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return _Answer(
        whole, [("response.completed", {"type": "response.completed", "sequence_number": 0, "response": whole})]
    )


def _messages(body: dict[str, Any]) -> _Answer:
    _, text = _script({"messages": body.get("messages")})
    usage = {"input_tokens": 1, "output_tokens": 1}
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "usage": usage}
    said = {**whole, "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None}
    start = {**whole, "content": [], "stop_reason": None, "stop_sequence": None}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    return _Answer(said, [(event["type"], event) for event in events])


_ANSWERS = {"completions": _chat, "responses": _responses, "messages": _messages}
