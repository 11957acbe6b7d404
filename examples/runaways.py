"""Agents that would go on for ever, what stops them, and work that looks like them and is not stopped.

Run it as it stands: python examples/runaways.py. It needs neither Ray nor Redis. See docs/guides/stopping-runaways.md.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable

import structlog
from pydantic import BaseModel

from regrow import (
    Agent,
    App,
    Context,
    DurableAgent,
    DurableContext,
    Guards,
    GuardTripped,
    Message,
    OutOfBudget,
    Request,
    Rung,
    Running,
    Supervisor,
    ToolApproval,
    child,
    on,
    tool,
)

LOOKS = 6
SHOWN = ("tool", "times", "period", "cap", "limit", "messages")
turns: list[str] = []
looks: list[str] = []


class Thanks(Message):
    """Polite, and without end."""

    text: str = "Thank you!"


class Polite(Agent):
    """Answers thanks with thanks."""

    @on
    async def thanks(self, thanks: Thanks, ctx: Context) -> None:
        turns.append(ctx.id)
        await ctx.tell("ben" if ctx.id == "office/ann" else "ann", thanks)


@tool
async def job_status(job: str) -> str:
    """Says how a job is getting on.

    Args:
        job: its name
    """
    looks.append(job)
    return json.dumps({"job": job, "status": "queued"})


class Watch(Request[str]):
    """Has a job watched until it is done."""

    job: str
    first_wait_s: float = 0.0


class Watcher(Agent):
    """Looks at a job again and again; each wait is twice the one before."""

    tools = [job_status]

    @on
    async def watch(self, request: Watch, ctx: Context) -> str:
        told = "{}"
        for number in range(LOOKS):
            told = await ctx.tools.call(job_status, {"job": request.job})
            if number + 1 < LOOKS:
                await asyncio.sleep(request.first_wait_s * 2**number)
        return f"after {LOOKS} looks {request.job} is {json.loads(told)['status']}"


class Careful(Watcher):
    """Does something else where it is stopped."""

    @on
    async def watch(self, request: Watch, ctx: Context) -> str:
        try:
            return await super().watch(request, ctx)
        except GuardTripped as stopped:
            return f"gave up at look {stopped.evidence['times']}, and says so"


class Spend(Request[int]):
    """Has the planner plan, however often."""

    times: int


class Planner(Agent):
    """Plans in many messages."""

    @on
    async def plan(self, request: Spend, ctx: Context) -> int:
        for number in range(request.times):
            await ctx.tell("clerk", Thanks(text=f"note {number}"))
        return request.times


class Clerk(Agent):
    """Reads notes."""

    @on
    async def note(self, thanks: Thanks) -> None:
        turns.append(thanks.text)


class Seen(BaseModel):
    looks: int = 0


class Guarded(DurableAgent[Seen]):
    """Watches as well, and can wait for a person."""

    tools = [job_status]

    @on
    async def watch(self, request: Watch, ctx: DurableContext) -> str:
        for _ in range(5):
            await ctx.tools.call(job_status, {"job": request.job})
        return f"looked at {request.job} five times"


app = App(
    "office",
    Supervisor(
        children=[
            child(Polite, id="ann"),
            child(Polite, id="ben"),
            child(Watcher, id="watcher"),
            child(Careful, id="careful"),
            child(Planner, id="planner"),
            child(Clerk, id="clerk"),
        ]
    ),
    guards=Guards(max_messages=1_000),
)

asking_app = App("house", Supervisor(children=[child(Guarded)]), journal="memory", guards=Guards(top=Rung.SUSPEND))


async def show(title: str, work: Awaitable[str] | Awaitable[int]) -> None:
    print(f"\n{title}" if turns or looks else title)
    try:
        print(f"  {await work}")
    except GuardTripped as error:
        of_budget = ", an OutOfBudget" if isinstance(error, OutOfBudget) else ""
        told = ", ".join(f"{name} {error.evidence[name]}" for name in SHOWN if name in error.evidence)
        print(f"  {type(error).__name__}{of_budget}: {told}")


async def thank(running: Running) -> str:
    """Begins, and waits until all is quiet."""
    await running.ref("ann").tell(Thanks())
    while not (letters := await running.dead_letters()).total:  # noqa: ASYNC110 # a person would look again, too
        await asyncio.sleep(0.01)
    return f"{len(turns)} turns, then {dict(letters.counts)}"


async def consented(running: Running) -> str:
    """Asks, and says yes to the one call that a guard holds up."""
    asked = asyncio.ensure_future(running.ref(Guarded).ask(Watch(job="import"), timeout_s=60))
    while not (rows := await running.waits()):  # noqa: ASYNC110 # a person would look again, too
        await asyncio.sleep(0.01)
    print(f"  a person sees: {rows[0]['call']['why'].partition(';')[0]}")
    await running.answer(rows[0]["id"], ToolApproval(by="Ada"))
    return await asked


async def main() -> None:
    async with app.start(engine="inline") as running:
        await show("Two agents thank each other.", thank(running))
        await show("A job is looked at without a pause.", running.ref("watcher").ask(Watch(job="import")))
        patiently = Watch(job="export", first_wait_s=0.2)
        await show("Another one with longer and longer waits.", running.ref("watcher").ask(patiently, timeout_s=120))
        await show("An agent that does something else then.", running.ref("careful").ask(Watch(job="import")))
        await show("A run that says too much.", running.ref("planner").ask(Spend(times=5_000)))
        await show("One that says as much as it may.", running.ref("planner").ask(Spend(times=900)))
    async with asking_app.start(engine="inline") as running:
        await show("One for which a person decides.", consented(running))


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(main())
