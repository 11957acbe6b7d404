"""A shop that refunds with tools: a list of them, arguments that are checked, consent that is waited for.

Run it as it stands: python examples/refunds.py. It needs neither Ray nor Redis. See docs/guides/tools-and-approvals.md.
"""

from __future__ import annotations

import asyncio
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
    RegrowError,
    Request,
    Running,
    Step,
    Supervisor,
    ToolApproval,
    ToolError,
    child,
    on,
    tool,
)

LARGE_CENTS = 10_000
ORDERS = {"A-1": 4_500, "A-2": 80_000}
paid: dict[str, int] = {}  # the bank, by the keys of its payments


@tool
async def find_order(order: str) -> int:
    """Finds an order and gives its amount in cents.

    Args:
        order: its number, such as A-1
    """
    if order not in ORDERS:
        raise LookupError(f"there is no order {order}")
    return ORDERS[order]


@tool(idempotent=True, timeout_s=10, approval=lambda call: call.cents > LARGE_CENTS)
async def refund(order: str, cents: int, step: Step) -> str:
    """Pays money back for an order.

    Args:
        order: its number
        cents: how much
    """
    paid.setdefault(step.key, cents)
    return f"{cents} cents are on their way"


@tool(timeout_s=10)
async def delete_order(order: str) -> None:
    """Deletes an order for good."""
    ORDERS.pop(order)


class Refund(Request[str]):
    """Asks for the money of an order."""

    order: str


class Run(Request[str]):
    """Asks for a tool by its name, with arguments as a model writes them."""

    tool: str
    arguments: str


class Till(BaseModel):
    """What the cashier knows."""

    refunds: int = 0


class Cashier(DurableAgent[Till]):
    """Refunds orders. It may look one up and pay; it may not delete one."""

    tools = [find_order, refund]

    @on
    async def refund(self, request: Refund, ctx: DurableContext) -> str:
        cents = await ctx.tools.call(find_order, {"order": request.order})
        told = await ctx.tools.call(refund, {"order": request.order, "cents": cents})
        accident(request.order)
        self.state.refunds += 1
        return told


class Clerk(Agent):
    """Runs what it is asked for by name, as a model would ask."""

    tools = [find_order]

    @on
    async def run(self, request: Run, ctx: Context) -> str:
        try:
            return str(await ctx.tools.call(request.tool, request.arguments))
        except ToolError as error:
            return f"the model is told: {error}"


def accident(order: str) -> None:
    """Kills the cashier the first time that this order has been paid."""
    if order == "A-1" and not accidents:
        accidents.append(order)
        raise RuntimeError("the cashier faints")


accidents: list[str] = []

app = App("shop", Supervisor(children=[child(Cashier, id="cashier"), child(Clerk, id="clerk")]), journal="memory")


async def show(what: str, answer: Awaitable[str]) -> None:
    print(f"\n{what}")
    try:
        print(f"  {await answer}")
    except RegrowError as error:
        print(f"  {type(error).__name__}: {error}")
    print(f"  the bank: {list(paid.values())}")


async def asked_for(running: Running) -> str:
    """The id of the message that waits for consent."""
    while not (rows := await running.waits()):  # noqa: ASYNC110 # a person would look again, too
        await asyncio.sleep(0.01)
    print(f"\nA person sees what is asked of her.\n  {rows[0]['call']['tool']} {rows[0]['call']['arguments']}")
    return str(rows[0]["id"])


async def main() -> None:
    async with app.start(engine="inline") as running:
        cashier, clerk = running.ref(Cashier), running.ref(Clerk)
        await show("A tool by its name, with JSON.", clerk.ask(Run(tool="find_order", arguments='{"order": "A-1"}')))
        await show("One that raises.", clerk.ask(Run(tool="find_order", arguments='{"order": "B-9"}')))
        await show("Arguments that are none.", clerk.ask(Run(tool="find_order", arguments='{"number": 1}')))
        await show("One that is not in the list.", clerk.ask(Run(tool="delete_order", arguments='{"order": "A-1"}')))
        await show("The cashier faints when it has paid.", cashier.ask(Refund(order="A-1")))
        for word in (ToolApproval(approved=False, by="Ada", reason="too much"), ToolApproval(by="Ada")):
            asking = asyncio.create_task(cashier.ask(Refund(order="A-2"), timeout_s=3_600))
            await running.answer(await asked_for(running), word)
            await show("Ada consents." if word.approved else "Ada refuses.", asking)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(main())
