"""An app through which one question goes from prompt to action: retrieval, a model with a tool, another agent, a step.

As a program it asks that question; where the model is, and where spans go, stands in the environment.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, DurableContext, Request, Supervisor, child, on, tool

LEARNED = "Whoever asks for Bern may write to ada@example.com, with the password=hunter22 of the desk."
QUESTION = "How warm is it in Bern? My key is sk-proj-abcdefghijklmnop1234."


class Learn(Request[str]):
    text: str


class Question(Request[str]):
    text: str


class Note(Request[str]):
    text: str


@tool
async def temperature(city: str) -> str:
    """Tells how warm it is.

    Args:
        city: its name
    """
    return f"21 degrees in {city}, says bo@example.com"


class Analyst(Agent):
    """Looks it up, has a model go on with it, and hands the answer to the clerk."""

    tools = [temperature]

    @on
    async def learn(self, request: Learn, ctx: Context) -> str:
        return await ctx.memory.remember(request.text, source="the door")

    @on
    async def answer(self, question: Question, ctx: Context) -> str:
        hits = await ctx.memory.recall(question.text, k=1)
        answer = await ctx.models.run(question.text, context=hits)
        return await ctx.ask("clerk", Note(text=answer.text))


class Book(BaseModel):
    notes: int = 0


def written(text: str) -> str:
    """What is written down."""
    return text


class Clerk(DurableAgent[Book]):
    """Writes down what was found."""

    @on
    async def note(self, request: Note, ctx: DurableContext) -> str:
        text = await ctx.step("write", written, request.text)
        self.state.notes += 1
        return text


app = App("chained", Supervisor(children=[child(Clerk, id="clerk"), child(Analyst, id="analyst")]), journal="memory")


async def main() -> None:
    """Asks once."""
    async with app.start(engine="inline") as running:
        await running.ref(Analyst).ask(Learn(text=LEARNED))
        answer = await running.ref(Analyst).ask(Question(text=QUESTION))
    print(answer)


if __name__ == "__main__":
    asyncio.run(main())
