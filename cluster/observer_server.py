"""The server of an observer: where it listens, the token that it makes, and how long it bears with whoever asks."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import socket
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from regrow.cluster.config import Settings
from regrow.cluster.errors import PortInUse
from regrow.cluster.observer_access import TOKEN_CHARS_MIN, Access, is_token
from regrow.cluster.observer_app import ObserverApp
from regrow.cluster.observer_traces import PastTraces
from regrow.cluster.observer_watch import Watch
from regrow.runtime.errors import Misuse, WorldBroke

CONNECTIONS_LIMIT = 128
"""How many may be open at once, those of pages included; the next is told so."""
REQUEST_WITHIN_S = 10.0
"""How long a client may take to send its request."""
READ_WITHIN_MS = 20_000
"""How long a client may take nothing of what it is sent."""
HEAD_LIMIT_BYTES = 65_536
"""Of the lines before the body of a request, the address with all that a page has opened included."""
STOP_WITHIN_S = 2
ELSEWHERE = {
    "0.0.0.0": (socket.AF_INET, "192.0.2.1", "127.0.0.1"),
    "::": (socket.AF_INET6, "2001:db8::1", "::1"),
}
"""For all addresses of a family: one of others, which is kept free for documents (RFC 5737, RFC 3849), and loopback."""
PORT_OF_NOBODY = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an observer listens. `link` is the address of its page with the token, for whoever started it."""

    url: str
    link: str = field(repr=False)


def token_from(file: Path) -> str:
    """The token in a file of the user's own. Raises Misuse where it can not be one, or others may read it."""
    try:
        mode, text = file.stat().st_mode, file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no ASCII text"
        raise Misuse(f"the token can not be read from {file} ({why}); name a file that holds it") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Misuse(f"others may read {file}, and with it the token: chmod 600 {file}")
    if not is_token(text):
        raise Misuse(
            f"what stands in {file} is no token: it has at least {TOKEN_CHARS_MIN} letters, digits and signs of "
            "- . _ ~ + / =, such as `openssl rand -hex 32` makes"
        )
    return text


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; with port 0 at any that is free. Raises PortInUse, Misuse, WorldBroke."""
    if not host:
        raise Misuse("--host is empty; give an address or name of this machine, such as 127.0.0.1")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise Misuse(f"--host {host} is no address or name of this machine ({error}); give one of these") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(CONNECTIONS_LIMIT)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(port, "regrow observe") from error
        raise WorldBroke(
            f"regrow observe can not listen at {host}, port {port} ({error.strerror}); give another --host or --port"
        ) from error
    return listener


def address_to_open(host: str) -> str:
    """Where a browser finds what listens at `host`, which may stand for every address of this machine.

    Then it is the address by which this machine goes to others, or loopback where it goes nowhere.
    """
    elsewhere = ELSEWHERE.get(host)
    if elsewhere is None:
        return host
    family, there, here = elsewhere
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect((there, PORT_OF_NOBODY))  # nothing is sent: the system says which way it would go
        except OSError:
            return here
        return str(asked.getsockname()[0])


class Observer:
    """Shows one app at a socket that listens at `host`. Without a token one is made, and is part of the link."""

    def __init__(
        self, app: str, *, host: str, listener: socket.socket, token: str | None = None, settings: Settings
    ) -> None:
        self._listener = listener
        made = token or secrets.token_urlsafe(32)
        address, port = address_to_open(host), listener.getsockname()[1]
        shown = f"[{address}]" if ":" in address else address
        url = f"http://{shown}:{port}/"
        self.place = Place(url=url, link=url if token else f"{url}#token={made}")
        watch = Watch(app)
        page = ObserverApp(watch, Access(token=made, host=host), PastTraces(app, settings))
        self._server = _Server(_config(page), watch)

    async def run(self) -> None:
        """Until `stop`, or until this process is told to end."""
        await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Lets all pages go, soon."""
        self._server.should_exit = True


def _config(page: ObserverApp) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it tells of each start and stop
    return uvicorn.Config(
        page.asgi(),
        http=_Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # addresses say which agents somebody looks for
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_LIMIT,
        h11_max_incomplete_event_size=HEAD_LIMIT_BYTES,
        timeout_graceful_shutdown=STOP_WITHIN_S,
        headers=[("Connection", "close")],  # one request for each, so that who is slow with one can be told
    )


class _Server(uvicorn.Server):
    """Ends the streams of pages before it waits for its connections."""

    def __init__(self, config: uvicorn.Config, watch: Watch) -> None:
        super().__init__(config)
        self._watch = watch

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._watch.end()
        await super().shutdown(sockets)


class _Connection(H11Protocol):
    """A connection whose client has to ask in time, and to read what it is sent."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        opened: Any = transport.get_extra_info("socket")
        if opened is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, READ_WITHIN_MS)
        self._late = self.loop.call_later(REQUEST_WITHIN_S, self._is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def _is_late(self) -> None:
        if self.cycle is None:  # no request has come yet
            self.transport.abort()
