"""An MCP server that is reached at a URL, by streamable HTTP."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from string import Template
from typing import TYPE_CHECKING, Any

from regrow.actors.mcp_errors import ServerNotStarted
from regrow.actors.mcp_wire import MESSAGE_BYTES

if TYPE_CHECKING:
    import httpx2

    from regrow.actors.mcp_options import ServerOptions

CONNECT_S = 10.0


def http_headers(name: str, options: ServerOptions) -> dict[str, str]:
    """The headers with the variables that they name. Raises ServerNotStarted for one that is not set."""
    try:
        return {header: Template(value).substitute(os.environ) for header, value in options.headers}
    except (KeyError, ValueError) as error:
        raise ServerNotStarted(
            f"the MCP server {name} at {options.place}: a header names {error}, which is no variable of the "
            "environment of its host; set it, or write $$ for a dollar sign"
        ) from error


@asynccontextmanager
async def http_streams(options: ServerOptions, headers: dict[str, str]) -> AsyncGenerator[Any]:
    """The messages of a server at a URL and where to send some, as the SDK takes them."""
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    assert options.url is not None
    timeout = httpx2.Timeout(CONNECT_S, read=options.timeout_s + CONNECT_S)
    transport = _bounded(httpx2.AsyncHTTPTransport())
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout, transport=transport) as client,
        streamable_http_client(options.url, http_client=client, max_sse_event_size=MESSAGE_BYTES) as streams,
    ):
        yield streams


def _bounded(inner: httpx2.AsyncHTTPTransport) -> httpx2.AsyncBaseTransport:
    """The same, where an answer that is no stream of events is cut off when it is longer than a message may be."""
    import httpx2

    class Body(httpx2.AsyncByteStream):
        def __init__(self, whole: httpx2.AsyncByteStream) -> None:
            self._whole = whole

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for part in self._whole:
                size += len(part)
                if size > MESSAGE_BYTES:
                    raise httpx2.StreamError(f"an answer of more than {MESSAGE_BYTES:,} bytes")
                yield part

        async def aclose(self) -> None:
            await self._whole.aclose()

    class Bounded(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.method == "GET" or request.headers.get("mcp-method") == "subscriptions/listen":
                # Of these the server answers when it has news, which may be never.
                request.extensions["timeout"] = {**request.extensions.get("timeout", {}), "read": None}
            response = await inner.handle_async_request(request)
            if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
                assert isinstance(response.stream, httpx2.AsyncByteStream)
                response.stream = Body(response.stream)
            return response

        async def aclose(self) -> None:
            await inner.aclose()

    return Bounded()
