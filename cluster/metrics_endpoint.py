"""Serves an app's metrics to Prometheus over HTTP, from the process that has started the app, for all of its hosts.

It knows one page, /metrics, and reads nothing but the first lines of a request. What a stranger may cost is bounded: so
many connections, each for so long, and one look at the hosts for all who ask at about the same time.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from ipaddress import ip_address

import structlog

from regrow.cluster.errors import PortInUse
from regrow.cluster.metrics import AppMetrics
from regrow.cluster.prometheus_text import CONTENT_TYPE, text_of
from regrow.runtime.errors import RegrowError, WorldBroke

log = structlog.get_logger("regrow.metrics")

CONNECTIONS_LIMIT = 16
"""How many may be served at once; the next is told so."""
REQUEST_LIMIT_BYTES = 8_192
"""The first lines of a request; no scraper sends more."""
CONNECTION_LIMIT_S = 10.0
"""How long a client may take to ask and to read; a scraper gives up after as long, unless it is told otherwise."""
LINGER_S = 0.5
"""How long it may take to close the connection once it is answered."""
LOOK_LIMIT_S = 8.0
"""How long a look at the hosts may take."""
FRESH_S = 1.0
"""What was seen so long ago is told again, so that asking more often costs hosts nothing."""

PLAIN = "text/plain; charset=utf-8"


class _Refused(Exception):
    """What is asked is not given."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class MetricsEndpoint:
    """The endpoint of one app, from before its start until its stop."""

    def __init__(self, app: str, look: Callable[[], Awaitable[AppMetrics]]) -> None:
        """`look` gives the metrics of all hosts. Nothing is asked of it before `attach`."""
        self.address: tuple[str, int] = ("", 0)
        self._app = app
        self._look = look
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[str] | None = None
        self._is_attached = False
        self._looked_at_s = float("-inf")

    async def open(self, host: str, port: int) -> None:
        """Listens; 0 is any free port, told by `address`. Raises PortInUse, and WorldBroke for another address."""
        try:
            self._server = await asyncio.start_server(self._connected, host, port, limit=REQUEST_LIMIT_BYTES)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(port, "the endpoint of metrics") from error
            raise WorldBroke(
                f"metrics can not be served at {host}:{port} ({error.strerror or error}); give an address of this "
                "machine as metrics.address, or leave it out"
            ) from error
        host, port, *_ = self._server.sockets[0].getsockname()
        self.address = host, port
        log.info("metrics are served", url=f"http://{_in_url(self.address[0])}:{self.address[1]}/metrics")
        if not ip_address(self.address[0]).is_loopback:
            log.warning("metrics are served to whoever reaches this machine", address=self.address[0])

    def attach(self) -> None:
        """The app has started: from now on its metrics are told."""
        self._is_attached = True

    async def aclose(self) -> None:
        """Ends all connections, and listens no more. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        tasks = [*self._serving, *([self._looking] if self._looking is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        crowded = len(self._serving) >= CONNECTIONS_LIMIT
        self._serving.add(task)
        try:
            async with asyncio.timeout(CONNECTION_LIMIT_S):
                writer.write(await self._answer(reader, crowded=crowded))
                await writer.drain()
                writer.write_eof()
                await _read_to_its_end(reader)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            pass  # it has gone, is too slow, or the app stops; there is nobody to tell
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, *, crowded: bool) -> bytes:
        is_head = False
        try:
            if crowded:
                raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"{CONNECTIONS_LIMIT} are served at once; try again")
            is_head = await _asked(reader)
            return _response(HTTPStatus.OK, await self._text(), CONTENT_TYPE, is_head=is_head)
        except _Refused as refusal:
            return _response(refusal.status, f"{refusal}\n", PLAIN, is_head=is_head)

    async def _text(self) -> str:
        """What the hosts tell; one look serves all who ask while it lasts, and for a moment longer."""
        if not self._is_attached:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"{self._app} is still starting; try again in a moment")
        loop = asyncio.get_running_loop()
        if self._looking is None or (self._looking.done() and loop.time() - self._looked_at_s > FRESH_S):
            self._looking = loop.create_task(self._looked())
            self._looking.add_done_callback(_told)
        return await asyncio.shield(self._looking)

    async def _looked(self) -> str:
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                metrics = await self._look()
        except TimeoutError:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"{self._app} does not answer; try again") from None
        except RegrowError as error:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        finally:
            self._looked_at_s = asyncio.get_running_loop().time()
        return text_of(metrics, self._app)


async def _asked(reader: asyncio.StreamReader) -> bool:
    """Whether the head of the page alone is asked for. Raises _Refused for what is none of this, or another page."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long") from None
    except asyncio.IncompleteReadError as error:
        raise _Refused(HTTPStatus.BAD_REQUEST, "the request ends before it has said anything") from error
    words = head.partition(b"\r\n")[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        raise _Refused(HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1.1")
    if words[0] not in (b"GET", b"HEAD"):
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "metrics can only be read: GET /metrics")
    if words[1].partition(b"?")[0] != b"/metrics":
        raise _Refused(HTTPStatus.NOT_FOUND, "there is only /metrics here")
    return words[0] == b"HEAD"


async def _read_to_its_end(reader: asyncio.StreamReader) -> None:
    """Reads what the client still says: closed before that, a connection would take the answer with it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while await reader.read(REQUEST_LIMIT_BYTES):
                pass


def _response(status: HTTPStatus, text: str, kind: str, *, is_head: bool) -> bytes:
    body = text.encode()
    allow = "Allow: GET, HEAD\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"X-Content-Type-Options: nosniff\r\n{allow}Connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if is_head else body)


def _told(looking: asyncio.Task[str]) -> None:
    if not looking.cancelled():
        with suppress(_Refused):  # whoever asked is told; if they have all gone, nobody need be
            looking.result()


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
