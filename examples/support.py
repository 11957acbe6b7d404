"""A help desk of two agents: one answers with a model, one counts tickets and forgets none. Its tests: test_support.py.

`pytest examples/test_support.py` runs them in milliseconds, `--regrow-engine=ray` the same ones on Ray.
"""

from __future__ import annotations

from pydantic import BaseModel

from regrow import (
    Agent,
    App,
    Context,
    DurableAgent,
    DurableContext,
    Message,
    Refused,
    Request,
    Supervisor,
    Work,
    child,
    on,
)


class Question(Request[str]):
    text: str


class File(Request[int]):
    """Files a ticket, and gives its number."""

    about: str


class Remind(Message):
    ticket: int


class Tickets(BaseModel):
    open: list[str] = []
    reminded: int = 0


class Book(DurableAgent[Tickets]):
    """Keeps the tickets. What it has accepted survives any crash."""

    @on
    async def file(self, request: File, ctx: DurableContext) -> int:
        self.state.open.append(request.about)
        ctx.remind(f"ticket-{len(self.state.open)}", Remind(ticket=len(self.state.open)), after_s=3_600.0)
        return len(self.state.open)

    @on
    async def remind(self, message: Remind) -> None:
        self.state.reminded += 1


class Clerk(Agent):
    """Answers what it can, and files a ticket for the rest."""

    @on
    async def answer(self, question: Question, ctx: Context) -> str:
        if not question.text.strip():
            raise Refused("ask something")
        reply = await ctx.models.complete(Work.REASON, question.text)
        if reply.text != "I do not know":
            return reply.text
        number = await ctx.ask("book", File(about=question.text))
        return f"this is ticket {number}"


app = App("support", Supervisor(children=[child(Book, id="book"), child(Clerk, id="clerk")]))
