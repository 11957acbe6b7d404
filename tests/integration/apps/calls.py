"""An app of agents that leave replies to others, block each other and set requests aside; each in its own host."""

from __future__ import annotations

from regrow import Agent, App, Context, Message, Request, Supervisor, child, on
from regrow.runtime import Dedicated, ReplySlot
from regrow.runtime.errors import AskCycle


class Answer(Message):
    text: str


class Question(Request[Answer]):
    text: str


class Job(Message):
    """A question, and where its answer belongs."""

    question: Question
    slot: ReplySlot[Answer]


class AskOther(Request[str]):
    """Ask that one something, and say what came of it."""

    other: str


class Ping(Request[str]):
    """Answered at once, by whoever is not blocked."""


class Die(Message):
    """The agent crashes."""


class Open(Message):
    """From now on the door lets everybody in."""


class Front(Agent):
    """Leaves each answer to the expert."""

    @on
    async def answer(self, question: Question, ctx: Context) -> ReplySlot[Answer]:
        slot = ctx.defer_reply(question)
        await ctx.tell("expert", Job(question=question, slot=slot))
        return slot

    @on
    async def die(self, message: Die) -> None:
        raise RuntimeError("told to")


class Expert(Agent):
    """Answers for others, twice; never what nobody knows."""

    @on
    async def job(self, job: Job) -> None:
        if job.question.text == "nobody knows":
            return
        job.slot.reply(Answer(text=f"expertly: {job.question.text}"))
        job.slot.reply(Answer(text="and again"))


class Partner(Agent):
    """Asks its partner while it serves."""

    @on
    async def ask_other(self, request: AskOther, ctx: Context) -> str:
        try:
            return await ctx.ask(request.other, Ping())
        except AskCycle as ring:
            return f"ring: {' '.join(ring.chain)}"

    @on
    async def ping(self, request: Ping, ctx: Context) -> str:
        return f"served by {ctx.id}"


class Door(Agent):
    """Sets everybody aside until it is opened."""

    def __init__(self) -> None:
        self.is_open = False

    @on
    async def ping(self, request: Ping, ctx: Context) -> str:
        if not self.is_open:
            ctx.stash()
        return "in"

    @on
    async def open(self, message: Open, ctx: Context) -> None:
        self.is_open = True
        ctx.unstash_all()

    @on
    async def die(self, message: Die) -> None:
        raise RuntimeError("told to")


app = App(
    "calls",
    Supervisor(
        max_restarts=100,
        within_s=1.0,
        children=[
            child(agent, id=name, placement=Dedicated())
            for agent, name in ((Front, "front"), (Expert, "expert"), (Partner, "a"), (Partner, "b"), (Door, "door"))
        ],
    ),
)
