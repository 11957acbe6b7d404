"""What an observer answers to browsers: the page, what happens as server-sent events, traces, and orders.

Nothing that it shows comes out of markup: the page is a file, and all that is told of an app is JSON, which the page
puts in as text. Who may have what is decided in `observer_access`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regrow.cluster.control_client import EXIT_REFUSED
from regrow.cluster.errors import AppNotRunning, ControlError, NoSuchTrace
from regrow.cluster.observer_access import Access, Refusal
from regrow.cluster.observer_calls import Calls
from regrow.cluster.observer_frames import Frame, changes, frame_of
from regrow.cluster.observer_orders import ORDER_LIMIT_BYTES, carry_out, order_of
from regrow.cluster.observer_traces import PastTraces
from regrow.cluster.observer_tree import OPENED_LIMIT, SHOWN, SHOWN_LIMIT, View
from regrow.cluster.observer_watch import Watch
from regrow.runtime.errors import Misuse, Refused, RegrowError, TooLate

PAGES_LIMIT = 32
"""How many pages may look at once."""
RATE_BYTES_S = 150_000
"""What one page is told in a second at most; where more changes, it hears of it less often."""
HEARTBEAT_S = 15.0
"""After so long without a word something is sent all the same: a page that hears nothing takes its stream for lost."""
HEARTBEAT = b": nothing has changed\n\n"
BODY_WITHIN_S = 10.0
ORDERS_AT_ONCE = 8
READS_AT_ONCE = 4
FIND_CHARS = 200

SCRIPTS = ("elements", "frame", "page", "panels", "stream", "traces", "tree", "words")
ASSETS = {
    "/": ("observer.html", "text/html; charset=utf-8"),
    "/observer.css": ("observer.css", "text/css; charset=utf-8"),
    "/observer.svg": ("observer.svg", "image/svg+xml"),
    **{f"/observer_{name}.js": (f"observer_{name}.js", "text/javascript; charset=utf-8") for name in SCRIPTS},
}
"""What the page is made of, by path: files of this package, and nothing from elsewhere."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class ObserverApp:
    """Answers the requests of all pages of one app."""

    def __init__(self, watch: Watch, access: Access, traces: PastTraces) -> None:
        self._watch = watch
        self._access = access
        self._traces = traces
        self._orders = Calls(ORDERS_AT_ONCE, of="orders of this page")
        self._reads = Calls(READS_AT_ONCE, of="looks at traces")
        self._pages = 0

    def asgi(self) -> ASGIApp:
        """The application for a server."""
        assets = [Route(path, _asset(*made_of), methods=["GET"]) for path, made_of in ASSETS.items()]
        routes = [
            *assets,
            Route("/events", self._events, methods=["GET"]),
            Route("/traces", self._latest, methods=["GET"]),
            Route("/traces/{id}", self._trace, methods=["GET"]),
            Route("/orders", self._order, methods=["POST"]),
        ]
        return _Guarded(Starlette(routes=routes), self._access)

    # ---- what a page is told -------------------------------------------------------------------

    async def _events(self, request: Request) -> Response:
        if refusal := self._access.refusal_of_look(request.headers):
            return refused(refusal)
        try:
            view = view_of(request)
        except Misuse as error:
            return refused(Refusal(status=400, text=str(error)))
        if self._pages >= PAGES_LIMIT:
            return refused(
                Refusal(status=503, text=f"{self._pages} pages look at this app, and no more may; close one")
            )
        self._pages += 1
        return _Stream(self._told(view, may_act=self._may_act(request)), self._page_gone)

    def _page_gone(self) -> None:
        self._pages -= 1

    async def _told(self, view: View, *, may_act: bool) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        told: Frame | None = None
        number, sent_s = 0, loop.time()
        async with self._watch.watched():
            while True:
                try:
                    async with asyncio.timeout_at(sent_s + HEARTBEAT_S):
                        seen = await self._watch.next(number)
                except TimeoutError:
                    sent_s = loop.time()
                    yield HEARTBEAT
                    continue
                if seen is None:
                    return
                frame = frame_of(seen, view, may_act=may_act)
                news, told, number = changes(told, frame), frame, seen.number
                if news:
                    # ASCII, since what others have written may have halves of letters in it.
                    event = f"data: {json.dumps(news, separators=(',', ':'))}\n\n".encode()
                    sent_s = loop.time()
                    yield event
                    await asyncio.sleep(sent_s + len(event) / RATE_BYTES_S - loop.time())

    async def _latest(self, request: Request) -> Response:
        if refusal := self._access.refusal_of_look(request.headers):
            return refused(refusal)
        return await self._answered(self._reads, self._traces.latest)

    async def _trace(self, request: Request) -> Response:
        if refusal := self._access.refusal_of_look(request.headers):
            return refused(refusal)
        id, may_act = str(request.path_params["id"]), self._may_act(request)
        return await self._answered(self._reads, lambda: self._traces.one(id, whole=may_act))

    # ---- what a page orders --------------------------------------------------------------------

    async def _order(self, request: Request) -> Response:
        if refusal := self._access.refusal_of_deed(request.headers):
            return refused(refusal)
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                order = order_of(await _body(request))
        except Misuse as error:
            return refused(Refusal(status=400, text=str(error)))
        except TimeoutError:
            return refused(Refusal(status=408, text=f"an order is sent within {BODY_WITHIN_S:g} s; send it again"))
        answer = await self._answered(self._orders, lambda: carry_out(self._watch.app, order))
        self._watch.hurry()
        return answer

    async def _answered(self, calls: Calls, call: Callable[[], Mapping[str, Any]]) -> Response:
        try:
            return JSONResponse(await calls.do(call))
        except RegrowError as error:
            return refused(Refusal(status=status_of(error), text=str(error)))

    def _may_act(self, request: Request) -> bool:
        return self._access.refusal_of_deed(request.headers) is None


class _Stream(StreamingResponse):
    """The events of one page; `over` is called when they have ended, also where nobody has read any."""

    def __init__(self, events: AsyncIterator[bytes], over: Callable[[], None]) -> None:
        # Some proxies gather what they pass on, and would tell of a death when there is enough to tell.
        super().__init__(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()


class _Guarded:
    """Lets nobody in who was sent here by others, and adds to each answer what keeps a browser from trusting others."""

    def __init__(self, inner: ASGIApp, access: Access) -> None:
        self._inner = inner
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._access.refusal_of_any(Headers(scope=scope))
        answer: ASGIApp = self._inner if refusal is None else refused(refusal)
        try:
            await answer(scope, receive, send_on)
        except ClientDisconnect:
            return  # there is nobody to tell


def view_of(request: Request) -> View:
    """What the page shows, as its address says: `opened` for each supervisor, `shown`, `find`. Raises Misuse."""
    asked = request.query_params
    opened = asked.getlist("opened")
    if len(opened) > OPENED_LIMIT:
        raise Misuse(f"{len(opened)} supervisors are to be open and at most {OPENED_LIMIT} may; close some")
    shown = asked.get("shown", str(SHOWN))
    if not (shown.isascii() and shown.isdigit() and 0 < int(shown[:9]) <= SHOWN_LIMIT):
        raise Misuse(f"shown is {shown[:20]!r}; give how many children are shown, 1 to {SHOWN_LIMIT}")
    return View(
        opened=frozenset(opened) if "opened" in asked else None,
        shown=int(shown),
        find=asked.get("find", "").strip()[:FIND_CHARS],
    )


def status_of(error: RegrowError) -> int:
    """The HTTP status that tells whose fault it is."""
    match error:
        case NoSuchTrace():
            return 404
        case Misuse():
            return 400
        case ControlError(exit_code=code) if code == EXIT_REFUSED:
            return 400
        case AppNotRunning() | Refused():
            return 503
        case TooLate():
            return 504
        case _:
            return 502  # what the app answered, or the world


def refused(refusal: Refusal) -> Response:
    """The answer that says why there is no other."""
    headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
    return JSONResponse({"error": refusal.text}, status_code=refusal.status, headers=headers)


async def _body(request: Request) -> bytes:
    """Raises Misuse for one that is too long."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > ORDER_LIMIT_BYTES:
            raise Misuse(f"an order has at most {ORDER_LIMIT_BYTES:,} bytes; send less")
    return bytes(body)


def _asset(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = files("regrow.cluster").joinpath(name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return answer
