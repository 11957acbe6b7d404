"""Calls as a user of a running app writes them: many at once, and replies that another agent gives."""

from __future__ import annotations

from regrow.actors import Agent, Context, on
from regrow.cluster import App
from regrow.cluster.config import Settings
from regrow.runtime import Message, NoReply, Refused, Replied, ReplySlot, Request
from regrow.supervisors import Supervisor, child


class Answer(Message):
    text: str


class Question(Request[Answer]):
    text: str


class Job(Message):
    """A question, and where its answer belongs."""

    question: Question
    slot: ReplySlot[Answer]


class Front(Agent):
    """Leaves each answer to the expert."""

    @on
    async def answer(self, question: Question, ctx: Context) -> ReplySlot[Answer]:
        slot = ctx.defer_reply(question)
        await ctx.tell("expert", Job(question=question, slot=slot))
        return slot


class Expert(Agent):
    """Answers for others, and for nobody who asks it."""

    @on
    async def job(self, job: Job) -> None:
        job.slot.reply(Answer(text=f"expertly: {job.question.text}"))

    @on
    async def answer(self, question: Question) -> Answer:
        raise Refused("ask the front")


APP = App("calls", Supervisor(children=[child(Front, id="front"), child(Expert, id="expert")]))


async def test_a_running_app_asks_many_agents_at_once() -> None:
    async with APP.start(engine="inline", settings=Settings.model_construct()) as running:
        outcomes = await running.ask_all([Front, "expert", "calls/front"], Question(text="why"), timeout_s=5.0)

    assert [type(outcome) for outcome in outcomes] == [Replied, NoReply, Replied]
    assert outcomes[0].result() == Answer(text="expertly: why")
    assert isinstance(outcomes[1], NoReply) and str(outcomes[1].error) == "ask the front"
    assert [outcome.agent for outcome in outcomes] == ["calls/front", "calls/expert", "calls/front"]
