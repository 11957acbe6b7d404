"""An app with something of everything that its page shows, and the observer that shows it, in a thread of the test's.

The observer is a client of the app's control socket, as it is in a process of its own. Requests are made by hand, since
what a browser would not send is tried as well.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from regrow import App, Running
from regrow.cluster.config import MemorySettings, Settings, TracingSettings
from regrow.cluster.control import ControlSocket
from regrow.cluster.observer_server import Observer, listening
from regrow.runtime import Message
from tests.integration.apps.shop import Note, Pay, Say, app

T = TypeVar("T")

PATIENCE_S = 30.0
SCRIPT = "<img src=x onerror=\"window.owned=1;document.title='owned'\"><script>window.owned=1</script>"
"""What somebody may write who hopes that a page takes it for markup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The one value in it."""
        return json.loads(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The app, where its page is, and what a test does to both."""

    running: Running
    url: str
    link: str
    loop: asyncio.AbstractEventLoop
    close_control: Callable[[], Coroutine[Any, Any, None]]
    """Closes the app's control socket, as the end of its process does."""

    @property
    def port(self) -> int:
        """Where the server listens, on loopback."""
        return int(self.url.rpartition(":")[2].strip("/"))

    @property
    def authorized(self) -> dict[str, str]:
        """The header of those who may act."""
        return {"Authorization": f"Bearer {self.link.partition('#token=')[2]}"}

    def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Does something in the app's own loop, and gives what it gives."""
        return asyncio.run_coroutine_threadsafe(work(), self.loop).result(PATIENCE_S)

    def tell(self, agent: str, message: Message) -> None:
        """Sends an agent a message."""
        self.do(lambda: self.running.ref(agent).tell(message))

    def request(
        self, path: str, *, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """What the server answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return Answer(status=answer.status, headers=dict(answer.getheaders()), text=answer.read().decode())
        finally:
            connection.close()

    def order(self, **order: Any) -> Answer:
        """What comes of an order of somebody who may give one."""
        return self.request("/orders", method="POST", body=json.dumps(order).encode(), headers=self.authorized)

    @contextmanager
    def frames(
        self,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        size: Callable[[int], None] = lambda size_bytes: None,
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """What a page with that address is told, one after the other; `size` is given the bytes of each."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", f"/events?{query}", headers=dict(headers or {}))
            with connection.getresponse() as answer:
                assert answer.status == 200, answer.read()
                yield _told(_in_time(answer), size)
        finally:
            connection.close()


def _told(lines: Iterable[bytes], size: Callable[[int], None]) -> Iterator[dict[str, Any]]:
    for line in lines:
        size(len(line))
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


def _in_time(lines: Iterable[bytes]) -> Iterator[bytes]:
    """These lines for a while: a stream in which nothing comes of what is waited for goes on for ever."""
    until_s = time.monotonic() + PATIENCE_S
    for line in lines:
        assert time.monotonic() < until_s, "what is waited for does not come"
        yield line


@contextmanager
def lived_in(folder: Path) -> Iterator[Observed]:
    """The shop, in which something of everything has happened, and nothing else."""
    with observed(folder=folder) as made:
        made.do(lambda: made.running.ref("shop/desk/analyst").ask(Say(text="When does the shop open?")))
        made.tell("shop/nobody", Note(text="x"))
        made.tell("shop/cashier", Pay(to="", cents=1))
        made.tell("shop/cashier", Pay(to="Ann Example", cents=5_000))
        yield made


@contextmanager
def observed(shown: App = app, *, folder: Path, tracing: bool = True) -> Iterator[Observed]:
    """The app and its observer, both running; a runtime folder of their own, and a data folder in `folder`."""
    settings = Settings(
        data_dir=folder, memory=MemorySettings(store="memory"), tracing=TracingSettings(enabled=tracing)
    )
    ready: threading.Event = threading.Event()
    told: list[Observed | BaseException] = []

    async def run(over: asyncio.Event) -> None:
        control = ControlSocket(shown.name, engine="inline", request_stop=lambda: None)
        async with control, shown.start(engine="inline", settings=settings) as running:
            control.attach(running)
            with listening("127.0.0.1", 0) as listener:
                observer = Observer(shown.name, host="127.0.0.1", listener=listener, settings=settings)
                serving = asyncio.create_task(observer.run())
                place = observer.place
                loop = asyncio.get_running_loop()
                told.append(
                    Observed(running=running, url=place.url, link=place.link, loop=loop, close_control=control.aclose)
                )
                ready.set()
                await over.wait()
                observer.stop()
                await serving

    async def main() -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        stops.append(lambda: loop.call_soon_threadsafe(over.set))
        await run(over)

    def thread() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            told.append(error)
            ready.set()
            raise

    stops: list[Callable[[], object]] = []
    with tempfile.TemporaryDirectory(prefix="rg") as short:
        before = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = short
        server = threading.Thread(target=thread, name="observed")
        server.start()
        try:
            assert ready.wait(PATIENCE_S), "the app has not started"
            (first,) = told
            assert isinstance(first, Observed), first
            yield first
        finally:
            for stop in stops:
                stop()
            server.join(PATIENCE_S)
            os.environ.pop("XDG_RUNTIME_DIR")
            if before is not None:
                os.environ["XDG_RUNTIME_DIR"] = before
        assert not server.is_alive(), "the observer has not ended"
