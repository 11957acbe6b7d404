"""Agents with tools in processes of their own: what they may run, and what a kill leaves of it."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from pydantic import BaseModel

from regrow import (
    Agent,
    App,
    Context,
    DurableAgent,
    DurableContext,
    Request,
    Step,
    StreamRequest,
    Supervisor,
    child,
    on,
    tool,
)


@tool
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool
async def erase() -> str:
    """Nobody lists it."""
    raise AssertionError


@tool(isolation="process", timeout_s=60)
def hang() -> str:
    """Says in its folder that it has begun, and stays."""
    Path("begun").touch()
    threading.Event().wait(60)
    return ""


@tool
async def write(path: str, line: str, step: Step) -> str:
    """Adds a line to a file, whoever wrote it before: done twice it is there twice."""
    with Path(path).open("a") as file:
        file.write(f"{line} {step.key}\n")
    return line


@tool(approval=True, approval_timeout_s=600)
async def pay(path: str, cents: int) -> str:
    """Pays, by a line in a file."""
    with Path(path).open("a") as file:
        file.write(f"{cents}\n")
    return f"paid {cents}"


class Add(Request[int]):
    """Has two numbers added."""

    a: int
    b: int
    narrowed: bool = False


class Erase(Request[str]):
    """Has done what may not be done."""


class Hang(Request[str]):
    """Has a tool begin that does not end by itself."""


class Clerk(Agent):
    """Adds, and hangs."""

    tools = [add, hang]

    @on
    async def add(self, request: Add, ctx: Context) -> int:
        return await ctx.tools.call(add, {"a": request.a, "b": request.b})

    @on
    async def erase(self, request: Erase, ctx: Context) -> str:
        return await ctx.tools.call(erase)

    @on
    async def hang(self, request: Hang, ctx: Context) -> str:
        return await ctx.tools.call(hang)


class Chief(Agent):
    """Has the clerk add, with all that it may do or with nothing of it."""

    tools = [add]

    @on
    async def add(self, request: Add, ctx: Context) -> int:
        if not request.narrowed:
            return await ctx.ask("clerk", request)
        with ctx.tools.only():
            return await ctx.ask("clerk", request)


class Done(BaseModel):
    turns: int = 0


class Report(StreamRequest[str, str]):
    """Writes two lines by two tools, waits between them, and tells each as it is written."""

    path: str
    gate: str


class Pay(Request[str]):
    """Pays, with somebody's consent."""

    path: str
    cents: int


class Pid(Request[int]):
    """The process it runs in."""


class Cashier(DurableAgent[Done]):
    """Does what must not be done twice."""

    tools = [write, pay]

    @on
    async def report(self, request: Report, ctx: DurableContext) -> str:
        await ctx.emit(await ctx.tools.call(write, {"path": request.path, "line": "first"}))
        if not Path(request.gate).exists():
            Path(request.gate).write_text("begun")
            await asyncio.Event().wait()  # until it is killed
        await ctx.emit(await ctx.tools.call(write, {"path": request.path, "line": "second"}))
        return "done"

    @on
    async def pay(self, request: Pay, ctx: DurableContext) -> str:
        return await ctx.tools.call(pay, {"path": request.path, "cents": request.cents})

    @on
    async def pid(self, request: Pid) -> int:
        return os.getpid()


app = App("tooled", Supervisor(max_restarts=100, children=[child(Clerk), child(Chief), child(Cashier)]))
