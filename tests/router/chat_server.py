"""A loopback server that speaks chat completions, and says what it was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One request as it came over the wire."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass
class ChatServer:
    """Answers each request with `status`, `headers` and `body`: never while `silent`, with a cut line if `hangs_up`.

    `arrived` is set by the first request, `ended` by the end of a connection.
    """

    port: int = 0
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] | None = None
    """Sent one by one in place of `body`, as a stream; then the line is cut if it `breaks_off`, or `hangs` open."""
    breaks_off: bool = False
    hangs: bool = False
    silent: bool = False
    hangs_up: bool = False
    sent: list[Sent] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    def says(self, text: str | None, *, finish: str = "stop", usage: object = None, **message: object) -> None:
        """Answers with a completion from now on."""
        said = {"role": "assistant", "content": text, **message}
        answer: dict[str, object] = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
        answer["choices"] = [{"index": 0, "message": said, "finish_reason": finish}]
        if usage is not None:
            answer["usage"] = usage
        self.body = json.dumps(answer).encode()

    def writes(self, *pieces: str, finish: str | None = "stop", usage: object = None, **delta: object) -> None:
        """Answers with a completion in chunks from now on; without a `finish` it is not whole."""
        made: list[dict[str, object]] = [{"choices": [{"index": 0, "delta": {"content": each}}]} for each in pieces]
        if delta:
            made.append({"choices": [{"index": 0, "delta": delta}]})
        if finish is not None:
            made.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if usage is not None:
            made.append({"choices": [], "usage": usage})
        self.chunks = [_event(each) for each in made]
        self.chunks += [b"data: [DONE]\n\n"] if finish is not None else []

    def breaks(self, message: str) -> None:
        """Tells an error in the midst of the stream, in place of its end."""
        assert self.chunks is not None
        self.chunks.append(_event({"error": {"message": message, "type": "server_error"}}))

    async def hung_up(self) -> None:
        """Waits until a connection has ended."""
        await self.ended.wait()

    def refuses(self, status: int, message: str = "no", code: str | None = None, **headers: str) -> None:
        """Answers with an error from now on; `retry_after="2"` is sent as a header."""
        self.status = status
        self.body = json.dumps({"error": {"message": message, "code": code, "type": None, "param": None}}).encode()
        self.headers = headers

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection until the client ends it."""
        try:
            while True:
                self.sent.append(await _request(reader))
                self.arrived.set()
                if self.hangs_up:
                    return
                if self.silent:
                    await asyncio.Event().wait()
                extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in self.headers.items())
                if self.chunks is not None and self.status == 200:
                    await self._write_chunks(reader, writer, self.chunks)
                    return
                start = f"HTTP/1.1 {self.status} X\r\ncontent-type: application/json\r\n{extra}"
                writer.write(f"{start}content-length: {len(self.body)}\r\n\r\n".encode() + self.body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.ended.set()
            writer.close()

    async def _write_chunks(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chunks: list[bytes]
    ) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for chunk in chunks:
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
        if self.hangs:
            await reader.read()  # until the client hangs up
            return
        if not self.breaks_off:
            writer.write(b"0\r\n\r\n")
            await writer.drain()


def _event(content: object) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


@asynccontextmanager
async def chat_server() -> AsyncIterator[ChatServer]:
    """A server on a free port of the loopback."""
    chat = ChatServer()
    tasks: set[asyncio.Task[None]] = set()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(chat.serve(reader, writer)))

    listener = await asyncio.start_server(accepted, "127.0.0.1", 0)
    chat.port = listener.sockets[0].getsockname()[1]
    try:
        yield chat
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()


async def _request(reader: asyncio.StreamReader) -> Sent:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    raw = await reader.readexactly(int(headers["content-length"]))
    return Sent(path=first.split()[1], headers=headers, body=json.loads(raw))
