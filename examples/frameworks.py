"""Code that knows nothing of Regrow, under supervision; docs/guides/bring-your-own-framework.md explains it.

python examples/frameworks.py
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any

from regrow import App, AskFailed, AskTimeout, Prompt, Refused, Running, Supervisor, adopt, child


@dataclass
class Result:
    output: str


class Framework:
    """Stands for the one you have: it knows nothing of Regrow, is slow, has bugs, and does not like to be cancelled."""

    async def run(self, prompt: str | None = None, *, retries: int = 0) -> Result:
        if prompt == "divide":
            raise ZeroDivisionError("the framework divided by zero")
        if prompt == "think":
            await asyncio.sleep(60)
        if prompt == "never mind":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:  # swallowed, as by a bare `except:` around a retry
                await asyncio.sleep(60)
        return Result(output=f"the answer to {prompt!r}")


framework = Framework()
assistant = adopt(framework.run, reply=lambda result: result.output)


async def research(question: str, depth: int = 1) -> str:
    """A typed function is asked by its signature."""
    result = await framework.run(question, retries=depth)
    return f"{result.output}, {depth} deep"


async def words(text: str) -> AsyncIterator[str]:
    for word in text.split():
        yield word


async def poll() -> None:
    """Takes nothing, so it is the agent's own work: it runs as long as the agent does."""
    await asyncio.sleep(60)


app = App(
    "bring",
    Supervisor(
        children=[
            child(assistant, id="assistant", shutdown_s=0.2),
            child(adopt(research), id="research"),
            child(adopt(words), id="words"),
            child(adopt(poll), id="poll", restart="transient"),
        ]
    ),
)


async def tour(running: Running) -> None:
    """Asks each, and then has one thing after the other go wrong."""
    ref = running.ref(assistant)

    async def step(title: str, asked: Awaitable[Any]) -> None:
        print(f"\n{title}\n  the asker: {await outcome(asked)}")

    await step("By a text.", ref.ask(Prompt(text="why")))
    await step("By its signature.", running.ref("research").ask(adopt(research).request("why", depth=3)))
    await step("In parts.", running.ref("words").ask(adopt(words).request("one two three")))
    await step("The framework has a bug.", ref.ask(Prompt(text="divide")))
    await step("It takes longer than its asker waits.", ref.ask(Prompt(text="think"), timeout_s=0.1))
    await step("It was cancelled, and lives.", ref.ask(Prompt(text="and now")))

    holding = asyncio.ensure_future(ref.ask(Prompt(text="never mind")))
    await asyncio.sleep(0)  # it is under way
    await running.restart("bring/assistant")
    await step("It is stopped, and holds on.", holding)
    await step("It was killed, and is back.", ref.ask(Prompt(text="and now")))
    await step("Work is not asked.", running.ref("poll").ask(Prompt(text="and you")))


async def outcome(asked: Awaitable[Any]) -> Any:
    """The reply, or what the asker is told instead."""
    try:
        return await asked
    except (AskFailed, AskTimeout, Refused) as error:
        return f"{type(error).__name__}: {error}"


async def main() -> None:
    async with app.start(engine="inline") as running:
        await tour(running)


if __name__ == "__main__":
    asyncio.run(main())
