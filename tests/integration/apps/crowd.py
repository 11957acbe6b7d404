"""An app of senders and receivers, some with small mailboxes: order, room and what happens without room."""

from __future__ import annotations

import asyncio

from regrow import ActorRef, Agent, App, Context, Message, Packed, Request, Supervisor, child, on

SMALL = 3
"""The mailbox of the stuck agents, in messages."""


class Item(Message):
    sender: str
    number: int


class SendAll(Request[int]):
    to: ActorRef
    count: int


class Seen(Request[tuple[Item, ...]]):
    pass


class Sender(Agent):
    """Sends numbered items, many at once and in order."""

    @on
    async def send_all(self, request: SendAll, ctx: Context) -> int:
        tells = [request.to.tell(Item(sender=ctx.id, number=n), send_timeout_s=60.0) for n in range(request.count)]
        await asyncio.gather(*tells)
        return request.count


class Receiver(Agent):
    """Keeps what it got, in the order in which it came."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    @on
    async def item(self, message: Item) -> None:
        self.items.append(message)

    @on
    async def seen(self, request: Seen) -> tuple[Item, ...]:
        return tuple(self.items)


class Hold(Message):
    """The receiver reads nothing more until its process is told to go on, which is never."""


class Stuck(Agent):
    """Begins one message and never comes to the next."""

    @on
    async def hold(self, message: Hold) -> None:
        await asyncio.Event().wait()

    @on
    async def item(self, message: Item) -> None:
        pass

    @on
    async def seen(self, request: Seen) -> tuple[Item, ...]:
        return ()


class Fill(Request[str]):
    """Has an agent send to a full mailbox; the reply names the error it got."""

    to: ActorRef


class Filler(Agent):
    """Sends from inside the app."""

    @on
    async def fill(self, request: Fill) -> str:
        try:
            await request.to.tell(Item(sender="filler", number=0), send_timeout_s=0.2)
        except Exception as error:  # which error it is, is what the test is about
            return f"{type(error).__name__}: {error}"
        return "taken"


STUCK = Packed("stuck")

app = App(
    "crowd",
    Supervisor(
        max_restarts=100,
        children=[
            child(Sender, id="left"),
            child(Sender, id="right"),
            child(Receiver, mailbox=500),
            child(Filler, placement=STUCK),
            child(Stuck, id="blocking", mailbox=SMALL, shutdown_s=1.0, placement=STUCK),
            child(Stuck, id="rejecting", mailbox=SMALL, overflow="reject", shutdown_s=1.0, placement=STUCK),
            child(Stuck, id="dropping", mailbox=SMALL, overflow="drop_newest", shutdown_s=1.0, placement=STUCK),
        ],
    ),
)
