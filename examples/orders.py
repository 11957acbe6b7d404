"""A shop whose orders survive: what was accepted is done once, whatever dies on the way.

The guide docs/guides/state-that-survives.md walks through it. `python examples/orders.py` needs neither Ray nor
Redis, since the app says journal="memory"; on Ray the same agent keeps everything in Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from pydantic import BaseModel

from regrow import (
    App,
    AskFailed,
    DurableAgent,
    DurableContext,
    Message,
    Refused,
    Request,
    Running,
    Supervisor,
    child,
    new_command_id,
    on,
)
from regrow.actors import Step

LARGE = 100
"""An order of more cups than this needs somebody's consent."""


class Order(Request[str]):
    """So many cups, please."""

    cups: int


class Consent(Message):
    """What a large order waits for."""

    by: str


class Tidy(Message):
    """Comes each evening."""


class Look(Request[str]):
    """What is in the books."""


class Books(BaseModel):
    """What the clerk knows. All of it survives."""

    sold: int = 0
    consents: list[str] = []
    evenings: int = 0


class Clerk(DurableAgent[Books]):
    """Takes orders, one at a time."""

    @on
    async def order(self, order: Order, ctx: DurableContext) -> str:
        if order.cups > LARGE:
            consent = await ctx.wait_for(Consent, timeout_s=7 * 86_400)  # costs nothing meanwhile
            self.state.consents.append(consent.by)
        boxes = await ctx.step("post", post, order.cups, idempotent=True)
        accident(order.cups)
        self.state.sold += order.cups
        ctx.remind("tidy", Tidy(), cron="0 18 * * *")
        return f"{boxes} boxes are on their way"

    @on
    async def tidy(self, message: Tidy) -> None:
        self.state.evenings += 1

    @on(read_only=True)
    async def look(self, request: Look) -> str:
        return f"{self.state.sold} cups sold, consent of {self.state.consents}"


posted: dict[str, int] = {}
"""The world outside, by the key of each parcel: what has left the house can not be taken back."""

accidents = {12: 1, 13: 99}
"""How often the clerk falls over an order of so many cups, after the parcel has left."""


async def post(cups: int, step: Step) -> int:
    """Posts a parcel. Its key is the same however often this order is handled, so the post takes it once."""
    posted.setdefault(step.key, cups)
    return -(-cups // 6)


def accident(cups: int) -> None:
    if accidents.get(cups, 0) > 0:
        accidents[cups] -= 1
        raise RuntimeError("the clerk falls over a box")


app = App("orders", Supervisor(max_restarts=10, children=[child(Clerk, id="clerk")]), journal="memory")


async def tour(running: Running) -> None:
    """Orders, and lets things go wrong."""
    clerk = running.ref(Clerk)

    async def step(title: str, asked: Awaitable[str]) -> None:
        print(f"\n{title}")
        print(f"  the asker: {await outcome(asked)}")
        books: str = await clerk.ask(Look())
        print(f"  the books: {books}")
        print(f"  the post:  {len(posted)} parcels")

    await step("All is well.", clerk.ask(Order(cups=4)))
    await step("The clerk crashes when the parcel has left.", clerk.ask(Order(cups=12), command_id=ID))
    await step("The same order once more, by its id.", clerk.ask(Order(cups=12), command_id=ID))
    await step("An order on which the clerk always crashes.", clerk.ask(Order(cups=13)))
    large = asyncio.ensure_future(clerk.ask(Order(cups=600)))
    await step("A large order waits, and others are served.", clerk.ask(Order(cups=5)))
    await clerk.tell(Consent(by="Ada"))
    await step("Ada consents.", large)


ID = new_command_id()
"""An id that the asker has made, to be able to ask again. It says when it was made."""


async def outcome(asked: Awaitable[str]) -> str:
    """The reply, or what the asker is told instead."""
    try:
        return await asked
    except (Refused, AskFailed) as error:
        return f"{type(error).__name__}: {error}"


async def main() -> None:
    async with app.start(engine="inline") as running:
        await tour(running)


if __name__ == "__main__":
    asyncio.run(main())
