"""Completions that are read while they are written, through the router as an actor; each is paid for once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from regrow.router.catalog import extractive_card
from regrow.router.errors import BudgetExceeded, ProviderBroke
from regrow.router.extractive_provider import ExtractiveProvider
from regrow.router.ledger import MemoryLedger
from regrow.router.models import Models
from regrow.router.provider import ProviderReply, ScriptedProvider, words_of
from regrow.router.request import ModelRequest, Passage, Tier, Usage, Work
from regrow.router.router import CANCELLED
from regrow.router.service import RouterService
from regrow.router.settings import ModelSettings, PriceSettings, ProviderName, RouterSettings
from regrow.router.usage import UsageReport
from regrow.runtime.errors import Misuse
from regrow.runtime.stream_window import Window
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Process, settle

if TYPE_CHECKING:
    from regrow.router.catalog import ModelCard, NanoUsd
    from regrow.router.provider import Emit
    from regrow.router.usage import Call, CallId, CallRecord, UsageTotals
    from regrow.runtime.message import Request
    from regrow.runtime.ref import ActorRef
    from regrow.runtime.stream import Stream

R = TypeVar("R")
LONG = " ".join(f"word{n}" for n in range(500))
SMALL = Window(parts=4)
COUNTED = Usage(input_tokens=1_000, output_tokens=2_000)
PRICES = PriceSettings(input_usd_per_mtok=1.0, output_usd_per_mtok=10.0)
PRICED = RouterSettings(
    small=ModelSettings(provider=ProviderName.OPENAI, model="m", base_url="http://nowhere", price=PRICES),
    large=ModelSettings(provider=ProviderName.OPENAI, model="m", base_url="http://nowhere", price=PRICES),
    budget_usd=1.0,
)


class Slow(ScriptedProvider):
    """Writes a word a second; breaks off before the word of that number."""

    def __init__(self, reply: ProviderReply, *, breaks_at: int | None = None) -> None:
        super().__init__([reply], repeat_last=True)
        self._breaks_at = breaks_at

    async def stream(self, request: ModelRequest, card: ModelCard, emit: Emit) -> ProviderReply:
        reply = await self.complete(request, card)
        for number, piece in enumerate(words_of(reply.text)):
            if number == self._breaks_at:
                raise ProviderBroke("it broke off", may_have_cost=True)
            await pass_time(1.0)
            await emit(piece)
        return reply


async def router(provider: Any, settings: RouterSettings | None = None) -> ActorRef:
    ledger = MemoryLedger(budget_usd=settings.budget_usd if settings is not None else None)
    return await Process().start(
        "app:services/models", lambda: RouterService(settings, ledger=ledger, provider=provider)
    )


async def text_of(stream: Stream[Any, Any], limit: int | None = None) -> str:
    text, count = "", 0
    async for part in stream:
        text, count = text + part.text, count + 1
        if count == limit:
            break
    return text


async def totals(ref: ActorRef) -> UsageTotals:
    return await ref.ask(UsageReport(history=10))


def models_at(ref: ActorRef, *, streamed: bool = True) -> Models:
    async def ask(request: Request[R], /) -> R:
        return await ref.ask(request)

    return Models(ask, stream=ref.stream if streamed else None, principal="ann", agent="desk/analyst")


@virtual
async def test_the_parts_of_a_completion_are_its_text_and_its_reply_is_that_of_complete() -> None:
    ref = await router(ScriptedProvider([ProviderReply(text=LONG, usage=COUNTED)]), PRICED)

    async with models_at(ref).stream(Work.GENERATE, "write") as stream:
        text = await text_of(stream)

    assert text == stream.reply.text == LONG
    assert stream.reply.usage == COUNTED
    assert stream.reply.cost_usd == pytest.approx(0.021)
    (record,) = (await totals(ref)).recent
    assert (record.cost_usd, record.failure, record.at_reserve) == (pytest.approx(0.021), "", False)
    assert (record.call.principal, record.call.agent) == ("ann", "desk/analyst")


@virtual
async def test_a_slow_reader_holds_up_its_own_completion_alone() -> None:
    ref = await router(ScriptedProvider([LONG, "short"]))

    async with ref.stream(ModelRequest(work=Work.GENERATE, prompt="write"), window=SMALL) as stream:
        await settle()
        assert (await ref.ask(ModelRequest(work=Work.GENERATE, prompt="meanwhile"))).text == "short"
        assert await text_of(stream) == LONG


@virtual
async def test_a_reader_that_goes_midway_ends_the_call_and_it_is_settled_once_at_its_reserve() -> None:
    ref = await router(Slow(ProviderReply(text=LONG, usage=COUNTED)), PRICED)

    async with models_at(ref).stream(Work.GENERATE, "write", max_output_tokens=5_000) as stream:
        assert await text_of(stream, 2) == "word0 word1 "
    await settle()

    told = await totals(ref)
    (record,) = told.recent
    assert (record.failure, record.at_reserve) == (CANCELLED, True)
    assert (told.open_calls, told.reserved_usd) == (0, 0.0)
    assert told.spent_usd == pytest.approx(record.cost_usd)
    await pass_time(600.0)
    assert (await totals(ref)).spent_usd == told.spent_usd


@virtual
async def test_a_reader_that_goes_while_the_end_is_settled_leaves_no_call_open() -> None:
    class SlowLedger(MemoryLedger):
        async def settle(self, id: CallId, usage: Usage, cost_nusd: NanoUsd | None) -> CallRecord:
            await pass_time(1.0)
            return await super().settle(id, usage, cost_nusd)

    provider = ScriptedProvider([ProviderReply(text="one two", usage=COUNTED)])
    process, ledger = Process(), SlowLedger(budget_usd=1.0)
    ref = await process.start("router", lambda: RouterService(PRICED, ledger=ledger, provider=provider))

    async with models_at(ref).stream(Work.GENERATE, "write") as stream:
        assert await text_of(stream, 2) == "one two"
        await settle()
    await pass_time(2.0)

    (record,) = (await totals(ref)).recent
    assert (record.failure, record.cost_usd) == ("", pytest.approx(0.021))


@virtual
async def test_a_reader_that_goes_while_the_money_is_reserved_takes_it_back() -> None:
    class SlowLedger(MemoryLedger):
        async def reserve(self, call: Call, most_nusd: NanoUsd | None) -> None:
            await pass_time(1.0)
            await super().reserve(call, most_nusd)

    process, ledger = Process(), SlowLedger(budget_usd=1.0)
    provider = ScriptedProvider([])
    ref = await process.start("router", lambda: RouterService(PRICED, ledger=ledger, provider=provider))

    async with models_at(ref).stream(Work.GENERATE, "write"):
        await pass_time(0.5)
    await pass_time(2.0)

    told = await totals(ref)
    (record,) = told.recent
    assert (record.failure, record.cost_usd) == (CANCELLED, 0.0)
    assert (told.open_calls, told.spent_usd, provider.requests) == (0, 0.0, [])


@virtual
async def test_a_call_that_breaks_off_is_a_failure_behind_its_pieces_and_never_logged_as_a_success() -> None:
    ref = await router(Slow(ProviderReply(text=LONG, usage=COUNTED), breaks_at=3), PRICED)
    pieces: list[str] = []

    async with models_at(ref).stream(Work.GENERATE, "write") as stream:
        with pytest.raises(ProviderBroke, match="it broke off"):
            await _read_on(stream, pieces)

    assert pieces == ["word0 ", "word1 ", "word2 "]
    (record,) = (await totals(ref)).recent
    assert (record.failure, record.at_reserve) == ("ProviderBroke", True)


@virtual
async def test_a_stream_that_would_pass_the_budget_is_refused_before_its_first_piece() -> None:
    ref = await router(ScriptedProvider([LONG]), PRICED)

    async with models_at(ref).stream(Work.GENERATE, "write", max_output_tokens=200_000) as stream:
        with pytest.raises(BudgetExceeded):
            await text_of(stream)


@virtual
async def test_models_that_can_not_be_streamed_say_so() -> None:
    ref = await router(ScriptedProvider([]))

    with pytest.raises(Misuse, match="use complete"):
        models_at(ref, streamed=False).stream(Work.GENERATE, "write")


async def test_the_extractive_model_gives_its_quotations_one_by_one() -> None:
    passages = (
        Passage(text="The mailbox of each actor is bounded. Weather is not.", source="box.md"),
        Passage(text="A full mailbox of an actor refuses. Rain falls.", source="full.md"),
    )
    request = ModelRequest(work=Work.SYNTHESIZE, prompt="What does the mailbox of an actor do?", context=passages)
    pieces: list[str] = []

    async def emit(piece: str) -> None:
        pieces.append(piece)

    reply = await ExtractiveProvider().stream(request, extractive_card(Tier.LARGE), emit)

    assert "".join(pieces) == reply.text
    assert len(pieces) == len(reply.quotes) > 1
    assert all(piece.startswith(quote.text) for piece, quote in zip(pieces, reply.quotes, strict=True))


def test_words_together_are_their_text() -> None:
    assert words_of(" two  words\n") == [" ", "two  ", "words\n"]
    assert words_of("") == []


async def _read_on(stream: Stream[Any, Any], pieces: list[str]) -> None:
    async for part in stream:
        pieces.append(part.text)
        await asyncio.sleep(0)
