"""A desk in which things go wrong, to see in a trace what happened: retrieval, model, tool, a retry and a crash.

Run it as it stands: python examples/seen.py, and then: regrow traces. It needs neither Ray nor Redis. See
docs/guides/seeing-what-happened.md.
"""

from __future__ import annotations

import asyncio
import logging

import structlog
from pydantic import BaseModel

from regrow import (
    Agent,
    App,
    Context,
    DurableAgent,
    DurableContext,
    Request,
    Supervisor,
    ToolError,
    Work,
    child,
    on,
    tool,
)
from regrow.actors import Retries
from regrow.cluster.config import MemorySettings, Settings, TracingSettings

trouble = {"bank": 1, "clerk": 1}  # how often each will fail still


class Question(Request[str]):
    text: str


class Learn(Request[str]):
    text: str


class Charge(Request[str]):
    cents: int


@tool
async def opening_hours(day: str) -> str:
    """Tells when the shop is open.

    Args:
        day: such as Monday
    """
    if day == "Sunday":
        raise LookupError("there is no Sunday in the plan")
    return "9 to 5"


class Analyst(Agent):
    """Answers with what is remembered, a model, a tool, and the clerk."""

    tools = [opening_hours]

    @on
    async def learn(self, request: Learn, ctx: Context) -> str:
        return await ctx.memory.remember(request.text, source="the door")

    @on
    async def answer(self, question: Question, ctx: Context) -> str:
        hits = await ctx.memory.recall(question.text, k=2)
        reply = await ctx.models.complete(Work.SYNTHESIZE, question.text, context=hits)
        with ctx.span("look at the plan", days=2):
            for day in ("Sunday", "Monday"):
                try:
                    await ctx.tools.call(opening_hours, {"day": day})
                except ToolError:
                    continue
        await ctx.ask("clerk", Charge(cents=1_200))
        return reply.text


class Books(BaseModel):
    charged_cents: int = 0


def charge(cents: int) -> str:
    """Moves money; the bank is away at first."""
    if trouble["bank"]:
        trouble["bank"] -= 1
        raise ConnectionError("the bank does not answer")
    return f"{cents} cents moved"


class Clerk(DurableAgent[Books]):
    """Charges once, whatever happens."""

    @on
    async def take(self, request: Charge, ctx: DurableContext) -> str:
        retries = Retries(on=ConnectionError, first_wait_s=0.01)
        done = await ctx.step("charge", charge, request.cents, idempotent=True, retries=retries)
        if trouble["clerk"]:
            trouble["clerk"] -= 1
            raise RuntimeError("the clerk has a bug")
        self.state = Books(charged_cents=self.state.charged_cents + request.cents)
        return done


app = App("seen", Supervisor(children=[child(Clerk, id="clerk"), child(Analyst, id="analyst")]), journal="memory")


async def main() -> None:
    """Teaches the analyst something, and asks for it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    quiet = Settings().log.model_copy(update={"level": "error"})
    traced = TracingSettings(enabled=True)
    settings = Settings(memory=MemorySettings(store="memory"), log=quiet, tracing=traced)
    async with app.start(engine="inline", settings=settings) as running:
        await running.ref(Analyst).ask(Learn(text="The shop opens at nine o'clock in the morning."))
        answer = await running.ref(Analyst).ask(Question(text="When does the shop open in the morning?"))
    print(answer)


if __name__ == "__main__":
    asyncio.run(main())
