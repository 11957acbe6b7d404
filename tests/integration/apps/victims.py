"""An app whose processes are killed: what is lost, what is not, and who learns of it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

from regrow import ActorRef, Agent, App, Context, Message, Packed, Request, Supervisor, child, on
from regrow.runtime import Down

BOUND = 5
"""The mailbox of the clerk, in messages."""


class Pid(Request[int]):
    pass


class Hold(Request[int]):
    """Touches the file and then never replies."""

    begun: str


class Block(Request[int]):
    """The same in code that gives nobody else a turn."""

    begun: str


class Note(Message):
    number: int


class Notes(Request[tuple[int, ...]]):
    pass


class Crash(Message):
    pass


class Watch(Request[int]):
    of: str


class Downs(Request[tuple[Down, ...]]):
    pass


class Spawn(Request[ActorRef]):
    name: str


class Victim(Agent):
    """Notes, waits and dies."""

    def __init__(self) -> None:
        self.notes: list[int] = []
        self.downs: list[Down] = []

    @on
    async def pid(self, request: Pid) -> int:
        return os.getpid()

    @on
    async def hold(self, request: Hold) -> int:
        Path(request.begun).touch()
        await asyncio.Event().wait()
        return 0

    @on
    async def block(self, request: Block) -> int:
        Path(request.begun).touch()
        while True:
            threading.Event().wait(0.01)

    @on
    async def note(self, message: Note) -> None:
        self.notes.append(message.number)

    @on
    async def noted(self, request: Notes) -> tuple[int, ...]:
        return tuple(self.notes)

    @on
    async def crash(self, message: Crash) -> None:
        raise RuntimeError("crashed on demand")

    @on
    async def watch(self, request: Watch, ctx: Context) -> int:
        number = ctx.monitor(request.of)
        await ctx.ask(request.of, Pid())  # behind the monitor, so that it stands when this returns
        return number

    @on
    async def down(self, message: Down) -> None:
        self.downs.append(message)

    @on
    async def downs_so_far(self, request: Downs) -> tuple[Down, ...]:
        return tuple(self.downs)

    @on
    async def spawn(self, request: Spawn, ctx: Context) -> ActorRef:
        return await ctx.spawn(Victim, request.name)


class Deadly(Message):
    """A folder: each file in it kills one who starts, and is gone then."""

    folder: str


class Unlucky(Victim):
    """Is killed in its start as often as there are files for it."""

    config: Deadly

    async def started(self, ctx: Context) -> None:
        if files := sorted(Path(self.config.folder).glob("*")):
            files[0].unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def unlucky_in(folder: Path) -> App:
    """An app whose second child is killed in its start as often as there are files in the folder."""
    children = [child(Victim, id="first"), child(Unlucky, id="second", config=Deadly(folder=str(folder)))]
    return App("unlucky", Supervisor(children=children))


unlucky = unlucky_in(Path("nowhere"))
"""Has to be a name of this module; a test puts the one of its folder in its place."""


POOL = Packed("pool")

app = App(
    "victims",
    Supervisor(
        max_restarts=1_000,
        within_s=1.0,
        children=[
            child(Victim, id="clerk", mailbox=BOUND),
            child(Victim, id="watcher"),
        ],
    ),
)

pool = App(
    "pool",
    Supervisor(
        max_restarts=1,
        within_s=60.0,
        children=[child(Victim, id=f"p{n}", placement=POOL) for n in range(5)],
    ),
)

stubborn = App("stubborn", Supervisor(children=[child(Victim, id="blocked", shutdown_s=1.0)]))

crowded = App(
    "crowded",
    Supervisor(
        children=[
            child(Supervisor(children=[child(Victim, id="neighbour", placement=POOL)], max_restarts=0), id="beside"),
            child(
                Supervisor(
                    strategy="one_for_all",
                    children=[
                        child(Victim, id="blocked", placement=POOL, shutdown_s=0.5),
                        child(Victim, id="trigger"),
                    ],
                ),
                id="together",
            ),
        ]
    ),
)
