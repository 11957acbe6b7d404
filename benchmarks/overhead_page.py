"""What the page of `regrow observe` costs: the first view of ten thousand agents, and what is sent while they work.

The observer is a process of its own, as it is for people; the app runs in this one. The first view is the page with all
that it loads, and the first that it is told, each time with nobody having looked before. Then everything is opened, as
much is shown as can be, and agents are asked, and some killed, while bytes are counted.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

from measure import Options, Result, Screen, median, rounded
from workload import Desk, question

from regrow import App, Running, Supervisor, child
from regrow.cluster.config import Settings
from regrow.cluster.control import ControlSocket
from regrow.cluster.observer_app import ASSETS

AGENTS = 10_000
ASKED = 1_000
"""Those that are shown, and so those that are asked."""
VIEWS = 3
APP = "crowd"
OPENED = f"opened={APP}&opened={APP}/desks&shown={ASKED}"
KILL_EVERY_S = 0.5
REGROW = "from regrow.cluster.entry import main; main()"


async def page(folder: Path, options: Options, screen: Screen) -> Result:
    """The time to the first view, and the bytes in a second."""
    desks = Supervisor(max_restarts=10_000, children=[child(Desk, id=f"desk-{number}") for number in range(AGENTS)])
    app = App(APP, Supervisor(children=[child(desks, id="desks")]))
    control = ControlSocket(APP, engine="inline", request_stop=lambda: None)
    async with control, app.start(engine="inline", settings=Settings(data_dir=folder / APP)) as running:
        control.attach(running)
        views = []
        for _ in range(VIEWS):
            async with observer() as port:  # of its own, since one that has just been watched knows the app already
                views.append(await asyncio.to_thread(_first_view, port))
        async with observer() as port:
            rate = await _rate(port, running, 4 * options.side_s)
    screen.rates(f"A page with {AGENTS:,} agents", {"first view": views}, "s")
    return {"observe_first_view_s": rounded(median(views)), "observe_kb_s": rounded(rate / 1_000)}


@asynccontextmanager
async def observer() -> AsyncIterator[int]:
    """The port of an observer of the app, which runs meanwhile."""
    command = (sys.executable, "-c", REGROW, "observe", APP, "--port", "0", "--json")
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        place = json.loads(await process.stdout.readline())
        yield int(place["url"].rpartition(":")[2].strip("/"))
    finally:
        process.terminate()
        await process.wait()


def _first_view(port: int) -> float:
    begun = perf_counter()
    for path in ASSETS:
        with _asked(port, path) as answer:
            answer.read()
    with _asked(port, "/events") as answer:
        told = next(json.loads(line[6:]) for line in answer if line.startswith(b"data: "))
    taken_s = perf_counter() - begun
    assert told["tree"]["rows"][APP]["below"]["agents"] == AGENTS
    return taken_s


async def _rate(port: int, running: Running, for_s: float) -> float:
    """Bytes in a second that a page gets which shows as much as it can, while agents work and die."""
    over = threading.Event()
    counting = asyncio.create_task(asyncio.to_thread(_counted, port, for_s))
    counting.add_done_callback(lambda _: over.set())
    loop = asyncio.get_running_loop()
    seq, killed_s = 0, loop.time()
    while not over.is_set():
        seq += 1
        await running.ref(f"{APP}/desks/desk-{seq % ASKED}").ask(question(seq))
        if loop.time() - killed_s > KILL_EVERY_S:
            killed_s = loop.time()
            await running.kill(f"{APP}/desks/desk-{seq % ASKED}")
    return await counting


def _counted(port: int, for_s: float) -> float:
    size_bytes, begun = 0, perf_counter()
    with _asked(port, f"/events?{OPENED}") as answer:
        for line in answer:
            size_bytes += len(line)
            if perf_counter() - begun >= for_s:
                break
    return size_bytes / (perf_counter() - begun)


def _asked(port: int, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    return connection.getresponse()
