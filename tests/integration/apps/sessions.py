"""A pool of sessions that grows and shrinks while the app runs, on behalf of agents and from outside."""

from __future__ import annotations

import os

from regrow import ActorRef, Agent, App, Context, DynamicSupervisor, Message, Request, Supervisor, child, on


class Greeting(Message):
    """The config of a session."""

    words: tuple[str, ...]


class Greet(Request[str]):
    """Asks a session for its words."""


class Pid(Request[int]):
    pass


class Crash(Message):
    pass


class Open(Request[ActorRef]):
    """Asks the desk for a session."""

    word: str


class Close(Request[None]):
    """Asks the desk to end a session."""

    session: ActorRef


class Session(Agent):
    """One of many."""

    config: Greeting

    async def started(self, ctx: Context) -> None:
        if "fail" in self.config.words:
            raise ValueError("told to fail")

    @on
    async def greet(self, request: Greet) -> str:
        return " ".join(self.config.words)

    @on
    async def pid(self, request: Pid) -> int:
        return os.getpid()

    @on
    async def crash(self, message: Crash) -> None:
        raise RuntimeError("session trouble")


class Desk(Agent):
    """Opens and closes sessions; it runs in another process than they do."""

    @on
    async def open(self, request: Open, ctx: Context) -> ActorRef:
        return await ctx.start_child("pool", config=Greeting(words=("hello", request.word)))

    @on
    async def close(self, request: Close, ctx: Context) -> None:
        await ctx.stop_child(request.session)

    @on
    async def pid(self, request: Pid) -> int:
        return os.getpid()


app = App(
    "sessions",
    Supervisor(
        children=[
            child(
                DynamicSupervisor(child(Session, config=Greeting(words=("nobody",))), max_children=5, max_restarts=100),
                id="pool",
            ),
            child(Desk),
        ]
    ),
)
