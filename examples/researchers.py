"""The people of the research desk: readers, an analyst and a scribe, and what they say to each other."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import documents

from regrow import Agent, Context, Message, Request, StreamRequest, Work, on, tool
from regrow.memory import Hit, MemoryRecord
from regrow.router import BudgetExceeded, FinishReason, ProviderFailed, Quote, UsageTotals

PASSAGES = 8
"""How many passages an answer may lean on."""

# ---- what they say to each other -----------------------------------------------------------------


class Read(Request[int]):
    """Read a document and remember its passages on a shelf of the memory; the reply is how many they are."""

    folder: str
    name: str
    shelf: str


class Answer(Message):
    """What the documents say; `found` is False where they say nothing.

    Its citations, such as [2], count through `sources`. Without a `text` the quotes are the answer.
    """

    text: str
    found: bool = True
    quotes: tuple[Quote, ...] = ()
    sources: tuple[str, ...] = ()


class Question(StreamRequest[str, Answer]):
    """A question to the documents on a shelf; its parts are what a model writes, with citations as yet unchecked."""

    text: str
    shelf: str


class Ponder(Message):
    """Take this long over every question, so that a kill finds the analyst at work."""

    seconds: float


class Begun(Message):
    """The analyst has begun to work on a question, which has this id as a command."""

    question: str
    command_id: str


class Answered(Message):
    """The analyst has an answer."""

    question: str
    answer: Answer


class Beginnings(Message):
    """Under which command id a question was begun, once for each time."""

    command_ids: tuple[str, ...]


class WhenBegun(Request[Beginnings]):
    """Tell me when the analyst has begun so many times to work on this question."""

    question: str
    times: int = 1


class Books(Message):
    """How much is remembered, and what the models have used so far."""

    passages: int
    answers: int
    usage: UsageTotals


class ReadBooks(Request[Books]):
    """How do the books stand, with the passages of this shelf?"""

    shelf: str


# ---- who they are --------------------------------------------------------------------------------


class Reader(Agent):
    """Reads documents into the memory, which stores a passage once, however often it is read."""

    @on
    async def read(self, request: Read, ctx: Context) -> int:
        # In a thread, since a PDF can take seconds for which the other readers of this process would wait.
        passages = await asyncio.to_thread(documents.read, Path(request.folder), request.name)
        await ctx.memory.remember_many(
            MemoryRecord.of(passage.text, source=passage.source, scope=request.shelf, kind="passage")
            for passage in passages
        )
        return len(passages)


@tool
async def search(question: str, shelf: str, ctx: Context) -> tuple[Hit, ...]:
    """Finds the passages on a shelf of the memory that have to do with a question, best first.

    Args:
        question: what they should answer
        shelf: where to look
    """
    return tuple(await ctx.memory.recall(question, k=PASSAGES, scope=shelf))


class Analyst(Agent):
    """Answers questions from what the readers have remembered, and from nothing else: it may search, and no more."""

    tools = [search]

    def __init__(self) -> None:
        self.ponder_s = 0.0  # lives as long as its process: the next life does not ponder

    @on
    async def ponder(self, order: Ponder) -> None:
        self.ponder_s = order.seconds

    @on
    async def answer(self, question: Question, ctx: Context) -> Answer:
        await ctx.tell(Scribe, Begun(question=question.text, command_id=ctx.command_id or ""))
        await asyncio.sleep(self.ponder_s)
        hits = await ctx.tools.call(search, {"question": question.text, "shelf": question.shelf})
        answer = await self.from_passages(question.text, hits, ctx)
        await ctx.tell(Scribe, Answered(question=question.text, answer=answer))
        return answer

    async def from_passages(self, question: str, hits: Sequence[Hit], ctx: Context) -> Answer:
        if not hits:  # given nothing, a model would answer from what it was trained on
            return Answer(text="No document shares a word with this question.", found=False)
        async with ctx.models.stream(Work.SYNTHESIZE, question, context=hits) as stream:
            async for part in stream:
                await ctx.emit(part.text)
        reply = stream.reply
        return Answer(
            text="" if reply.provider == "extractive" and reply.quotes else citing(reply.sources, reply.text, hits),
            found=reply.finish is not FinishReason.NOTHING_FOUND,
            quotes=reply.quotes,
            sources=reply.sources,
        )


MOST_BEGUN = 1_000
"""Of how many questions the scribe knows the beginnings; beyond, it forgets the oldest."""


class Scribe(Agent):
    """Keeps the journal of what was begun lately, and remembers every answer for good."""

    def __init__(self) -> None:
        self.begun: defaultdict[str, list[str]] = defaultdict(list)
        self.changed = asyncio.Condition()

    @on
    async def begins(self, note: Begun) -> None:
        async with self.changed:
            self.begun[note.question].append(note.command_id)
            if len(self.begun) > MOST_BEGUN:
                del self.begun[next(iter(self.begun))]
            self.changed.notify_all()

    @on(concurrent=True)  # what it waits for has to come through meanwhile
    async def when_begun(self, request: WhenBegun) -> Beginnings:
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.begun.get(request.question, ())) >= request.times)
        return Beginnings(command_ids=tuple(self.begun[request.question]))

    @on
    async def answered(self, note: Answered, ctx: Context) -> None:
        said = note.answer.text or " ".join(quote.text for quote in note.answer.quotes)
        gist = await self.gist(said, ctx) if note.answer.found else ""
        text = "\n\n".join(filter(None, (f"# {note.question}", gist, said, "\n".join(note.answer.sources))))
        # Beside the shelves and not on one, so that no answer is ever recalled as the source of another.
        await ctx.memory.remember(text, source=ctx.id, kind="answer", scope=f"{ctx.app}/answers")

    async def gist(self, text: str, ctx: Context) -> str:
        """The answer in short, which is work for the small model; nothing where it gives none."""
        try:
            return (await ctx.models.complete(Work.SUMMARIZE, text)).text
        except (BudgetExceeded, ProviderFailed):
            return ""  # the answer is remembered all the same

    @on
    async def books(self, request: ReadBooks, ctx: Context) -> Books:
        return Books(
            passages=await ctx.memory.count(request.shelf),
            answers=await ctx.memory.count(f"{ctx.app}/answers"),
            usage=await ctx.models.usage(),
        )


_CITATION = re.compile(r"\[\d{1,3}(?:\s*[,;]\s*\d{1,3})*\]")


def citing(sources: tuple[str, ...], text: str, hits: Sequence[Hit]) -> str:
    """The text with its citations, such as [2], as numbers in `sources` and no longer in what was recalled."""
    number_of = {source: number for number, source in enumerate(sources, start=1)}

    def renumbered(citation: re.Match[str]) -> str:
        cited = [int(number) for number in re.findall(r"\d+", citation.group())]
        known = [number_of.get(hits[number - 1].source) for number in cited if 1 <= number <= len(hits)]
        return "".join(f"[{number}]" for number in known if number) or citation.group()

    return _CITATION.sub(renumbered, text)
