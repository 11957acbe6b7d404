"""Adopted code of every shape, under a supervisor."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from regrow import App, Supervisor, adopt, child


class Framework:
    """An object as a framework has it."""

    async def run(self, prompt: str | None = None, *, retries: int = 0) -> str:
        return f"{prompt} {os.getpid()}"


async def research(question: str, begun: str = "") -> str:
    """Says which process it runs in; with `begun` it touches that file, waits, and swallows its cancellation once."""
    if begun:
        Path(begun).touch()
        with suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        await asyncio.get_running_loop().create_future()
    return f"{question} {os.getpid()}"


def block(question: str, begun: str) -> str:
    """Holds its thread as long as the file is there."""
    Path(begun).touch()
    while Path(begun).exists():
        threading.Event().wait(0.05)
    return question


async def words(text: str) -> AsyncIterator[str]:
    for word in text.split():
        yield word


async def beat() -> None:
    """Lives as long as its agent."""
    await asyncio.get_running_loop().create_future()


framework = adopt(Framework().run)
shouted = adopt(str.upper)

app = App(
    "adopted",
    Supervisor(
        max_restarts=10,
        children=[
            child(adopt(research), id="research", shutdown_s=0.5),
            child(adopt(block), id="block", shutdown_s=0.5),
            child(adopt(words), id="words"),
            child(framework, id="framework"),
            child(shouted, id="shouted"),
            child(adopt(beat), id="beat"),
        ],
    ),
)
