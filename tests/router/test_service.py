"""The behavior that a cell drives: from settings to answers, with nothing that ends the router."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime

import pytest

from regrow.router.errors import InvalidSettings, ProviderFailed
from regrow.router.extractive_provider import NOTHING_GIVEN
from regrow.router.ledger import MemoryLedger
from regrow.router.provider import ScriptedProvider
from regrow.router.request import ModelReply, ModelRequest, Passage, Tier, Work
from regrow.router.service import RouterService, models_of, router_service
from regrow.router.settings import ModelSettings, ProviderName, RouterSettings
from regrow.router.usage import Call, CallId, UsageReport, UsageTotals
from regrow.runtime.behavior import Behavior
from regrow.runtime.errors import Refused, WorldBroke
from regrow.runtime.lifecycle import Normal
from tests.router.chat_server import ChatServer

REASON = ModelRequest(work=Work.REASON, prompt="why?")


def _at() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


async def running(service: RouterService) -> RouterService:
    await service.started(None)
    return service


def local(server: ChatServer, model: str = "tiny") -> ModelSettings:
    return ModelSettings(provider=ProviderName.OPENAI, model=model, base_url=server.url)


def test_it_is_a_behavior_that_takes_requests_side_by_side() -> None:
    service = RouterService()

    assert isinstance(service, Behavior)
    assert service.runs_concurrently(REASON)


async def test_without_settings_it_quotes_and_counts() -> None:
    service = await running(RouterService())
    request = ModelRequest(
        work=Work.SYNTHESIZE,
        prompt="What is bounded?",
        context=(Passage(text="The mailbox of each actor is bounded.", source="box.md"),),
    )

    reply = await service.handle(request, None)
    totals = await service.handle(UsageReport(history=5), None)

    assert isinstance(reply, ModelReply)
    assert (reply.text, reply.model, reply.cost_usd) == ("The mailbox of each actor is bounded.", "extractive", 0.0)
    assert isinstance(totals, UsageTotals)
    assert (totals.all.calls, totals.all.output_tokens) == (1, reply.usage.output_tokens)
    await service.stopping(Normal(), None)


async def test_a_failing_provider_refuses_so_that_the_router_lives() -> None:
    service = await running(RouterService(provider=ScriptedProvider([ProviderFailed("down"), "up"])))

    with pytest.raises(Refused, match="down") as caught:
        await service.handle(REASON, None)
    again = await service.handle(REASON, None)

    assert isinstance(caught.value, WorldBroke)
    assert isinstance(again, ModelReply)
    assert again.text == "up"


async def test_a_strange_message_is_refused_by_name() -> None:
    service = await running(RouterService())

    with pytest.raises(Refused, match="not Passage"):
        await service.handle(Passage(text="x"), None)


async def test_before_the_start_and_after_the_stop_it_refuses() -> None:
    service = RouterService()
    with pytest.raises(Refused):
        await service.handle(REASON, None)

    await running(service)
    await service.stopping(Normal(), None)
    await service.stopping(Normal(), None)

    with pytest.raises(Refused):
        await service.handle(REASON, None)


async def test_its_start_settles_what_an_earlier_life_left_open() -> None:
    ledger = MemoryLedger()
    left = Call(id=CallId("old-1"), work=Work.PLAN, wanted=Tier.LARGE, tier=Tier.LARGE, provider="p", model="m")
    await ledger.reserve(left, None)

    service = await running(RouterService(ledger=ledger, provider=ScriptedProvider(["so"])))

    totals = await service.handle(UsageReport(history=1), None)
    assert isinstance(totals, UsageTotals)
    assert (totals.open_calls, totals.recent[0].failure) == (0, "Abandoned")


async def test_each_life_names_its_calls_anew() -> None:
    lives = (f"life{n}" for n in itertools.count())
    ledger = MemoryLedger()
    for _ in range(2):
        service = RouterService(ledger=ledger, provider=ScriptedProvider(["so"]), new_life=lambda: next(lives))
        await (await running(service)).handle(REASON, None)

    recent = (await ledger.totals(history=5)).recent
    assert [record.call.id for record in recent] == ["life1-1", "life0-1"]


async def test_tiers_at_one_address_share_a_provider(server: ChatServer) -> None:
    elsewhere = local(server).model_copy(update={"api_key_env": "OTHER_KEY"})
    settings = RouterSettings(small=local(server, "mini"), large=local(server, "maxi"))
    apart = RouterSettings(small=local(server), large=elsewhere)

    together = [model.provider for model in models_of(settings, environment={}, at=_at())]
    split = [model.provider for model in models_of(apart, environment={}, at=_at())]

    assert together[0] is together[1]
    assert split[0] is not split[1]
    for provider in (together[0], *split):
        await provider.aclose()


@pytest.mark.slow
async def test_many_requests_run_side_by_side_over_http(server: ChatServer) -> None:
    server.says("yes", usage={"prompt_tokens": 3, "completion_tokens": 1})
    service = await running(RouterService(RouterSettings(small=None, large=local(server))))

    replies = await asyncio.gather(*(service.handle(REASON, None) for _ in range(20)))
    await service.stopping(Normal(), None)

    assert {reply.text for reply in replies if isinstance(reply, ModelReply)} == {"yes"}
    assert len(server.sent) == 20


async def test_openai_itself_without_a_key_fails_at_the_start() -> None:
    settings = RouterSettings(small=None, large=ModelSettings(provider=ProviderName.OPENAI, model="gpt-4.1"))

    with pytest.raises(InvalidSettings, match="OPENAI_API_KEY is not set"):
        await RouterService(settings, environment={}).started(None)


async def test_a_budget_without_a_price_fails_at_the_start(server: ChatServer) -> None:
    settings = RouterSettings(small=None, large=local(server), budget_usd=1.0)

    with pytest.raises(InvalidSettings, match="no price is known for tiny"):
        await RouterService(settings, environment={}).started(None)


async def test_the_service_of_an_app_without_redis_counts_in_memory() -> None:
    service = await running(router_service(RouterSettings(), app="desk"))

    reply = await service.handle(ModelRequest(work=Work.REASON, prompt="why?"), None)

    assert isinstance(reply, ModelReply)
    assert reply.text == NOTHING_GIVEN
