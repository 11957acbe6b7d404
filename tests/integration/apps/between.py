"""Agents that wait for each other, and one that needs two services at once."""

from __future__ import annotations

import asyncio
import os

from regrow import Agent, App, AskFailed, Context, Request, Supervisor, Work, child, on

PATIENCE_S = 20.0


class Dwell(Request[int]):
    """Never answered: its agent waits until it ends."""


class ProcessOf(Request[int]):
    """Asks for the pid, also while the agent dwells."""


class IsDwelling(Request[bool]):
    """Asks whether the worker has begun to dwell."""


class WaitForWorker(Request[str]):
    """Asks the worker to dwell, and answers with what came of it."""


class UseBoth(Request[str]):
    """Uses memory and models for the first time, at once."""


class Worker(Agent):
    def __init__(self) -> None:
        self.dwells = False

    @on
    async def dwell(self, request: Dwell) -> int:
        self.dwells = True
        await asyncio.get_running_loop().create_future()
        return 0

    @on(concurrent=True)
    async def process(self, request: ProcessOf) -> int:
        return os.getpid()

    @on(concurrent=True)
    async def is_dwelling(self, request: IsDwelling) -> bool:
        return self.dwells


class Asker(Agent):
    @on
    async def wait(self, request: WaitForWorker, ctx: Context) -> str:
        try:
            await ctx.ask(Worker, Dwell(), timeout_s=PATIENCE_S)
        except AskFailed as failed:
            return str(failed)
        return "answered"

    @on
    async def use_both(self, request: UseBoth, ctx: Context) -> str:
        _, reply = await asyncio.gather(
            ctx.memory.remember("Redis is the truth."), ctx.models.complete(Work.SUMMARIZE, "Redis is the truth.")
        )
        return reply.text


app = App("between", Supervisor(children=[child(Worker), child(Asker)]))
