"""A player that asks many at once, leaves answers to others, and sets messages aside."""

from __future__ import annotations

import asyncio
from pathlib import Path

from regrow import ActorRef, Context, Message, Request, on
from regrow.runtime import AskCycle, NoReply, RegrowError, ReplySlot, Stashed
from tests.conformance.placements.player import Note, Player, look_again, told


class AskMany(Request[tuple[str, ...]]):
    """Has a caller ask all of these within one deadline; the reply says what came of each."""

    of: tuple[ActorRef, ...]
    request: Request[str]
    within_s: float


class Knock(Request[str]):
    """Is answered at once, or set aside while the caller is shut."""


class Delegate(Request[str]):
    """The caller leaves the answer to another agent, and serves the next message."""

    to: ActorRef


class Answer(Message):
    """Whoever gets it answers in the caller's place, and once more than anybody waits for."""

    slot: ReplySlot[str]


class Keep(Message):
    """Is never answered by whoever gets it."""

    slot: ReplySlot[str]


class DelegateAndKeep(Request[str]):
    """As Delegate, to one that keeps the slot and does not answer."""

    to: ActorRef


class Shut(Message):
    """From here on notes and those who knock are set aside."""


class Open(Message):
    """What was set aside comes first."""


class Meet(Request[str]):
    """Waits for a file, and then asks somebody to meet in its turn, or ends the round."""

    file: str
    to: tuple[ActorRef, ...]


class Beside(Request[str]):
    """As Meet, in a turn beside others: waits for a file, and then asks somebody for what is given."""

    file: str
    to: ActorRef
    request: Request[str]


class GiveUp(Request[str]):
    """Has a caller ask somebody, and stop waiting for the answer when there is a file; the reply is `given up`."""

    file: str
    to: ActorRef
    request: Request[str]


class OfferNow(Request[str]):
    """Has a caller tell somebody a note without waiting; the reply is `sent`, or the name of the error."""

    to: ActorRef
    text: str


class Caller(Player):
    """Asks and answers in other ways than one by one."""

    def __init__(self) -> None:
        self.shut = False
        self.kept: list[ReplySlot[str]] = []

    @on
    async def ask_many(self, message: AskMany, ctx: Context) -> tuple[str, ...]:
        outcomes = await ctx.ask_all(message.of, message.request, timeout_s=message.within_s)
        return tuple(
            told(outcome.error).partition(":")[0] if isinstance(outcome, NoReply) else outcome.reply
            for outcome in outcomes
        )

    @on
    async def offer_now(self, message: OfferNow, ctx: Context) -> str:
        try:
            ctx.tell_nowait(message.to, Note(text=message.text))
        except RegrowError as error:
            return type(error).__name__
        return "sent"

    @on
    async def delegate(self, message: Delegate, ctx: Context) -> ReplySlot[str]:
        slot = ctx.defer_reply(message)
        await ctx.tell(message.to, Answer(slot=slot))
        return slot

    @on
    async def delegate_and_keep(self, message: DelegateAndKeep, ctx: Context) -> ReplySlot[str]:
        slot = ctx.defer_reply(message)
        await ctx.tell(message.to, Keep(slot=slot))
        return slot

    @on
    async def answer(self, message: Answer, ctx: Context) -> None:
        message.slot.reply(f"from {ctx.id}")
        message.slot.reply("and again")

    @on
    async def keep(self, message: Keep, ctx: Context) -> None:
        self.kept.append(message.slot)
        self.sees(ctx, "keeps")

    @on
    async def shut_door(self, message: Shut) -> None:
        self.shut = True

    @on
    async def open_door(self, message: Open, ctx: Context) -> None:
        self.shut = False
        ctx.unstash_all()

    @on
    async def note(self, message: Note, ctx: Context) -> None:
        if self.shut:
            ctx.stash()
        else:
            self.sees(ctx, message.text)

    @on
    async def knock(self, message: Knock, ctx: Context) -> str | Stashed:
        if self.shut:
            return ctx.stash()
        self.sees(ctx, "knocked")
        return "in"

    @on
    async def meet(self, message: Meet, ctx: Context) -> str:
        self.sees(ctx, "meets")
        while not Path(message.file).exists():
            await look_again()
        if not message.to:
            return "met"
        try:
            return await ctx.ask(message.to[0], Meet(file=message.file, to=message.to[1:]), timeout_s=600.0)
        except AskCycle as ring:
            return f"AskCycle: {ring}"
        except RegrowError as error:
            return told(error)

    @on(concurrent=True)
    async def beside(self, message: Beside, ctx: Context) -> str:
        self.sees(ctx, "beside")
        while not Path(message.file).exists():
            await look_again()
        try:
            return await ctx.ask(message.to, message.request, timeout_s=600.0)
        except RegrowError as error:
            return told(error)

    @on
    async def give_up(self, message: GiveUp, ctx: Context) -> str:
        asking = asyncio.ensure_future(ctx.ask(message.to, message.request, timeout_s=600.0))
        while not Path(message.file).exists():
            await look_again()
        asking.cancel()
        await asyncio.wait([asking])
        return "given up"
