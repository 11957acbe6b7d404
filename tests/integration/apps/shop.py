"""A shop with something of everything that its page shows: a crowd, agents with keys, payments that need consent."""

from __future__ import annotations

from pydantic import BaseModel

from regrow import (
    Agent,
    App,
    Context,
    DurableAgent,
    DurableContext,
    Request,
    Supervisor,
    Work,
    child,
    keyed,
    on,
    tool,
)
from regrow.runtime import Message


class Say(Request[str]):
    text: str


class Note(Message):
    text: str


class Pay(Request[str]):
    to: str
    cents: int


class Speaker(Agent):
    @on
    async def say(self, request: Say, ctx: Context) -> str:
        return (await ctx.models.complete(Work.SYNTHESIZE, request.text)).text

    @on
    async def note(self, note: Note) -> None:
        raise ValueError(note.text)


@tool(idempotent=True, approval=lambda call: call.cents > 1_000)
async def transfer(to: str, cents: int) -> str:
    """Moves money.

    Args:
        to: whose it is then
        cents: how much
    """
    return f"{cents} cents are {to}'s"


class Books(BaseModel):
    paid: int = 0


class Cashier(DurableAgent[Books]):
    """Pays, and asks a person where it is much; what is sent to nobody ends it again and again."""

    tools = [transfer]

    @on
    async def pay(self, request: Pay, ctx: DurableContext) -> str:
        if not request.to:
            raise ValueError("there is nobody to pay")
        done = await ctx.tools.call(transfer, {"to": request.to, "cents": request.cents})
        self.state = Books(paid=self.state.paid + request.cents)
        return str(done)


desk = Supervisor(
    strategy="rest_for_one", max_restarts=50, children=[child(Speaker, id="analyst"), child(Speaker, id="scribe")]
)
readers = Supervisor(children=[child(Speaker, id=f"reader-{number}") for number in range(1, 151)])
app = App(
    "shop",
    Supervisor(
        max_restarts=50,
        children=[
            child(desk, id="desk"),
            child(readers, id="readers"),
            child(Cashier, id="cashier"),
            child(Cashier, id="till"),
            child(Speaker, id="courier", restart="temporary"),
            keyed(Cashier, id="wallet"),
        ],
    ),
    journal="memory",
)

abroad = App(
    "shop",
    Supervisor(
        max_restarts=1_000,
        within_s=1.0,
        children=[child(Speaker, id="analyst"), child(Speaker, id="scribe"), child(Cashier, id="cashier")],
    ),
)
"""The same, smaller, for Ray: each agent has a process of its own, and what is durable a Redis."""
