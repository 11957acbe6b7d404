"""What agents with keys have still to do is done though they, their supervisor or the journal end at a bad moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from pydantic import BaseModel

from regrow import App, Context, DurableAgent, DurableContext, Message, Request, Running, Supervisor, keyed, on
from regrow.cluster.config import Settings
from regrow.cluster.deeds import DEED_TIMEOUT_S, Deed
from regrow.cluster.inline import InlineEngine
from regrow.runtime import ActorId
from regrow.runtime.testing import pass_time
from tests.supervisors.stage import virtual

BEGUN_MS = 1_764_000_000_000
IDLE_S = 60.0
KIND = ActorId("desk/clerk")


class Notes(BaseModel):
    seen: list[int] = []


class Note(Message):
    number: int


class Seen(Request[tuple[int, ...]]):
    pass


class Remind(Request[bool]):
    after_s: float


class Work(Message):
    """Takes a minute the first time."""


starts: Counter[str] = Counter()


class Clerk(DurableAgent[Notes]):
    async def started(self, ctx: Context) -> None:
        starts[ctx.id] += 1

    @on
    async def note(self, message: Note) -> None:
        self.state.seen.append(message.number)

    @on
    async def seen(self, request: Seen) -> tuple[int, ...]:
        return tuple(self.state.seen)

    @on
    async def remind(self, request: Remind, ctx: DurableContext) -> bool:
        ctx.remind("later", Note(number=7), after_s=request.after_s)
        return True

    @on
    async def work(self, message: Work, ctx: DurableContext) -> None:
        if starts[ctx.id] == 1:
            await pass_time(IDLE_S)


@asynccontextmanager
async def desk(**rules: object) -> AsyncIterator[Running]:
    starts.clear()
    spec = keyed(Clerk, **{"idle_s": IDLE_S, **rules})  # type: ignore[arg-type]
    app = App("desk", Supervisor(children=[spec]), journal="memory")
    loop = asyncio.get_running_loop()
    engine = InlineEngine(app, Settings(), now_ms=lambda: BEGUN_MS + int(loop.time() * 1000))
    await engine.start()
    try:
        yield Running(app, engine)
    finally:
        await engine.stop()


async def restart(running: Running) -> None:
    """Restarts the supervisor of the kind."""
    await cast("InlineEngine", running.engine).carry_out(Deed.RESTART, KIND, timeout_s=DEED_TIMEOUT_S)


@virtual
async def test_a_reminder_comes_though_the_supervisor_of_the_kind_was_restarted() -> None:
    async with desk() as running:
        ref = running.ref(Clerk, key="ada")
        await ref.ask(Remind(after_s=10 * IDLE_S))

        await restart(running)
        await pass_time(11 * IDLE_S)

        assert starts["desk/clerk/ada"] == 2, "its reminder has started it"
        assert await ref.ask(Seen()) == (7,)


@virtual
async def test_accepted_mail_is_handled_though_the_supervisor_of_the_kind_was_restarted() -> None:
    async with desk() as running:
        ref = running.ref(Clerk, key="ada")
        await ref.tell(Work())
        await ref.tell(Note(number=1))

        await restart(running)
        await pass_time(IDLE_S / 2)

        assert starts["desk/clerk/ada"] == 2, "its mail has started it"
        assert await ref.ask(Seen()) == (1,)
