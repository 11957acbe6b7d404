"""A tree of three levels in which things go wrong, and what becomes of them; docs/guides/let-it-crash.md explains it.

python examples/let_it_crash.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from regrow import Agent, App, AskFailed, Context, Refused, Request, Running, Supervisor, agent, child, on
from regrow.runtime import Down


class Charge(Request[int]):
    cents: int


class Cut(Request[str]):
    """The bank closes the connection."""


class Pay(Request[str]):
    amount: str


class Heard(Request[str]):
    """What the auditor was told."""


class Session(Agent):
    """The login to the bank. Nobody repairs a broken one: it crashes, and a new one is made."""

    def __init__(self) -> None:
        self.charges = 0

    @on
    async def charge(self, request: Charge) -> int:
        self.charges += 1
        return self.charges

    @on
    async def cut(self, request: Cut) -> str:
        raise ConnectionError("the bank closed the connection")


class Cashier(Agent):
    """Takes payments over the session beside it. It catches nothing."""

    @on
    async def pay(self, request: Pay, ctx: Context) -> str:
        if request.amount == "0":
            raise Refused("there is nothing to pay")  # a considered no is no crash
        number = await ctx.ask("session", Charge(cents=int(request.amount) * 100))
        return f"paid {request.amount}, charge {number} of this session"


class Auditor(Agent):
    """Hears of the end of a session, and lives on."""

    def __init__(self) -> None:
        self.heard = "nothing yet"

    async def started(self, ctx: Context) -> None:
        ctx.monitor("shop/payments/session")

    @on
    async def down(self, message: Down) -> None:
        self.heard = f"{message.actor} ended: {message.reason}"

    @on
    async def tell_me(self, request: Heard) -> str:
        return self.heard


@agent
async def catalog(word: str) -> str:
    return f"three kinds of {word}"


payments = Supervisor(
    strategy="rest_for_one",  # who comes later depends on who comes earlier
    max_restarts=2,
    within_s=60.0,
    children=[child(Session, id="session"), child(Cashier, id="cashier")],
)

app = App("shop", Supervisor(children=[child(payments, id="payments"), child(catalog), child(Auditor, id="auditor")]))


async def tour(running: Running) -> None:
    """Breaks one thing after the other, and prints who heard what and who got a new life."""
    cashier, session = running.ref("payments/cashier"), running.ref("payments/session")

    async def step(title: str, asked: Awaitable[str]) -> None:
        before = await lives(running)
        print(f"\n{title}")
        print(f"  the asker: {await outcome(asked)}")
        print(f"  and then:  {await outcome(cashier.ask(Pay(amount='5')))}")
        after = await lives(running)
        grown = [id for id in after if after[id] > before[id]]
        print(f"  new lives: {', '.join(grown) or 'none'}")

    await step("All is well.", cashier.ask(Pay(amount="12")))
    await step("The cashier refuses.", cashier.ask(Pay(amount="0")))
    await step("The cashier has a bug.", cashier.ask(Pay(amount="twelve")))
    await step("The session breaks.", session.ask(Cut()))
    print(f"  auditor:   {await outcome(running.ref('auditor').ask(Heard()))}")
    await step("It breaks once more: too often for its supervisor.", session.ask(Cut()))


async def outcome(asked: Awaitable[str]) -> str:
    """The reply, or what the asker is told instead."""
    try:
        return await asked
    except (Refused, AskFailed) as error:
        return f"{type(error).__name__}: {error}"


async def lives(running: Running) -> dict[str, int]:
    """The incarnation of everybody in the tree."""
    root, *_ = await running.tree()
    return {node.id: node.incarnation for _, node in root.walk()}


async def main() -> None:
    async with app.start(engine="inline") as running:
        await tour(running)


if __name__ == "__main__":
    asyncio.run(main())
